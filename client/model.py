"""What the server tells, as frozen dataclasses. Every one keeps the server's own row in `row`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..core.counting import count_text
from ..core.states import TaskState
from .rows import adler32_text, counts, integer, moment, of, real, reasons, rows_of, text, words

Row = Mapping[str, Any]

#: States in which a task does nothing more unless its owner acts.
OVER = frozenset(
    {
        TaskState.DONE,
        TaskState.FINISHED,
        TaskState.FAILED,
        TaskState.ABORTED,
        TaskState.BROKEN,
        TaskState.EXHAUSTED,
    }
)


#: What commands are called here, where the server has another word.
_SAID = {"incexec": "reload"}


@dataclass(frozen=True, kw_only=True)
class Event:
    """One step of a task or job from state to state."""

    when: datetime | None = field(metadata=of("when", moment))
    old: str = field(metadata=of("old"))
    new: str = field(metadata=of("new"))
    actor: str = field(metadata=of("actor"))
    why: str = field(metadata=of("why"))
    attempt_nr: int = field(metadata=of("attempt_nr", integer))


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One decision that the code which took it wrote down: brokerage, share, throttle, data."""

    when: datetime | None = field(metadata=of("when", moment))
    actor: str = field(metadata=of("actor"))
    what: str = field(metadata=of("what"))
    why: str = field(metadata=of("reasons why", reasons))


@dataclass(frozen=True, kw_only=True)
class Notification:
    """An end of a task of which its user is told: `delivery` is waiting, told or given_up."""

    when: datetime | None = field(metadata=of("when", moment))
    state: str = field(metadata=of("state"))
    delivery: str = field(metadata=of("delivery"))
    how: str = field(metadata=of("how"))  #: how and to whom, or why not yet; empty for tasks of others
    attempts: int = field(metadata=of("attempts", integer))
    next_try: datetime | None = field(metadata=of("nextTryAt", moment))
    told: datetime | None = field(metadata=of("toldAt", moment))


@dataclass(frozen=True, kw_only=True)
class ErrorGroup:
    """One cause of failure in a task, with how many jobs of a kind it hit and one of them."""

    kind: str = field(metadata=of("kind"))  #: run, build or merge, when the server says it
    code: str = field(metadata=of("code"))
    source: str = field(metadata=of("source"))
    diag: str = field(metadata=of("diag"))
    count: int = field(metadata=of("count", integer))
    example_job: int = field(metadata=of("example_job", integer))
    who: str = field(metadata=of("who"))  #: who must act (user, site, operator, nobody), when the server knows
    meaning: str = field(metadata=of("meaning"))  #: what the code means, when the server knows


@dataclass(frozen=True, kw_only=True)
class TaskDataset:
    """One dataset of a task: `type` is input, pseudo_input, output or log."""

    dataset_id: int = field(metadata=of("datasetID", integer))
    name: str = field(metadata=of("name"))
    type: str = field(metadata=of("type"))
    status: str = field(metadata=of("status"))
    n_files: int = field(metadata=of("nFiles", integer))
    n_files_used: int = field(metadata=of("nFilesUsed", integer))
    n_files_finished: int = field(metadata=of("nFilesFinished", integer))
    n_files_failed: int = field(metadata=of("nFilesFailed", integer))
    n_files_on_hold: int = field(metadata=of("nFilesOnHold", integer))
    row: Row = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class TaskInfo:
    """A task at one moment."""

    task_id: int = field(metadata=of("jediTaskID", integer))
    name: str = field(metadata=of("taskName"))
    status: str = field(metadata=of("status"))
    super_status: str = field(metadata=of("superStatus"))
    user: str = field(metadata=of("userName"))
    vo: str = field(metadata=of("vo"))
    label: str = field(metadata=of("prodSourceLabel"))
    created: datetime | None = field(metadata=of("creationDate", moment))
    modified: datetime | None = field(metadata=of("modificationTime", moment))
    started: datetime | None = field(metadata=of("startTime", moment))
    ended: datetime | None = field(metadata=of("endTime", moment))
    error: str = field(metadata=of("errorDialog"))
    n_files: int = field(metadata=of("nFiles", integer))
    n_files_finished: int = field(metadata=of("nFilesFinished", integer))
    n_files_failed: int = field(metadata=of("nFilesFailed", integer))
    n_files_on_hold: int = field(metadata=of("nFilesOnHold", integer))
    jobs: dict[str, int] = field(metadata=of("jobs", counts))
    event_ranges: dict[str, int] = field(metadata=of("eventRanges", counts))  #: {state: n}, in the event service
    datasets: tuple[TaskDataset, ...] = field(metadata=of("datasets", rows_of(TaskDataset)))
    decisions: tuple[Decision, ...] = field(metadata=of("decisions", rows_of(Decision)))
    errors: tuple[ErrorGroup, ...] = field(metadata=of("errors", rows_of(ErrorGroup)))
    events: tuple[Event, ...] = field(metadata=of("events", rows_of(Event)))
    notifications: tuple[Notification, ...] = field(metadata=of("notifications", rows_of(Notification)))
    pending_commands: tuple[str, ...] = field(metadata=of("pendingCommands", words))  #: given, and not carried out yet
    row: Row = field(default_factory=dict, compare=False, repr=False)

    def _repr_html_(self) -> str:
        from .notebook import task_html

        return task_html(self)

    @property
    def is_over(self) -> bool:
        """Whether the task does nothing more by itself: a command that waits may bring it back."""
        return self.status in OVER and not self.pending_commands

    @property
    def is_success(self) -> bool:
        """Whether every input was processed."""
        return self.status == TaskState.DONE

    @property
    def state(self) -> str:
        """The state in plain words, such as `finished (partial: 87 of 100 inputs)`: finished is not done."""
        waiting = [_SAID.get(command, command) for command in self.pending_commands]
        return self._progress + (
            f"; {', '.join(waiting)} is to be carried out" if waiting and self.status in OVER else ""
        )

    @property
    def _progress(self) -> str:
        inputs = count_text(self.n_files, "input")
        if self.status == TaskState.DONE:
            return f"done (all {inputs})" if self.n_files > 1 else f"done ({inputs})" if self.n_files else "done"
        if self.status == TaskState.FINISHED:
            return f"finished (partial: {self.n_files_finished} of {inputs})"
        if not self.n_files:
            return self.status
        failed = f", {self.n_files_failed} failed" if self.n_files_failed else ""
        held = f", {self.n_files_on_hold} on hold" if self.n_files_on_hold else ""
        return f"{self.status} ({self.n_files_finished} of {inputs} done{failed}{held})"


