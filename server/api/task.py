"""/api/v1/task/: submitting tasks, looking at them, and commanding them (client protocol 6.2 to 6.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from flask import Blueprint, Response, request
from pydantic import Field

from ...core.errors import Fault, Invalid, NotAllowed, NotFound
from ...core.event_stream import EVENT_STREAM
from ...core.task_parameters import TaskParameters
from ...sql import datasets, decisions, event_ranges, job_queries, notifications, task_queries
from ...sql import tasks as tasks_sql
from .. import task_commands, task_details, task_rows
from ..auth.access import OF_TASK, RETRY, SUBMISSION, USER, open_to
from ..bodies import CHANGES, WORDS, Body, Moment, Query, Structure, WireBody
from ..context import context, request_id
from ..declared import answers_with, reads
from ..envelope import said, succeeded
from ..errors import answer
from ..identity import caller
from ..live.route import LastSeen, stream
from ..task_filters import filter_of
from ..task_rights import must_be_allowed
from ..task_submission import Entered, Submission, enter
from ..why import asking

routes = Blueprint("task", __name__)

MAX_LISTED = 1000
TaskId = Annotated[int, Field(ge=1, le=2**63 - 1)]


class Submitted(WireBody):
    task_parameters: Structure = Field(description="docs/task_parameters.md has the keys")
    parent_tid: TaskId | None = Field(None, description="the task that it is a child of")


class OneTask(Query):
    task_id: TaskId


class Followed(OneTask):
    last_event_id: LastSeen = ""


class AskedWhy(OneTask):
    changes: Annotated[list[str], WORDS] = Field([], max_length=100, description=CHANGES)


class Listing(Query):
    n_tasks: Annotated[int, Field(ge=1)] = MAX_LISTED
    since: Moment | None = None
    filters: Structure = Field({}, description="`{name: value}`; `*` and `|` in values")
    before: TaskId | None = Field(None, description="only tasks with smaller ids: the next page")


class Details(OneTask):
    include_parameters: bool = False
    include_status: bool = False


class Descriptions(OneTask):
    unsuccessful_only: bool = False


class Datasets(OneTask):
    dataset_types: Annotated[list[str], WORDS] = Field(["input", "pseudo_input"], max_length=20)


class Modified(Query):
    since: Moment
    dn: str | None = Field(None, description="a user name; the caller's where it is missing")
    full: bool = Field(False, description="taken for PanDA's sake: rows are always full")
    min_task_id: TaskId | None = Field(None, description="only tasks with larger ids")
    prod_source_label: str | None = None


class Order(Body):
    task_id: TaskId


class Finish(Order):
    soft: bool = Field(False, description="when the running jobs are over, not at once")


class Retry(Order):
    new_parameters: Structure | None = Field(None, description="task parameters that shall be other ones")


class Reactivate(Order):
    keep_attempt_nr: bool = Field(False, description="taken for PanDA's sake: attempts are kept where they are")
    trigger_job_generation: bool = Field(False, description="taken for PanDA's sake: jobs are made at once")


class IncreaseAttempts(Order):
    increase: Annotated[int, Field(ge=1, le=100)] = 3


@routes.post("/submit")
@open_to(SUBMISSION)
@reads(Submitted, headers=("Idempotency-Key",))
def submit(body: Submitted) -> Response:
    """Enter a task. Sent again with the same Idempotency-Key, it is the same task."""
    entered = take_in(body, request.headers.get("Idempotency-Key"))
    return succeeded(entered.jeditaskid, str(entered))


def take_in(body: Submitted, idempotency_key: str | None = None) -> Entered:
    """Check a submission and enter it in a transaction of its own."""
    parameters = TaskParameters.parse(body.task_parameters)
    if parameters.use_secrets and context().secret_box is None:
        fault = Fault("task_parameters.useSecrets", "this server keeps no secrets", "submit the task without it")
        raise Invalid("the task cannot be run", [fault])
    must_be_allowed(parameters, caller(), context().settings.server)
    submission = Submission(
        parameters=parameters,
        raw=body.task_parameters,
        caller=caller(),
        parent_tid=body.parent_tid,
        idempotency_key=idempotency_key,
    )
    now = context().now()
    with context().writing() as tx:
        return enter(tx, submission, now=now, request_id=request_id())


@routes.get("/get_detailed_info")
@open_to(USER)
@reads(OneTask)
def get_detailed_info(asked: OneTask) -> Response:
    """A task with everything that explains its state."""
    task_id = asked.task_id
    with context().reading() as tx:
        task = tasks_sql.get_task(tx, task_id)
        is_private = caller().may_own(task.user_name, task.vo)
        ends = notifications.of_task(tx, task_id)
        more = {
            "jobs": task_queries.job_counts(tx, task_id),
            "datasets": [task_rows.dataset_row(row) for row in datasets.of_task(tx, task_id)],
            "decisions": [task_rows.decision_row(row) for row in decisions.of_task(tx, task_id)],
            "errors": [task_rows.error_row(group) for group in task_queries.error_groups(tx, task_id)],
            "events": [task_rows.event_row(row) for row in task_queries.events_of(tx, task_id)],
            "eventRanges": event_ranges.counts_of_task(tx, task_id),
            "notifications": [task_rows.notification_row(row, is_private=is_private) for row in ends],
        }
        return succeeded({**task_details.row(tx, task_id), **more})


@routes.get("/contrasts")
@open_to(USER)
@reads(OneTask)
def contrasts(asked: OneTask) -> Response:
    """What the failed jobs of a task have in common that its finished ones have not."""
    with context().reading() as tx:
        whole, found = task_details.contrasts(tx, asked.task_id)
    return succeeded({"nFailed": whole.failed, "nFinished": whole.succeeded, "contrasts": found})


@routes.get("/events")
@open_to(USER)
@reads(Followed, headers=("Last-Event-ID",))
@answers_with(EVENT_STREAM)
def events(asked: Followed) -> Response:
    """Live: the steps of a task, its inputs and jobs by state, until it is over."""
    with context().reading() as tx:
        tasks_sql.get_task(tx, asked.task_id)  # raises `NotFound`
    return stream("task", asked.task_id, reader=caller().user_name)


@routes.get("/why")
@open_to(OF_TASK)
@reads(AskedWhy)
def why(asked: AskedWhy) -> Response:
    """Why a task is where it is, asked of those who decide: for its owner and whoever stands above owners."""
    return succeeded(asking.of_task(asked.task_id, asked.changes).row())


@routes.get("/get_parent_detailed_info")
@open_to(USER)
@reads(OneTask)
def get_parent_detailed_info(asked: OneTask) -> Response:
    """The parent of a task."""
    task_id = asked.task_id
    with context().reading() as tx:
        parent = tasks_sql.get_task(tx, task_id).parent_tid
        if parent is None:
            raise NotFound(f"task {task_id} has no parent")
        return succeeded(task_details.row(tx, parent))


@routes.get("/get_details")
@open_to(USER)
@reads(Details)
def get_details(asked: Details) -> Response:
    """What a task reads and writes, and its jobs."""
    with context().reading() as tx:
        details = task_details.summary(
            tx, asked.task_id, with_parameters=asked.include_parameters, with_status=asked.include_status
        )
    return succeeded(details)


@routes.get("/get_job_descriptions")
@open_to(USER)
@reads(Descriptions)
def get_job_descriptions(asked: Descriptions) -> Response:
    """The jobs of a task with all their attributes and files."""
    with context().reading() as tx:
        tasks_sql.get_task(tx, asked.task_id)
        jobs = job_queries.of_task(
            tx, asked.task_id, unsuccessful_only=asked.unsuccessful_only, limit=task_details.MAX_JOBS
        )
        return succeeded(task_details.describe(tx, jobs))


@routes.get("/get_datasets_and_files")
@open_to(USER)
@reads(Datasets)
def get_datasets_and_files(asked: Datasets) -> Response:
    """The datasets of a task, of the kinds asked for, each with its files."""
    with context().reading() as tx:
        tasks_sql.get_task(tx, asked.task_id)
        return succeeded(task_details.datasets_and_files(tx, asked.task_id, asked.dataset_types))


@routes.get("/get_tasks_modified_since")
@open_to(USER)
@reads(Modified)
def get_tasks_modified_since(asked: Modified) -> Response:
    """The caller's tasks that changed since a moment, by their request ids."""
    with context().reading() as tx:
        rows = task_details.modified_since(
            tx, asked.since, asked.dn or caller().user_name, asked.prod_source_label, asked.min_task_id
        )
    return succeeded({str(row["reqID"]): row for row in rows})


