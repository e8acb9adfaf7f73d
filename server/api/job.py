"""/api/v1/job/: looking at jobs, killing them, and watching them while they run (client protocol 6.6)."""

from __future__ import annotations

from typing import Annotated, Any

from flask import Blueprint, Response
from pydantic import BeforeValidator, Field

from ...core.errors import BadState
from ...core.event_stream import EVENT_STREAM
from ...core.states import JobState
from ...sql import job_queries, job_records, tasks
from .. import job_commands, job_comparison, job_handout, task_details
from ..auth.access import ANYONE, OF_JOB, USER, open_to
from ..bodies import AFTER, CHANGES, SEVERAL, WORDS, Query, WireBody
from ..context import context
from ..declared import answers_with, reads
from ..envelope import said, succeeded
from ..errors import NotYet
from ..flight_records import memory_row, record_row
from ..identity import caller
from ..live.route import LastSeen, stream
from ..task_rows import event_row, file_row, job_errors, job_row
from ..why import asking

routes = Blueprint("job", __name__)

MAX_IDS = 2000
Id = Annotated[int, Field(ge=1, le=2**63 - 1)]
Ids = Annotated[list[Id], SEVERAL, Field(max_length=MAX_IDS)]


def _words(value: object) -> object:
    return tuple(word.strip() for word in value.split(",")) if isinstance(value, str) else value


class Listing(Query):
    task_id: Id | None = None
    status: Annotated[tuple[JobState, ...], BeforeValidator(_words)] = ()
    after: Annotated[int, Field(ge=0, le=2**63 - 1, description=AFTER)] = 0
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class OneJob(Query):
    job_id: Id


class Followed(OneJob):
    last_event_id: LastSeen = ""


class AskedWhy(OneJob):
    changes: Annotated[list[str], WORDS] = Field([], max_length=100, description=CHANGES)


class Compared(OneJob):
    other_id: Id | None = Field(None, description="missing: a sibling that finished")


class OneTask(Query):
    task_id: Id


class SomeJobs(WireBody):
    job_ids: Ids


class Asked(Query):
    job_ids: Ids


class DebugMode(WireBody):
    job_id: Id
    mode: bool


class Command(WireBody):
    job_id: Id
    command: str = Field(max_length=200, description="`tail [-n N] FILE`, `ls [-OPTIONS] [PATH]` or `ps [-OPTIONS]`")


@routes.get("/list")
@open_to(USER)
@reads(Listing)
def list_jobs(asked: Listing) -> Response:
    """Jobs in the order of their ids, a page at a time; those of a task that there is not are an error."""
    with context().reading() as tx:
        found = job_queries.list_jobs(tx, asked.task_id, asked.status, after=asked.after, limit=asked.limit)
        if not found and asked.task_id is not None:
            tasks.get_task(tx, asked.task_id)  # raises `NotFound`
    return succeeded([job_row(job) for job in found])


@routes.get("/why")
@open_to(OF_JOB)
@reads(AskedWhy)
def why(asked: AskedWhy) -> Response:
    """Why a job is where it is, asked of those who decide: for its owner and whoever stands above owners."""
    return succeeded(asking.of_job(asked.job_id, asked.changes).row())


@routes.get("/get_detailed_info")
@open_to(USER)
@reads(OneJob)
def get_detailed_info(asked: OneJob) -> Response:
    """A job with its files and its history, and for its owner the last output that its pilot has shown."""
    job_id = asked.job_id
    with context().reading() as tx:
        job = job_queries.find_job(tx, job_id)
        report = job_queries.report_of(tx, job_id)
        is_private = caller().may_own(job.user_name, job.vo)
        more = {
            "memory": memory_row(job, job_records.of_job(tx, job_id)),
            "files": [file_row(file) for file in job_queries.files_of(tx, job_id)],
            "errors": job_errors(job),
            "events": [event_row(event) for event in job_queries.events_of(tx, job_id)],
            "parameters": job_queries.parameters_of(tx, [job_id]).get(job_id, ""),
            "stdoutTail": _stdout_tail(job, report),
            "jobMetrics": report.job_metrics if report else None,
            "pilotTiming": report.pilot_timing if report else None,
            "pilotLog": report.pilot_log if report and is_private else None,
        }
    return succeeded({**job_row(job), **more})


@routes.get("/compare")
@open_to(USER)
@reads(Compared)
def compare(asked: Compared) -> Response:
    """Two jobs side by side; without a second one, a job of the task that finished and is most like the first."""
    with context().reading() as tx:
        job = job_queries.find_job(tx, asked.job_id)
        if asked.other_id is None:
            other, chosen = job_comparison.choose_sibling(tx, job)
        else:
            other, chosen = job_queries.find_job(tx, asked.other_id), None
        return succeeded(
            {
                **job_comparison.comparison_row(job, other, job_comparison.compare(tx, job, other), chosen=chosen),
                "stdoutTails": [_stdout_tail(one, job_queries.report_of(tx, one.pandaid)) for one in (job, other)],
            }
        )


def _stdout_tail(job: Any, report: Any) -> str | None:
    """The last output that the pilot of a job has shown, for the job's owner and whoever stands above owners."""
    return report.stdout_tail if report and caller().may_own(job.user_name, job.vo) else None


@routes.get("/get_definition")
@open_to(OF_JOB)
@reads(OneJob)
def get_definition(asked: OneJob) -> Response:
    """What the pilot of a job got to run it, without secrets: to run it again elsewhere (`bamboo job reproduce`)."""
    job_id = asked.job_id
    with context().reading() as tx:
        job = job_queries.find_job(tx, job_id)
        caller().must_own(f"job {job_id}", job.user_name, job.vo)
        return succeeded(job_handout.definition(tx, job))