@dataclass(frozen=True, kw_only=True)
class FileInfo:
    """One file of a job or a dataset. `adler32` is eight hex digits, or empty when nobody has recorded it."""

    lfn: str = field(metadata=of("lfn"))
    url: str = field(metadata=of("url"))
    size_bytes: int = field(metadata=of("size_bytes fsize", integer))
    adler32: str = field(metadata=of("adler32 checksum", adler32_text))
    scope: str = field(metadata=of("scope"))
    guid: str = field(metadata=of("guid"))
    type: str = field(metadata=of("type"))
    dataset: str = field(metadata=of("dataset"))
    status: str = field(metadata=of("status"))
    row: Row = field(default_factory=dict, compare=False, repr=False)


#: Where an error of a job may come from, and the keys of its code and text in PanDA's job row.
ERROR_SOURCES = {
    "pilot": ("pilotErrorCode", "pilotErrorDiag"),
    "payload": ("exeErrorCode", "exeErrorDiag"),
    "transformation": ("transExitCode", ""),
    "supervisor": ("supErrorCode", "supErrorDiag"),
    "data management": ("ddmErrorCode", "ddmErrorDiag"),
    "brokerage": ("brokerageErrorCode", "brokerageErrorDiag"),
    "dispatcher": ("jobDispatcherErrorCode", "jobDispatcherErrorDiag"),
    "taskbuffer": ("taskBufferErrorCode", "taskBufferErrorDiag"),
}


@dataclass(frozen=True)
class Cause:
    """One error a job carries: which layer, which code, what it said."""

    source: str
    code: str
    diag: str

    def __str__(self) -> str:
        return f"{self.source} {self.code}" + (f": {self.diag}" if self.diag else "")


@dataclass(frozen=True, kw_only=True)
class JobFault:
    """One error of a job as the server explains it: what the code means, and who must act on it."""

    source: str = field(metadata=of("source"))
    code: str = field(metadata=of("code"))
    diag: str = field(metadata=of("diag"))
    who: str = field(metadata=of("who"))
    meaning: str = field(metadata=of("meaning"))


