"""`bamboo task`: the group, whose commands are imported one by one."""

from __future__ import annotations

import click

from .lazy import LazyGroup

HERE = "bamboo.client.cli"


@click.group(
    cls=LazyGroup,
    lazy={
        "show": (f"{HERE}.task_show:show", "State, progress, datasets, jobs, errors and last decisions."),
        "list": (f"{HERE}.task_list:list_tasks", "Your tasks, or somebody's."),
        "why": (f"{HERE}.task_show:why", "Why it is where it is: what was decided, by whom, for which reason."),
        "submit": (f"{HERE}.task_submit:submit", "Submit task parameters from a JSON file."),
        "wait": (f"{HERE}.task_wait:wait", "Wait until tasks are over; the exit code says how they ended."),
        "watch": (f"{HERE}.task_wait:watch", "Follow a task on the screen until it is over."),
        "outputs": (f"{HERE}.task_files:outputs", "List the output files; with --dest, copy and verify them."),
        "logs": (f"{HERE}.task_files:logs", "Print what jobs of the task printed, failed ones first."),
        "metadata": (f"{HERE}.task_files:metadata", "Print what the jobs left as metadata, as JSON."),
        "report": (f"{HERE}.task_report:report", "Write one HTML file about it for a ticket, without secrets."),
        "kill": (f"{HERE}.task_act:kill", "End tasks and their jobs now."),
        "finish": (f"{HERE}.task_act:finish", "End tasks, keeping what was processed."),
        "retry": (f"{HERE}.task_act:retry", "Try failed inputs again."),
        "reload": (f"{HERE}.task_act:reload", "Process what is new in the input datasets."),
        "pause": (f"{HERE}.task_act:pause", "Start no more jobs for now."),
        "resume": (f"{HERE}.task_act:resume", "Go on after a pause."),
        "avalanche": (f"{HERE}.task_act:avalanche", "Do not wait for the scout jobs."),
    },
)
def task() -> None:
    """See tasks, wait for them, act on them, fetch what they made."""