@routes.get("/get_record")
@open_to(USER)
@reads(OneJob)
def get_record(asked: OneJob) -> Response:
    """The flight record of a job: what it used over time, its processes, and for its owner the end of its output."""
    job_id = asked.job_id
    with context().reading() as tx:
        job = job_queries.find_job(tx, job_id)
        record = job_records.of_job(tx, job_id)
    return succeeded(record_row(job, record, is_private=caller().may_own(job.user_name, job.vo)))


@routes.post("/get_description")
@open_to(USER)
@reads(SomeJobs)
def get_description(body: SomeJobs) -> Response:
    """Jobs that are not archived, in the order asked for, null for one that there is not."""
    return succeeded(descriptions(body.job_ids, with_archive=False))


@routes.post("/get_description_incl_archive")
@open_to(USER)
@reads(SomeJobs)
def get_description_incl_archive(body: SomeJobs) -> Response:
    """The same, with those of the archive."""
    return succeeded(descriptions(body.job_ids, with_archive=True))


def descriptions(job_ids: list[int], *, with_archive: bool) -> list[dict[str, Any] | None]:
    """Job objects in the order of the ids."""
    with context().reading() as tx:
        found = job_queries.find_jobs(tx, job_ids, with_archive=with_archive)
        described = {job["PandaID"]: job for job in task_details.describe(tx, list(found.values()))}
    return [described.get(job_id) for job_id in job_ids]


@routes.get("/get_status")
@open_to(ANYONE)
@reads(Asked)
def get_status(asked: Asked) -> Response:
    """The state of jobs, and the command that waits for their pilots, in the order asked for."""
    ids = asked.job_ids
    with context().reading() as tx:
        states, orders = job_queries.states_of(tx, ids), job_queries.orders_of(tx, ids)
    unknown = ("not found", 0)
    return succeeded([{"status": states.get(id_, unknown)[0], "command": orders.get(id_, "NULL")} for id_ in ids])


@routes.get("/get_metadata_for_analysis_jobs")
@open_to(USER)
@reads(OneTask)
def get_metadata_for_analysis_jobs(asked: OneTask) -> Response:
    """What the payloads of a task have left as metadata, by job id."""
    return succeeded(metadata_of(asked.task_id))


def metadata_of(task_id: int) -> dict[str, Any]:
    """The metadata of a task's jobs: objects, and text where it is none."""
    with context().reading() as tx:
        return job_commands.metadata_of_task(tx, task_id)


@routes.post("/kill")
@open_to(OF_JOB)
@reads(SomeJobs)
def kill(body: SomeJobs) -> Response:
    """Kill jobs of the caller; for each whether it could be done."""
    return succeeded(kill_jobs(body.job_ids))


def kill_jobs(job_ids: list[int]) -> list[bool]:
    """Kill jobs, each in a transaction of its own."""
    user, now = caller(), context().now()
    killed = []
    for job_id in job_ids:
        with context().writing() as tx:
            killed.append(job_commands.kill(tx, job_id, caller=user, now=now))
    return killed


@routes.post("/submit")
@open_to(USER)
def submit() -> Response:
    """Refuse jobs without a task."""
    raise NotYet("jobs cannot be submitted alone", hint="submit a task: its jobs are made, retried and merged for you")


@routes.post("/set_debug_mode")
@open_to(OF_JOB)
@reads(DebugMode)
def set_debug_mode(body: DebugMode) -> Response:
    """Have the pilot of a running job report often and show the job's output, or end that."""
    return said(debug(body.job_id, body.mode))


def debug(job_id: int, mode: bool) -> str:
    """Switch the debug mode of a job; returns what to tell the user."""
    user, now = caller(), context().now()
    with context().writing() as tx:
        return job_commands.set_debug_mode(tx, job_id, mode, caller=user, now=now)


@routes.post("/send_command")
@open_to(OF_JOB)
@reads(Command)
def send_command(body: Command) -> Response:
    """Have the pilot of a running job run tail, ls or ps beside it; get_stdout then has what they print."""
    user, now = caller(), context().now()
    with context().writing() as tx:
        return said(job_commands.send(tx, body.job_id, body.command, caller=user, now=now))


@routes.get("/get_stdout")
@open_to(OF_JOB)
@reads(OneJob)
def get_stdout(asked: OneJob) -> Response:
    """The last output that the pilot of a job has shown, to the job's owner."""
    job_id, user = asked.job_id, caller()
    with context().reading() as tx:
        job = job_queries.find_job(tx, job_id)
        user.must_own(f"job {job_id}", job.user_name, job.vo)
        report = job_queries.report_of(tx, job_id)
    if report is None or not report.stdout_tail:
        raise BadState(f"the pilot of job {job_id} has shown no output", hint="switch its debug mode on, and wait")
    return succeeded({"job_id": job_id, "status": job.status, "stdout": report.stdout_tail})


@routes.get("/events")
@open_to(USER)
@reads(Followed, headers=("Last-Event-ID",))
@answers_with(EVENT_STREAM)
def events(asked: Followed) -> Response:
    """Live: the steps of a job and its figures, until it is over."""
    job_id = asked.job_id
    with context().reading() as tx:
        job_queries.find_job(tx, job_id)  # raises `NotFound`
    return stream("job", job_id, reader=caller().user_name)


@routes.get("/log")
@open_to(OF_JOB)
@reads(Followed, headers=("Last-Event-ID",))
@answers_with(EVENT_STREAM)
def log(asked: Followed) -> Response:
    """Live: what a job prints, for its owner; its pilot reports often while somebody reads."""
    job_id = asked.job_id
    with context().reading() as tx:
        job = job_queries.find_job(tx, job_id)
    caller().must_own(f"job {job_id}", job.user_name, job.vo)
    return stream("log", job_id, reader=caller().user_name)
