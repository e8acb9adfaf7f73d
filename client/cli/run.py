"""`bamboo run`: prun's options, one command, one task."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
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

    rules, in_files = rules_of(given), commas(given["in_files"])
    submissions = [Submission(client, spec, rules=rules, in_files=in_files) for spec in specs_of(given)]
    tell_left_out(submissions[0])
    for doubt in dict.fromkeys(doubt for submission in submissions for doubt in submission.spec.doubts()):
        note(f"warning: {doubt}")
    if given["no_submit"] or given["dry_run"]:
        show_unsent(given, submissions, out)
        return
    sent = send_all(given, submissions, out)
    if given["watch"]:
        infos = [follow_to_end(Task(client, each.task_id)) for each in sent]
        if out.as_json:
            out.json(one_or_all([info.row for info in infos]))
        elif not out.quiet:
            for info in infos:
                tell_end(info)
        click.get_current_context().exit(max(map(exit_of_task, infos)))


def one_or_all(rows: Sequence[Any]) -> Any:
    """The only row by itself, or the list of several."""
    return rows[0] if len(rows) == 1 else rows


def rules_of(given: Mapping[str, Any]) -> SandboxRules:
    """Which files go along; the home directory does not by accident."""
    from ..sandbox import SandboxRules

    work_dir = (given["work_dir"] or Path.cwd()).resolve()
    if given["work_dir"] is None and work_dir == Path.home():
        do = "go to the directory of your files, or say --workDir"
        raise Invalid("sandbox", [Fault("workDir", "this is your home directory", do)])
    return SandboxRules(work_dir=work_dir, always=commas(given["ext_file"]), never=commas(given["exclude_file"]))


def specs_of(given: Mapping[str, Any]) -> list[TaskSpec]:
    """The tasks to submit: one, or one for each pair of --inOutDsJson."""
    from ..bulk import parse_pairs
    from ..bulk import specs_of as specs_of_pairs

    spec = spec_of(given)
    return specs_of_pairs(spec, parse_pairs(given["in_out_ds_json"].read())) if given["in_out_ds_json"] else [spec]


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


def send_all(given: Mapping[str, Any], submissions: Sequence[Submission], out: Output) -> list[Submitted]:
    """Submit one after the other, telling each. The outcome goes to --dumpJson, whatever it is."""
    sent: list[Submitted] = []
    results: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    try:
        for submission in submissions:
            try:
                sent.append(submission.send())
            except BambooError as error:
                results.append(result(submission, code=error.code, message=error.message))
                raise
            told = sent[-1].message if sent[-1].again else f"succeeded. new jediTaskID={sent[-1].task_id}"
            results.append(result(submission, task_id=sent[-1].task_id, message=told))
            rows.append(tell_sent(sent[-1], submission.spec, out, watching=given["watch"]))
    finally:
        dump(given, submissions[len(results) - 1].sent if results else {}, results)
        if out.as_json and rows and not given["watch"]:
            out.json(rows[0] if len(submissions) == 1 else rows)
    return sent


def result(
    submission: Submission, *, task_id: int | None = None, code: str | int = 0, message: str = ""
) -> dict[str, Any]:
    """What became of a task, for --dumpJson."""
    return {**asdict(submission.spec), "returnCode": code, "returnOut": message, "jediTaskID": task_id}


def dump(given: Mapping[str, Any], parameters: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> None:
    """Write the files of --dumpTaskParams (the last task's) and --dumpJson, in prun's form."""
    if path := given["dump_task_params"]:
        path.write_text(json.dumps(parameters, indent=2) + "\n")
    if path := given["dump_json"]:
        numbered = [{**each, "bulkSeqNumber": at} for at, each in enumerate(results)] if len(results) > 1 else results
        path.write_text(json.dumps(numbered, indent=2) + "\n")


def show_unsent(given: Mapping[str, Any], submissions: Sequence[Submission], out: Output) -> None:
    """Say what would have been sent, and write it where it was asked for."""
    every = [submission.parameters(submission.new_archive_name()) for submission in submissions]
    dump(given, every[-1], [result(submission) for submission in submissions])
    if out.as_json:
        out.json(one_or_all(every))
        return
    for submission, parameters in zip(submissions, every, strict=True):
        tell_unsent(submission, parameters)


def tell_left_out(submission: Submission) -> None:
    """Say which files stay behind."""
    for left in submission.collection.left_out if submission.collection else ():
        note(f"left out {left.name}: {left.why} (--extFile takes it along)")


def tell_unsent(submission: Submission, parameters: Mapping[str, Any]) -> None:
    """Say what would have been sent."""
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


def tell_sent(sent: Submitted, spec: TaskSpec, out: Output, *, watching: bool) -> dict[str, Any]:
    """Say which task it has become, or which old one goes on, and what to do next; returns it as a row for --json."""
    task_id = sent.task_id
    if sent.again:
        note(
            f"task {task_id} has the name {spec.out_ds}/ and was over: it was taken up again with its old command,"
            " for the inputs that are new or had failed. For a new command choose another --outDS"
        )
    if out.quiet:
        say(task_id)
    elif not out.as_json:
        say(f"task {task_id} {'taken up again' if sent.again else 'submitted'} as {spec.out_ds}/")
    if not watching and not out.quiet:
        note(f"next: bamboo task wait {task_id}   bamboo task show {task_id}   bamboo task outputs {task_id} --dest .")
    datasets = [output.dataset for output in parse_outputs(spec.outputs, spec.out_ds)]
    again = {"takenUpAgain": True} if sent.again else {}
    return {"jediTaskID": task_id, "taskName": f"{spec.out_ds}/", "inDS": list(spec.in_ds), "outputs": datasets} | again