@routes.get("/get_tasks_detailed_info_since")
@open_to(USER)
@reads(Listing)
def get_tasks_detailed_info_since(asked: Listing) -> Response:
    """The caller's tasks, or those that the filters name, the newest first."""
    wanted = filter_of(asked.filters, caller().user_name, since=asked.since, before=asked.before)
    with context().reading() as tx:
        tasks = task_queries.list_tasks(tx, wanted, limit=min(asked.n_tasks, MAX_LISTED))
        return succeeded(task_details.rows(tx, tasks))


@routes.get("/get_status")
@open_to(USER)
@reads(OneTask)
def get_status(asked: OneTask) -> Response:
    """The state of a task, as a word."""
    with context().reading() as tx:
        return succeeded(tasks_sql.get_task(tx, asked.task_id).status)


@routes.get("/get_task_parameters")
@open_to(USER)
@reads(OneTask)
def get_task_parameters(asked: OneTask) -> Response:
    """The parameters of a task as submitted, with the changes of later retries."""
    with context().reading() as tx:
        return succeeded(tasks_sql.get_parameters(tx, asked.task_id))


@routes.get("/get_job_ids")
@open_to(USER)
@reads(OneTask)
def get_job_ids(asked: OneTask) -> Response:
    """The ids of all jobs of a task."""
    task_id = asked.task_id
    with context().reading() as tx:
        tasks_sql.get_task(tx, task_id)
        return succeeded(job_queries.ids_of_task(tx, task_id))


