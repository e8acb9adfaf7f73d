"""The words with a percent sign in a command: which the server fills, which a job fills, and which nobody does."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from ..core.errors import Fault
from ..core.task_rules import INPUTS

#: Those inside the command that become items of their own; all others stay as they are, for the job (manual ch. 4.1,
#: and 4.2 for FIRSTEVENT: its base number is given to the first job and incremented per job).
PLACEHOLDER = re.compile(
    r"%(?:RNDM[:=](?P<offset>\d+)|FIRSTEVENT(?:[:=](?P<first>\d+)|\b(?![:=]))|(?P<number>SKIPEVENTS|MAXEVENTS)\b)"
)
#: What prun has and we do not.
_REFUSED = {
    "%SEGMENT_NAME": re.compile(r"%SEGMENT_NAME\b"),
    "%DB:DATASET:FILE": re.compile(r"%DB:\S+"),
}
#: Long enough that the conversions of `date` and `printf` are none.
_WORD = re.compile(r"(?<!%)%(?P<brace>\{)?(?P<name>[A-Z][A-Z0-9_]{2,})\b")
#: What the transform of a job fills, beside the names of its streams.
_OF_JOBS = re.compile(r"OUT\d*")


def command_faults(command: str, streams: Collection[str]) -> Iterator[Fault]:
    """Words that PanDA would fill and nobody here does; and `%IN` without any input: every job would fail on it."""
    for name, pattern in _REFUSED.items():
        if pattern.search(command):
            yield Fault("exec", f"nothing fills {name} here", "write what it stands for")
    if INPUTS.search(command) and not streams:
        yield Fault("exec", "it has %IN, and there is no input", "give --inDS, --inFiles or --pfnList, or take %IN out")


def unfilled(command: str, streams: Iterable[str]) -> list[str]:
    """Words that look like placeholders and are none; `streams` are the names of the task's inputs."""
    rest, known = PLACEHOLDER.sub("", command), set(streams)
    found = (match["name"] for match in _WORD.finditer(rest))
    return [f"%{name}" for name in dict.fromkeys(found) if name not in known and not _OF_JOBS.fullmatch(name)]
