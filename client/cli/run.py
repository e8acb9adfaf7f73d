"""`bamboo run`: prun's options, one command, one task."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...core.errors import BambooError, Fault, Invalid
from ..naming import in_ds_name, parse_outputs
from ..task import Task
from ..text import bytes_text, count_text
from .options import commas, connected, formatted, prun_option
from .output import Output, note, say
from .run_options import task_options
from .watching import exit_of_task, follow_to_end, tell_end

if TYPE_CHECKING:
    from ..api import Client
    from ..model import Submitted
    from ..sandbox import SandboxRules
    from ..spec import TaskSpec
    from ..submission import Submission

#: Options whose value is a comma-separated list.
LISTS = (
    *("in_ds", "outputs", "site", "excluded_site", "match", "anti_match", "allow_no_output"),
    "skip_files_used_by",
)


@click.command(short_help="Run a command as a task.")
@task_options
@prun_option("noSubmit", is_flag=True, help="Do everything but send.")
@prun_option(
    "dumpTaskParams", type=click.Path(path_type=Path), metavar="FILE", help="Write the task parameters as JSON."
)
@prun_option("dumpJson", type=click.Path(path_type=Path), metavar="FILE", help="Write options and result as JSON.")
@click.option("--dry-run", is_flag=True, help="Send nothing, and say what would be sent.")
@click.option("--watch", "-w", is_flag=True, help="Stay until the task is over; Ctrl-C leaves it running.")
@formatted
@connected
def run(client: Client, out: Output, **given: Any) -> None:
    """Run COMMAND as a task: --exec on nothing, on datasets (--inDS), or on local files (--inFiles).

    The options are prun's; --nFilesPerJob may also be written --n-files-per-job.

    A --bexec is run once before the jobs, at each queue; without it there is no build job.

    \b
    bamboo run --exec 'echo hello > x.txt' --outputs x.txt --nJobs 3 --watch
    bamboo run --exec 'wc %IN > n.txt' --inFiles 'data/*.csv' --nFilesPerJob 1 --outputs n.txt
    """
    from ..submission import Submission

    submission = Submission(client, spec_of(given), rules=rules_of(given), in_files=commas(given["in_files"]))
    tell_left_out(submission)
    if given["no_submit"] or given["dry_run"]:
        parameters = submission.parameters(submission.new_archive_name())
        dump(given, submission, parameters)
        tell_unsent(submission, parameters, out)
        return
    sent = send(given, submission)
    tell_sent(sent, submission.spec, out, watching=given["watch"])
    if given["watch"]:
        info = follow_to_end(Task(client, sent.task_id))
        if out.as_json:
            out.json(info.row)
        elif not out.quiet:
            tell_end(info)
        click.get_current_context().exit(exit_of_task(info))


def rules_of(given: Mapping[str, Any]) -> SandboxRules:
    """Which files go along; the home directory does not by accident."""
    from ..sandbox import SandboxRules

    work_dir = (given["work_dir"] or Path.cwd()).resolve()
    if given["work_dir"] is None and work_dir == Path.home():
        do = "go to the directory of your files, or say --workDir"
        raise Invalid("sandbox", [Fault("workDir", "this is your home directory", do)])
    return SandboxRules(work_dir=work_dir, always=commas(given["ext_file"]), never=commas(given["exclude_file"]))


def spec_of(given: Mapping[str, Any]) -> TaskSpec:
    """The task that the options describe; options of other purposes are passed over."""
    from ..secondary import parse_secondaries, read_addresses
    from ..spec import TaskSpec

    names = {field.name for field in fields(TaskSpec)}
    chosen = {name: value for name, value in given.items() if name in names and value is not None}
    chosen |= {name: commas(given[name]) for name in LISTS}
    chosen["secondary_dss"] = parse_secondaries(given["secondary_dss"], commas(given["reusable_secondary"]))
    if datasets := given["in_ds_txt"]:
        chosen["in_ds"] = tuple(line.strip() for line in datasets.read().splitlines() if line.strip())
    if addresses := given["pfn_list"]:
        chosen["pfn_list"] = read_addresses(addresses.read())
    if listed := given["input_file_list"]:
        chosen["input_files"] = tuple(line.strip() for line in listed.read().splitlines() if line.strip())
    here, work_dir = Path.cwd(), (given["work_dir"] or Path.cwd()).resolve()
    if here.is_relative_to(work_dir):
        chosen["run_dir"] = here.relative_to(work_dir).as_posix()
    return TaskSpec(**chosen, cli_params=shlex.join(["bamboo", *sys.argv[1:]]))


def send(given: Mapping[str, Any], submission: Submission) -> Submitted:
    """Submit. The outcome goes to --dumpJson, whatever it is."""
    try:
        sent = submission.send()
    except BambooError as error:
        dump(given, submission, submission.sent, code=error.code, message=error.message)
        raise
    message = sent.message if sent.again else f"succeeded. new jediTaskID={sent.task_id}"
    dump(given, submission, submission.sent, task_id=sent.task_id, message=message)
    return sent


def dump(
    given: Mapping[str, Any],
    submission: Submission,
    parameters: Mapping[str, Any],
    *,
    task_id: int | None = None,
    code: str | int = 0,
    message: str = "",
) -> None:
    """Write the files of --dumpTaskParams and --dumpJson, in prun's form."""
    if path := given["dump_task_params"]:
        path.write_text(json.dumps(parameters, indent=2) + "\n")
    if path := given["dump_json"]:
        result = {**asdict(submission.spec), "returnCode": code, "returnOut": message, "jediTaskID": task_id}
        path.write_text(json.dumps([result], indent=2) + "\n")