@dataclass(frozen=True, kw_only=True)
class JobInfo:
    """A job at one moment. `files`, `faults`, `events` and the texts are there when one job was asked for."""

    job_id: int = field(metadata=of("PandaID", integer))
    task_id: int = field(metadata=of("jediTaskID", integer))
    status: str = field(metadata=of("jobStatus"))
    queue: str = field(metadata=of("computingSite"))
    node: str = field(metadata=of("node modificationHost"))
    attempt_nr: int = field(metadata=of("attemptNr", integer))
    created: datetime | None = field(metadata=of("creationTime", moment))
    started: datetime | None = field(metadata=of("startTime", moment))
    ended: datetime | None = field(metadata=of("endTime", moment))
    modified: datetime | None = field(metadata=of("modificationTime", moment))
    core_count: int = field(metadata=of("coreCount", integer))  #: this and the next three: what it asks for
    ram_mb: int = field(metadata=of("minRamCount", integer))
    max_walltime_seconds: int = field(metadata=of("maxWalltime", integer))
    max_disk_mb: int = field(metadata=of("maxDiskCount", integer))
    max_rss_kb: int = field(metadata=of("maxRSS", integer))
    cpu_seconds: float = field(metadata=of("cpuConsumptionTime", real))
    retry_rule: str = field(metadata=of("retryRule"))  #: the retry rules that fired over its failure
    parameters: str = field(metadata=of("parameters"))
    stdout_tail: str = field(metadata=of("stdoutTail"))
    files: tuple[FileInfo, ...] = field(metadata=of("files", rows_of(FileInfo)))
    faults: tuple[JobFault, ...] = field(metadata=of("errors", rows_of(JobFault)))
    events: tuple[Event, ...] = field(metadata=of("events", rows_of(Event)))
    row: Row = field(default_factory=dict, compare=False, repr=False)

    def _repr_html_(self) -> str:
        from .notebook import job_html

        return job_html(self)

    @property
    def causes(self) -> tuple[Cause, ...]:
        """Every error the job carries, each with the layer that reported it."""
        found = []
        for source, (code_key, diag_key) in ERROR_SOURCES.items():
            code = text(self.row.get(code_key))
            if code not in ("", "0", "NULL"):
                found.append(Cause(source, code, text(self.row.get(diag_key))))
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """A dataset and what it holds."""

    name: str = field(metadata=of("name"))
    status: str = field(metadata=of("status"))
    n_files: int = field(metadata=of("nFiles", integer))
    size_bytes: int = field(metadata=of("sizeBytes", integer))
    created: datetime | None = field(metadata=of("creationDate", moment))
    row: Row = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class QueueInfo:
    """A queue: where pilots run. The rest of PanDA's queue data is in `row`."""

    name: str = field(metadata=of("nickname name queue"))
    status: str = field(metadata=of("status"))
    state: str = field(metadata=of("state"))
    core_count: int = field(metadata=of("corecount", integer))
    max_rss_mb: int = field(metadata=of("maxrss", integer))
    max_time_seconds: int = field(metadata=of("maxtime", integer))
    jobs: dict[str, int] = field(metadata=of("jobs", counts))
    row: Row = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class QueueChange:
    """A change of a queue: who did what, from where, and the values that changed, before and after."""

    at: datetime | None = field(metadata=of("at", moment))
    actor: str = field(metadata=of("actor"))
    what: str = field(metadata=of("what"))
    source: str = field(metadata=of("source"))
    row: Row = field(default_factory=dict, compare=False, repr=False)

    @property
    def values(self) -> dict[str, tuple[object, object]]:
        """{key: (before, after)}; None where the queue had no such value."""
        before, after = self.row.get("before") or {}, self.row.get("after") or {}
        return {key: (before.get(key), after.get(key)) for key in sorted({*before, *after})}


#: How the server's answer begins when an older task of the same name goes on (client protocol 6.2).
TAKEN_UP_AGAIN = "reactivation accepted"


@dataclass(frozen=True)
class Submitted:
    """What became of a submission: the task, whether it is an older one that goes on, and what the server said."""

    task_id: int
    again: bool
    message: str


@dataclass(frozen=True)
class Added:
    """What `add_files` did: how many files are new in the dataset, and how many it already had."""

    added: int = 0
    known: int = 0

    def __add__(self, other: Added) -> Added:
        return Added(self.added + other.added, self.known + other.known)


@dataclass(frozen=True, kw_only=True)
class WhyGate:
    """A gate that stopped somebody: how many came and went on, one that did not, and what would let it through."""

    gate: str = field(metadata=of("gate"))
    n_in: int = field(metadata=of("in", integer))
    n_out: int = field(metadata=of("out", integer))
    example: str = field(metadata=of("example"))
    change: str = field(metadata=of("change"))


@dataclass(frozen=True, kw_only=True)
class WhyStep:
    """What one who decides says of a task, a job or a queue."""

    who: str = field(metadata=of("who"))
    passes: bool = field(metadata=of("passes", bool))
    says: str = field(metadata=of("says"))
    gates: tuple[WhyGate, ...] = field(metadata=of("gates", rows_of(WhyGate)))
    when: datetime | None = field(metadata=of("at", moment))  #: of a decision on record
    row: Row = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class WhyInfo:
    """Why something is where it is: who decides about it, in order, and what each says now."""

    subject: str = field(metadata=of("subject"))
    status: str = field(metadata=of("status"))
    stopped_by: str = field(metadata=of("stopped_by"))  #: the first who lets nothing pass; empty: nobody
    steps: tuple[WhyStep, ...] = field(metadata=of("steps", rows_of(WhyStep)))
    row: Row = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class WhoInfo:
    """Whom the server takes us for."""

    user_name: str = field(metadata=of("userName"))
    vo: str = field(metadata=of("vo"))
    roles: tuple[str, ...] = field(metadata=of("roles", words))
    groups: tuple[str, ...] = field(metadata=of("groups", words))
    nicknames: tuple[str, ...] = field(metadata=of("nicknames", words))
    queues: tuple[str, ...] = field(metadata=of("queues", words))  #: that a pilot's token is for; none: all
    row: Row = field(default_factory=dict, repr=False, compare=False)
