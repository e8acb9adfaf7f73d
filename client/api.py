"""The client: every call a user may make to a server, typed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from ..core.errors import NotFound
from .catalogue import BATCH, NewFile
from .errors import BadReply
from .evidence import Comparison, ContrastInfo
from .identity import Identity, server_url
from .live import LiveEvent, follow
from .logins import kept_login
from .model import (
    TAKEN_UP_AGAIN,
    Added,
    DatasetInfo,
    FileInfo,
    JobInfo,
    QueueChange,
    QueueInfo,
    Submitted,
    TaskInfo,
    WhoInfo,
    WhyInfo,
)
from .naming import default_out_ds, in_ds_name
from .notebook import Listing
from .rows import integer, read
from .sandbox import Archive, SandboxRules
from .spec import TaskSpec
from .submission import Submission
from .task import Task
from .transport import Reply, Transport

PAGE = 1000


def connect(url: str | None = None, user: str | None = None, *, token: str | None = None) -> Client:
    """A client for the server at `url` (or BAMBOO_URL, or the one on this machine). Sends nothing yet.

    A token says who you are; without one (nor BAMBOO_TOKEN), `user` does, where the server believes it. Without
    either it is whoever said `bamboo login` for this server.
    """
    address = server_url(url)
    given = Identity.find(user, token=token)
    login = None if user or given.token else kept_login(address)
    return Client(Transport(address, Identity.find(user, vo=login.vo) if login else given, login=login))


class Client:
    """Asks and commands one server as one user."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def __repr__(self) -> str:
        return f"<Client of {self.transport.url} as {self.transport.user}>"

    # tasks

    def submit(self, task: TaskSpec | Mapping[str, Any], *, parent_tid: int | None = None) -> Task:
        """Submit a task: a spec, or task parameters in PanDA's form. No files of yours go along: see `run`."""
        if isinstance(task, TaskSpec):
            sent = Submission(self, task, rules=None).send()
        else:
            sent = self.send_parameters(task, parent_tid=parent_tid)
        return Task(self, sent.task_id, taken_up_again=sent.again)

    def submit_parameters(self, parameters: Mapping[str, Any], *, parent_tid: int | None = None) -> int:
        """Send task parameters; returns the id of the task. A repeated request makes one task only."""
        return self.send_parameters(parameters, parent_tid=parent_tid).task_id

    def send_parameters(self, parameters: Mapping[str, Any], *, parent_tid: int | None = None) -> Submitted:
        """Send task parameters; says which task took them, and whether it is an older one of the same name."""
        body = {"task_parameters": dict(parameters), "parent_tid": parent_tid}
        reply = self.transport.post("task/submit", body)
        task_id = integer(reply.data)
        if not task_id:
            raise BadReply(f"the server took the task but named no id: {reply.message}", hint="see bamboo task list")
        return Submitted(task_id, reply.message.startswith(TAKEN_UP_AGAIN), reply.message)

    def run(
        self, exec: str, *, work_dir: Path | str | None = None, in_files: Sequence[str] = (), **options: Any
    ) -> Task:
        """Submit a command, with the files of `work_dir` and over the local `in_files` if given.

        The other options are the fields of `TaskSpec`. With the name (`out_ds`) of a task that is over, that one is
        taken up again with its old command: `taken_up_again` of the task says so.
        """
        rules = SandboxRules(work_dir=Path(work_dir)) if work_dir is not None else None
        sent = Submission(self, TaskSpec(exec=exec, **options), rules=rules, in_files=in_files).send()
        return Task(self, sent.task_id, taken_up_again=sent.again)

    def completed(self, spec: TaskSpec, *, local_input: bool = False) -> TaskSpec:
        """The spec with a name for its outputs, and for the dataset of its local input if it has that; checked."""
        nickname = self.transport.identity.nickname
        out_ds = spec.out_ds.rstrip("/") or default_out_ds(nickname)
        in_ds = (*spec.in_ds, in_ds_name(out_ds)) if local_input else spec.in_ds
        named = replace(spec, out_ds=out_ds, in_ds=in_ds)
        named.check(nickname)
        return named

    def task(self, task_id: int) -> Task:
        """A task by its id. Raises `Refused` (status 404) or `NotFound` if there is none."""
        return Task(self, task_id, self.task_info(task_id))

    def task_info(self, task_id: int) -> TaskInfo:
        """A task as it is now, with its datasets, decisions, errors and last events."""
        row = self.transport.get("task/get_detailed_info", task_id=task_id)
        if not isinstance(row, Mapping):
            raise NotFound(f"there is no task {task_id}", hint="see bamboo task list")
        return read(TaskInfo, row)

    def task_parameters(self, task_id: int) -> dict[str, Any]:
        """The parameters that a task was submitted with."""
        return dict(self.transport.get("task/get_task_parameters", task_id=task_id) or {})

    def metadata(self, task_id: int) -> dict[str, Any]:
        """What the jobs of a task have left as `userJobMetadata.json`, by job id."""
        return dict(self.transport.get("job/get_metadata_for_analysis_jobs", task_id=task_id) or {})

    def tasks(
        self,
        *,
        status: str | None = None,
        name: str | None = None,
        user: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> Listing[Task]:
        """The caller's tasks, or those of `user`, the newest first.

        Values may hold `*` for anything and `|` between alternatives; `since` is the time of the last change.
        """
        filters = {"status": status, "taskName": name, "userName": user}
        given = {key: value for key, value in filters.items() if value}
        moment = since.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if since else None

        def page(before: object, size: int) -> Any:
            return self.transport.get(
                "task/get_tasks_detailed_info_since",
                n_tasks=size,
                since=moment,
                filters=json.dumps(given) if given else None,
                before=before,
            )

        infos = (read(TaskInfo, row) for row in paged(page, "jediTaskID", limit))
        return Listing(Task(self, info.task_id, info) for info in infos)

    def command(self, verb: str, task_id: int, **arguments: object) -> str:
        """Give a command on a task; returns the server's answer."""
        return said(self.transport.post(f"task/{verb}", {"task_id": task_id, **arguments}))

    # jobs

    def job(self, job_id: int) -> JobInfo:
        """A job by its id, with its files and events."""
        row = self.transport.get("job/get_detailed_info", job_id=job_id)
        if not isinstance(row, Mapping):
            raise NotFound(f"there is no job {job_id}", hint="see bamboo job list TASK")
        return read(JobInfo, row)

    def jobs(self, task_id: int, *, status: str | None = None, limit: int | None = None) -> Iterator[JobInfo]:
        """The jobs of a task, fetched page by page as they are looked at."""

        def page(after: object, size: int) -> Any:
            return self.transport.get("job/list", task_id=task_id, status=status, after=after, limit=size)

        return (read(JobInfo, row) for row in paged(page, "PandaID", limit))

    def compare(self, job_id: int, other_id: int | None = None) -> Comparison:
        """Two jobs side by side; without a second one, one that finished, chosen by the server. Raises `Refused`."""
        return read(Comparison, self.transport.get("job/compare", job_id=job_id, other_id=other_id) or {})

    def definition(self, job_id: int) -> dict[str, Any]:
        """What the pilot of a job of yours got to run it (docs/api.md), without secrets. Raises `Refused`."""
        return dict(self.transport.get("job/get_definition", job_id=job_id) or {})

    # live

    def task_events(self, task_id: int) -> Iterator[LiveEvent]:
        """What happens to a task, as it happens, until it is over: `step`, `state`, `end`. Raises `Refused`."""
        return follow(self.transport, "task/events", task_id=task_id)

    def job_events(self, job_id: int) -> Iterator[LiveEvent]:
        """What happens to a job, as it happens, until it is over: `step`, `state`, `end`. Raises `Refused`."""
        return follow(self.transport, "job/events", job_id=job_id)

    def job_output(self, job_id: int) -> Iterator[LiveEvent]:
        """What a job prints, as it prints it, until its end: `stdout`, `stderr`, `end`. Raises `Refused`."""
        return follow(self.transport, "job/log", job_id=job_id)

    def dashboard(self, *, hours: float = 1) -> dict[str, Any]:
        """The whole system now and in the last hours, as the first of the server's pages has it."""
        return dict(self.transport.page("", hours=hours))

    # why

    def contrasts(self, task_id: int) -> list[ContrastInfo]:
        """What failed jobs of a task have in common that finished ones have not, the clearest first."""
        found = self.transport.get("task/contrasts", task_id=task_id) or {}
        return [read(ContrastInfo, row) for row in found.get("contrasts") or ()]

    def why(self, noun: str, subject: int | str, *, changes: Sequence[str] = ()) -> WhyInfo:
        """Why a `task`, `job` or `queue` is where it is, asked of those who decide.

        `changes` such as `memory=2000` are tried on a copy (docs/why.md). Raises `Refused`.
        """
        key = "queue" if noun == "queue" else f"{noun}_id"
        given = {key: subject, "changes": json.dumps(list(changes)) if changes else None}
        return read(WhyInfo, self.transport.get(f"{noun}/why", **given) or {})

    # datasets

    def datasets(self, pattern: str | None = None, *, limit: int | None = None) -> Iterator[DatasetInfo]:
        """Datasets whose names match `pattern` (with `*`)."""

        def page(after: object, size: int) -> Any:
            return self.transport.get("dataset/list", pattern=pattern, after=after, limit=size)

        return (read(DatasetInfo, row) for row in paged(page, "name", limit))

    def files(self, dataset: str, *, limit: int | None = None) -> Iterator[FileInfo]:
        """The files of a dataset, by name."""

        def page(after: object, size: int) -> Any:
            return self.transport.get("dataset/get_files", dataset=dataset, after=after, limit=size)

        return (read(FileInfo, row) for row in paged(page, "lfn", limit))

    def add_files(self, dataset: str, files: Sequence[NewFile]) -> Added:
        """Register files in a dataset, made if there is none. Files it has already are counted, not doubled.

        Raises `Refused` (status 422) for a file that is there with another size or checksum.
        """
        total = Added()
        for start in range(0, len(files), BATCH):
            rows = [file.row for file in files[start : start + BATCH]]
            body = {"dataset": dataset, "files": rows, "create": True}
            data = self.transport.post("dataset/add_files", body).data or {}
            total += Added(integer(data.get("added")), integer(data.get("known")))
        return total

    # queues

    def queues(self) -> Listing[QueueInfo]:
        """All queues, with the jobs they have."""
        return Listing(read(QueueInfo, row) for row in self.transport.get("queue/list") or ())

    def queue(self, name: str) -> QueueInfo:
        """A queue by its name. Raises `Refused` (status 404) or `NotFound` if there is none."""
        row = self.transport.get("queue/get", queue=name)
        if not isinstance(row, Mapping):
            raise NotFound(f"there is no queue {name}", hint="see bamboo queue list")
        return read(QueueInfo, row)

    def set_queue(self, name: str, attributes: Mapping[str, Any], *, unset: Sequence[str] = ()) -> str:
        """Set attributes of a queue by hand, which imports then leave alone, or give some back; returns the answer."""
        body = {"queue": name, "attributes": dict(attributes), **({"unset": list(unset)} if unset else {})}
        return said(self.transport.post("queue/set", body))

    def remove_queue(self, name: str) -> str:
        """Remove a queue that has no jobs and is in no imported document; returns the answer."""
        return said(self.transport.post("queue/remove", {"queue": name}))

    def queue_history(self, name: str, *, limit: int = 50) -> list[QueueChange]:
        """The last changes of a queue, newest first. Raises `Refused` (status 404) if there is none."""
        return [read(QueueChange, row) for row in self.transport.get("queue/history", queue=name, limit=limit) or ()]

    # who we are

    def whoami(self) -> WhoInfo:
        """Whom the server takes us for; `row` has the token, the rules that gave roles, and what others would need."""
        return read(WhoInfo, self.transport.get("system/whoami"))

    def web_address(self) -> str:
        """Where a browser signs in to the server's pages as us, within a minute."""
        return str(self.transport.post("system/get_web_ticket", {}).data["address"])

    # secrets

    def secrets(self) -> dict[str, str]:
        """Your secrets by name; those whose names begin with `___file___:` are files, in base64."""
        found = json.loads(self.transport.get("creds/get_user_secrets") or "{}")
        return {str(name): str(value) for name, value in found.items()}

    def set_secret(self, name: str, value: str | None) -> str:
        """Keep a secret for your jobs, or forget it (None); returns what the server says. Raises `Refused`."""
        return self.transport.post("creds/set_user_secrets", {"key": name, "value": value}).message

    # sandboxes

    def upload_archive(self, archive: Archive) -> str:
        """Upload a packed sandbox unless the server has its like (PanDA's `FOUND:<host>:<name>`)."""
        known = {"file_size": archive.size_bytes, "checksum": archive.checksum}
        answer = self.transport.post("file_server/validate_cache_file", known).message
        if answer.startswith("FOUND:"):
            return answer.rpartition(":")[2]
        self.transport.upload("file_server/upload_cache_file", archive.path)
        return archive.path.name


def said(reply: Reply) -> str:
    """The sentence in a reply to a command: PanDA's own clients look for it in `data`, ours in `message`."""
    return reply.message or (reply.data if isinstance(reply.data, str) else "") or "accepted"


def paged(page: Callable[[object, int], Any], key: str, limit: int | None) -> Iterator[Mapping[str, Any]]:
    """Rows of a listing that goes on after the last row's `key`, until there are no more or `limit` is reached.

    Only an empty page is the end: the server may give smaller pages than it was asked for.
    """

    def every() -> Iterator[Mapping[str, Any]]:
        size = PAGE if limit is None else max(1, min(PAGE, limit))
        after: object = None
        while rows := page(after, size):
            yield from rows
            if rows[-1].get(key) == after:
                return  # a server that does not know `after` must not keep us here
            after = rows[-1].get(key)

    return islice(every(), limit)
