"""Two jobs side by side: what differs between one that failed and a sibling that did not, and what is the same.

What can differ only by nature (ids, moments, names of own outputs) is left out, and figures that were measured differ
when they do so by more than a quarter, and by more than what is lost in noise.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from difflib import SequenceMatcher
from typing import Any
from urllib.parse import unquote

import sqlalchemy as sa

from ..core.errors import BadState
from ..sql import job_queries
from ..sql.tables import INPUT_TYPES
from .task_rows import job_errors, job_row

#: Files that one of two jobs reads alone are named up to so many.
MAX_NAMES = 100
#: Figures differ when the larger one is larger by this part of itself.
MIN_RATIO = 0.25
#: What the moments of a job say: from when to when, and the seconds that are noise.
SPANS = (("waiting", "created_at", "started_at", 60), ("running", "started_at", "ended_at", 5))
#: What a pilot measures of its own work, in the order of `pilotTiming` (pilot protocol, final report).
TIMED = ("getting the job", "stage-in", "payload", "stage-out", "initial setup", "setup")
#: Of command lines that differ in more words than this, all that differs is told as one: to pair so many words takes
#: time with their third power.
MAX_WORDS = 200
#: What may be the name of a file in a command line.
_NAME = re.compile(r"""[^\s'",:=()\[\]{}]+""")
#: In this order they are told.
PARTS = ("how it ended", "errors", "where", "what", "asked for", "inputs", "outputs", "timings", "measured")


@dataclass(frozen=True)
class Fact:
    """A column of jobs that is compared: PanDA's name, ours, its unit, and the difference that is noise."""

    part: str
    key: str
    name: str
    unit: str = ""
    noise: float | None = None  #: None: any difference counts


FACTS = (
    Fact("how it ended", "jobStatus", "state"),
    Fact("how it ended", "jobSubStatus", "substate"),
    Fact("how it ended", "attemptNr", "attempt"),
    Fact("how it ended", "retryRule", "retry rule"),
    Fact("where", "computingSite", "queue"),
    Fact("where", "node", "node"),
    Fact("where", "cpuConsumptionUnit", "processor"),
    Fact("where", "pilotID", "pilot"),
    Fact("where", "schedulerID", "scheduler"),
    Fact("what", "jediTaskID", "task"),
    Fact("what", "transformation", "transformation"),
    Fact("what", "container_name", "image"),
    Fact("what", "processingType", "kind of processing"),
    Fact("what", "isScout", "scout"),
    Fact("asked for", "resource_type", "resource type"),
    Fact("asked for", "coreCount", "cores"),
    Fact("asked for", "minRamCount", "memory", "MB"),
    Fact("asked for", "maxDiskCount", "disk", "MB"),
    Fact("asked for", "maxWalltime", "wall time", "s"),
    Fact("inputs", "nInputFiles", "files"),
    Fact("inputs", "inputFileBytes", "size", "B"),
    Fact("inputs", "nEvents", "events"),
    Fact("measured", "cpuConsumptionTime", "cpu time", "s", 5),
    Fact("measured", "maxRSS", "memory (RSS)", "kB", 20_000),
    Fact("measured", "maxPSS", "memory (PSS)", "kB", 20_000),
    Fact("measured", "maxVMEM", "virtual memory", "kB", 200_000),
    Fact("measured", "totRBYTES", "read from disk", "kB", 20_000),
    Fact("measured", "totWBYTES", "written to disk", "kB", 20_000),
    Fact("measured", "workDirSize", "work directory", "B", 20_000_000),
    Fact("measured", "memory_leak", "growth of memory", "kB/s", 1),
)
#: Words of `jobMetrics` that have a column too.
_IN_COLUMNS = ("coreCount", "cpuTime", "workDirSize", "leak")


@dataclass(frozen=True)
class Line:
    """One thing of two jobs; `key` is PanDA's name for it where it has one."""

    part: str
    name: str
    a: Any
    b: Any
    differs: bool
    key: str | None = None
    unit: str = ""


@dataclass
class Side:
    """One of the two, with all that is known of it."""

    job: Any
    files: Sequence[Any]
    parameters: str
    report: Any
    row: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.row = job_row(self.job)

    @classmethod
    def read(cls, tx: sa.Connection, job: Any) -> Side:
        pandaid = job.pandaid
        parameters = job_queries.parameters_of(tx, [pandaid]).get(pandaid, "")
        return cls(job, job_queries.files_of(tx, pandaid), parameters, job_queries.report_of(tx, pandaid))

    @property
    def inputs(self) -> dict[str, Any]:
        """The files that it read, by name; what only counts jobs is no file."""
        return {file.lfn: file for file in self.files if file.type == "input"}

    def words(self) -> list[str]:
        """The words of the command line, decoded, with the kinds of its files in the place of their names."""
        kinds = {file.lfn: _kind(file) for file in self.files}
        text = _NAME.sub(lambda name: kinds.get(name[0], name[0]), self.parameters)
        text = re.sub(r"<input>(['\", ]+<input>)+", "<input>", text)  # how many is told elsewhere
        try:
            words = shlex.split(text)
        except ValueError:  # quotes that do not close
            words = text.split()
        return [unquote(word) for word in words]


def _kind(file: Any) -> str:
    return "<input>" if file.type in INPUT_TYPES else f"<{file.type} of {file.dataset_name}>"


def choose_sibling(tx: sa.Connection, job: Any) -> tuple[Any, str]:
    """A job of the same task that finished and is most like this one, and why it is; raises `BadState`."""
    pandaid = job_queries.finished_with_same_input(tx, job)
    if pandaid is not None:
        return job_queries.find_job(tx, pandaid), "it finished with an input of this one"
    pandaid = job_queries.finished_of_size(tx, job)
    if pandaid is not None:
        return job_queries.find_job(tx, pandaid), "of those that finished, its inputs are nearest in size"
    raise BadState(
        f"no other job of task {job.jeditaskid} has finished that job {job.pandaid} could be compared with",
        hint="name another job: bamboo job diff A B",
    )


def compare(tx: sa.Connection, a: Any, b: Any) -> list[Line]:
    """Everything that is compared of two jobs (rows of `all_jobs`), part by part."""
    left, right = Side.read(tx, a), Side.read(tx, b)
    several = (_facts, _errors, _parameters, _inputs, _outputs, _timings, _metrics)
    lines = (line for compared in several for line in compared(left, right))
    return sorted(lines, key=lambda line: PARTS.index(line.part))


def comparison_row(a: Any, b: Any, lines: Sequence[Line], *, chosen: str | None) -> dict[str, Any]:
    """What the API says: the two jobs, why the second one if it was chosen, and the lines in their order."""
    return {"jobs": [job_row(a), job_row(b)], "chosen": chosen, "lines": [asdict(line) for line in lines]}


def _facts(left: Side, right: Side) -> Iterator[Line]:
    for fact in FACTS:
        a, b = left.row.get(fact.key), right.row.get(fact.key)
        if fact.key == "cpuConsumptionUnit":
            a, b = (value and value.removeprefix("s+") for value in (a, b))
        if a is not None or b is not None:
            yield _line(fact.part, fact.name, a, b, fact.unit, fact.noise, key=fact.key)


def _line(
    part: str, name: str, a: Any, b: Any, unit: str = "", noise: float | None = None, *, key: str | None = None
) -> Line:
    return Line(part, name, a, b, a != b if noise is None else figures_differ(a, b, noise), key, unit)


def figures_differ(a: float | None, b: float | None, noise: float) -> bool:
    """Whether two measured figures differ by more than noise; one that was not measured counts as 0."""
    low, high = sorted((a or 0.0, b or 0.0))
    return high - low > max(noise, MIN_RATIO * high)


def _errors(left: Side, right: Side) -> Iterator[Line]:
    sides = [{(error["source"], error["code"]): error for error in job_errors(side.job)} for side in (left, right)]
    for source, code in dict.fromkeys((*sides[0], *sides[1])):
        a, b = (_error_text(side.get((source, code))) for side in sides)
        yield _line("errors", f"{source} {code}", a, b)


def _error_text(error: dict[str, Any] | None) -> str | None:
    return "; ".join(part for part in (error["diag"], error["meaning"]) if part) if error else None


def _parameters(left: Side, right: Side) -> Iterator[Line]:
    """The words of the command lines: those that only one has, or all when they are the same."""
    ours, theirs = left.words(), right.words()
    if ours == theirs:
        yield Line("what", "parameters", " ".join(ours), " ".join(theirs), False, "jobParameters")
        return
    for a_from, a_to, b_from, b_to in _changes(ours, theirs):
        a, b = " ".join(ours[a_from:a_to]), " ".join(theirs[b_from:b_to])
        before = ours[a_from - 1] if a_from else ""
        name = f"parameters after {before}" if before.startswith("-") else "parameters"
        yield Line("what", name, a or None, b or None, True, "jobParameters")


def _changes(ours: Sequence[str], theirs: Sequence[str]) -> Iterator[tuple[int, int, int, int]]:
    """The spans that differ: from where to where in each."""
    begin = _n_same(ours, theirs)
    end = _n_same(ours[begin:][::-1], theirs[begin:][::-1])
    ours, theirs = ours[begin : len(ours) - end], theirs[begin : len(theirs) - end]
    if max(len(ours), len(theirs)) > MAX_WORDS:
        yield begin, begin + len(ours), begin, begin + len(theirs)
        return
    for change, *places in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        if change != "equal":
            a_from, a_to, b_from, b_to = (begin + place for place in places)
            yield a_from, a_to, b_from, b_to


def _n_same(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """How many words are the same from the beginning on."""
    pairs = enumerate(zip(ours, theirs, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(ours), len(theirs)))


def _inputs(left: Side, right: Side) -> Iterator[Line]:
    a, b = left.inputs, right.inputs
    only_a, only_b = (sorted(ours.keys() - theirs.keys())[:MAX_NAMES] for ours, theirs in ((a, b), (b, a)))
    if only_a or only_b:
        yield Line("inputs", "read by one only", only_a, only_b, True)
    for lfn in sorted(a.keys() & b.keys()):
        for key, name, unit in (("size_bytes", "size", "B"), ("checksum", "checksum", ""), ("url", "address", "")):
            yield _line("inputs", f"{name} of {lfn}", getattr(a[lfn], key), getattr(b[lfn], key), unit)


def _outputs(left: Side, right: Side) -> Iterator[Line]:
    """What became of the outputs, by dataset: names differ by nature."""
    sides = [_by_dataset(side.files) for side in (left, right)]
    for dataset in dict.fromkeys((*sides[0], *sides[1])):
        a, b = ([file.status for file in side.get(dataset, ())] for side in sides)
        yield _line("outputs", f"{dataset}: state", ", ".join(a) or None, ", ".join(b) or None)
        size_a, size_b = (sum(file.size_bytes or 0 for file in side.get(dataset, ())) for side in sides)
        if size_a or size_b:
            yield _line("outputs", f"{dataset}: size", size_a, size_b, "B", 1000)


def _by_dataset(files: Sequence[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for file in files:
        if file.type not in INPUT_TYPES:
            found.setdefault(file.dataset_name, []).append(file)
    return found


def _timings(left: Side, right: Side) -> Iterator[Line]:
    for name, begin, end, noise in SPANS:
        ours, theirs = (_seconds(getattr(side.job, begin), getattr(side.job, end)) for side in (left, right))
        yield _line("timings", name, ours, theirs, "s", noise)
    a, b = (str(side.report.pilot_timing or "").split("|") if side.report else [] for side in (left, right))
    for at, name in enumerate(TIMED):
        ours, theirs = _figure(a, at), _figure(b, at)
        if ours is not None or theirs is not None:
            yield _line("timings", name, ours, theirs, "s", 5, key="pilotTiming")


def _seconds(begin: datetime | None, end: datetime | None) -> float | None:
    """Seconds between two moments of a job; None where it has not come to them."""
    return (end - begin).total_seconds() if begin and end else None


def _figure(texts: Sequence[str], at: int) -> float | None:
    try:
        return float(texts[at])
    except (IndexError, ValueError):
        return None


def _metrics(left: Side, right: Side) -> Iterator[Line]:
    """What the pilot added (`jobMetrics`, words such as `leak=0.2`)."""
    sides = [
        dict(word.split("=", 1) for word in str(side.report.job_metrics or "").split() if "=" in word)
        if side.report
        else {}
        for side in (left, right)
    ]
    for name in dict.fromkeys((*sides[0], *sides[1])):
        if name in _IN_COLUMNS:
            continue
        a, b = (_figure([side.get(name, "")], 0) for side in sides)
        if a is not None or b is not None:
            yield _line("measured", name, a, b, noise=0.5, key="jobMetrics")
        else:
            yield _line("measured", name, sides[0].get(name), sides[1].get(name), key="jobMetrics")
