"""Inputs besides the main datasets: secondary streams, and lists of addresses (client protocol 7.4, 7.6)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import Fault, Invalid
from .naming import repeats

FORM = "STREAM:nFiles:DATASET[:PATTERN[:nSkipFiles[:FILE]]]"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Secondary:
    """A secondary stream: a dataset of which each job gets files beside its main inputs (manual ch. 4.1).

    `n_files` is how many files each job gets, or, where the task says so, each main input. `pattern` is a regular
    expression, or several with commas between them, on the names of the files that are taken.
    """

    name: str  #: %NAME in the command stands for the files
    dataset: str
    n_files: int = 1
    pattern: str = ""
    n_skip_files: int = 0
    files: tuple[str, ...] = ()  #: only files of these names
    reusable: bool = False  #: begins again when it is used up; prun says so for all streams, and so does the task


def parse_secondaries(text: str | None, reusable: Sequence[str]) -> tuple[Secondary, ...]:
    """Read --secondaryDSs and --reusableSecondary, with the files that they name. Raises `Invalid`."""
    found: list[Secondary] = []
    faults: list[Fault] = []
    for given in filter(None, (part.strip() for part in (text or "").split(","))):
        try:
            found.append(_parse(given, reusable))
        except Invalid as error:
            faults += error.faults
    unknown = set(reusable) - {stream.name for stream in found}
    if unknown and not faults:
        what = f"there is no stream {', '.join(sorted(unknown))}"
        faults.append(Fault("reusableSecondary", what, "name streams of --secondaryDSs"))
    if faults:
        raise Invalid("this task cannot be submitted", faults)
    return tuple(found)


def _parse(given: str, reusable: Sequence[str]) -> Secondary:
    words = [word.strip() for word in given.split(":", 5)]
    if len(words) < 3:
        raise Invalid("a secondary dataset", [Fault("secondaryDSs", f"'{given}' has no dataset", FORM)])
    name, n_files, dataset, pattern, n_skip, path = [*words, "", "", ""][:6]
    for number in (n_files, n_skip or "0"):
        if not (number.isascii() and number.isdecimal()):
            raise Invalid("a secondary dataset", [Fault("secondaryDSs", f"'{number}' in '{given}' is no number", FORM)])
    files = read_names(path) if path else ()
    return Secondary(name, dataset, int(n_files), pattern, int(n_skip or 0), files, name in reusable)


def read_names(path: str) -> tuple[str, ...]:
    """The names in a file, one a line. Raises `Invalid`."""
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        what = f"{path} cannot be read: {error}"
        raise Invalid("a secondary dataset", [Fault("secondaryDSs", what, FORM)]) from None
    return tuple(line.strip() for line in lines if line.strip())


def read_addresses(text: str) -> tuple[str, ...]:
    """The addresses in the text of --pfnList, sorted as prun does: one a line, and none in lines that begin with #."""
    lines = (line.strip() for line in text.splitlines())
    return tuple(sorted(line for line in lines if line and not line.startswith("#")))


def secondary_faults(streams: Sequence[Secondary], *, main_stream: bool) -> Iterator[Fault]:
    """What is wrong with the secondary streams of a task; `main_stream` says whether it has the stream IN."""
    for stream in streams:
        if not _NAME.fullmatch(stream.name):
            yield Fault("secondaryDSs", f"'{stream.name}' is no name of a stream", "use letters, digits and _")
        if not stream.dataset or any(char.isspace() for char in stream.dataset):
            yield Fault("secondaryDSs", f"'{stream.dataset}' is no dataset name", FORM)
        if stream.n_files < 1:
            yield Fault("secondaryDSs", f"stream {stream.name} has {stream.n_files} files", "give at least 1")
        if stream.n_skip_files < 0:
            yield Fault("secondaryDSs", f"stream {stream.name} skips {stream.n_skip_files} files", "give at least 0")
    for name in repeats([*(["IN"] if main_stream else []), *(stream.name for stream in streams)]):
        why = "is that of the main input" if main_stream and name == "IN" else "is given twice"
        yield Fault("secondaryDSs", f"the name {name} {why}", "give each stream a name of its own")


def secondary_items(
    streams: Sequence[Secondary], *, as_ratio: bool, gather_in: Callable[[], str] | None
) -> Iterator[dict[str, Any]]:
    """The template of each stream; `gather_in` names a dataset to gather the constituents of a container in."""
    for stream in streams:
        yield {
            "type": "template",
            "param_type": "input",
            "value": f"${{{stream.name}}}",
            "dataset": stream.dataset,
            **({"offset": stream.n_skip_files} if stream.n_skip_files else {}),
            **({"include": stream.pattern} if stream.pattern else {}),
            **({"consolidate": gather_in()} if gather_in else {"expand": True}),
            "ratio" if as_ratio else "nFilesPerJob": stream.n_files,
            **({"files": list(stream.files)} if stream.files else {}),
            "hidden": True,
            **({"reusable": True} if stream.reusable else {}),
        }


def stream_map(names: Sequence[str]) -> str:
    """The option that tells a job the files of each stream, as a Python dictionary."""
    return f'--inMap "{{{", ".join(f"{name!r}: ${{{name}/T}}" for name in names)}}}"'