def tell_left_out(submission: Submission) -> None:
    """Say which files stay behind."""
    for left in submission.collection.left_out if submission.collection else ():
        note(f"left out {left.name}: {left.why} (--extFile takes it along)")


def tell_unsent(submission: Submission, parameters: Mapping[str, Any], out: Output) -> None:
    """Say what would have been sent."""
    if out.as_json:
        out.json(parameters)
        return
    spec, collection = submission.spec, submission.collection
    say(f"task       {spec.out_ds}/ (not submitted)")
    if collection:
        files = [path for name in collection.names if (path := collection.work_dir / name).is_file()]
        size = bytes_text(sum(path.stat().st_size for path in files))
        say(f"sandbox    {count_text(len(files), 'file')}, {size}, from {collection.work_dir}")
    if submission.new_files:
        size = bytes_text(sum(file.size_bytes for file in submission.new_files))
        say(f"new input  {in_ds_name(spec.out_ds)}: {count_text(len(submission.new_files), 'file')}, {size}")
    addresses = count_text(len(spec.pfn_list), "PFN") if spec.pfn_list else ""
    say(f"input      {','.join(spec.in_ds) or addresses or 'none'}")
    for stream in spec.secondary_dss:
        say(f"  %{stream.name:<8} {stream.dataset}")
    if spec.parent_task_id:
        say(f"waits for  task {spec.parent_task_id}")
    if spec.has_build:
        say(f"build      {spec.bexec or 'only brings the sandbox'}")
    if not spec.reads_main:
        say(f"jobs       {-(-parameters['nEvents'] // parameters['nEventsPerJob'])}")
    for output in parse_outputs(spec.outputs, spec.out_ds):
        say(f"output     {output.local} → {output.dataset}")


def tell_sent(sent: Submitted, spec: TaskSpec, out: Output, *, watching: bool) -> None:
    """Say which task it has become, or which old one goes on, and what to do next."""
    task_id = sent.task_id
    if sent.again:
        note(
            f"task {task_id} has the name {spec.out_ds}/ and was over: it was taken up again with its old command,"
            " for the inputs that are new or had failed. For a new command choose another --outDS"
        )
    if out.quiet:
        say(task_id)
    elif out.as_json:
        if not watching:
            datasets = [output.dataset for output in parse_outputs(spec.outputs, spec.out_ds)]
            again = {"takenUpAgain": True} if sent.again else {}
            row = {"jediTaskID": task_id, "taskName": f"{spec.out_ds}/", "inDS": list(spec.in_ds), "outputs": datasets}
            out.json(row | again)
    else:
        say(f"task {task_id} {'taken up again' if sent.again else 'submitted'} as {spec.out_ds}/")
    if not watching and not out.quiet:
        note(f"next: bamboo task wait {task_id}   bamboo task show {task_id}   bamboo task outputs {task_id} --dest .")