@routes.post("/finish")
@open_to(OF_TASK)
@reads(Finish)
def finish(body: Finish) -> Response:
    """End a task with what it has: at once, or softly when its running jobs are over."""
    return _commanded("finish", body.task_id, {"soft": body.soft})


@routes.post("/retry")
@open_to(RETRY)
@reads(Retry)
def retry(body: Retry) -> Response:
    """Try the unsuccessful inputs again. PanDA's clients read 0 as accepted, and 3 when they sent new parameters."""
    new = body.new_parameters
    if not new:
        return _commanded("retry", body.task_id, accepted=0)
    return _commanded("retry", body.task_id, {"new_parameters": new}, accepted=3, forbidden=None)


@routes.post("/reactivate")
@open_to(OF_TASK)
@reads(Reactivate)
def reactivate(body: Reactivate) -> Response:
    """Run a task again that is over: what had failed, and what is new in its input."""
    return _commanded("reactivate", body.task_id, {"failed_too": True})


@routes.post("/increase_attempts")
@open_to(OF_TASK)
@reads(IncreaseAttempts)
def increase_attempts(body: IncreaseAttempts) -> Response:
    """Let the unfinished inputs of an active task be tried more often."""
    return _commanded("increase_attempts", body.task_id, {"increase": body.increase})


def _commanded(
    verb: str,
    task_id: int,
    parameters: dict[str, Any] | None = None,
    *,
    accepted: int | None = None,
    forbidden: int | None = 3,
) -> Response:
    """Queue a command; `data` is PanDA's code for it, or where clients show it the sentence (client protocol 6.4)."""
    try:
        told = give(verb, task_id, parameters)
    except NotAllowed as error:
        return answer(error, forbidden)
    return said(told) if accepted is None else succeeded(accepted, told)


def give(verb: str, task_id: int, parameters: dict[str, Any] | None = None) -> str:
    """Queue a command in a transaction of its own; returns what to tell its giver."""
    now, user = context().now(), caller()
    with context().writing() as tx:
        return task_commands.give(
            tx,
            verb,
            task_id,
            caller=user,
            section=context().settings.server,
            now=now,
            request_id=request_id(),
            parameters=parameters,
        )


def _plain_verb(verb: str) -> Callable[[], Response]:
    def view(body: Order) -> Response:
        return _commanded(verb, body.task_id)

    view.__doc__ = f"Queue the command: {task_commands.VERBS[verb].effect}."
    return open_to(OF_TASK)(reads(Order)(view))


for _verb in ("kill", "reload_input", "pause", "resume", "avalanche"):
    routes.add_url_rule(f"/{_verb}", _verb, _plain_verb(_verb), methods=["POST"])
