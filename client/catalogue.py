"""Local files as entries of a dataset: found, named and measured, with every fault reported before anything is sent."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TextIO

from ..core.errors import Fault, Invalid
from ..core.nearby import guess
from .naming import lfn_fault, repeats
from .storage import measure

#: The most files that the server takes in one request.
BATCH = 1000


@dataclass(frozen=True, kw_only=True)
class NewFile:
    """A file to register: where it is, what it is called in the dataset, and what identifies its content."""

    url: str
    lfn: str
    size_bytes: int
    adler32: str
    guid: str = ""
    n_events: int | None = None  #: where it is known

    @property
    def row(self) -> dict[str, Any]:
        """What is sent to the server."""
        return {key: value for key, value in asdict(self).items() if value not in ("", None)}


#: What a line of a manifest may say.
_KEYS = tuple(entry.name for entry in fields(NewFile))


def expand(patterns: Sequence[str]) -> list[Path]:
    """The files behind paths, globs and folders (a folder stands for every file below it that is not hidden)."""
    found: dict[Path, None] = {}
    faults = []
    for pattern in patterns:
        paths = list(files_of(pattern))
        if not paths:
            faults.append(
                Fault(pattern, "there is no such file", "check the path; quote globs for this command to expand")
            )
        found |= dict.fromkeys(paths)
    if faults:
        raise Invalid("input files", faults)
    return list(found)


def files_of(pattern: str) -> Iterator[Path]:
    matched = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - patterns may be absolute
    for each in matched:
        path = Path(each).absolute()
        if path.is_dir():
            below = (file for file in sorted(path.rglob("*")) if file.is_file())
            yield from (file for file in below if not any(part[0] == "." for part in file.relative_to(path).parts))
        elif path.is_file():
            yield path


def entries(paths: Iterable[Path]) -> list[NewFile]:
    """Measure local files. Raises `Invalid` if a name is impossible or stands for two files."""
    files = list(paths)
    check_names([path.name for path in files])
    with ThreadPoolExecutor() as pool:
        measured = pool.map(measure, files)
        return [
            NewFile(url=path.as_uri(), lfn=path.name, size_bytes=found.size_bytes, adler32=found.adler32)
            for path, found in zip(files, measured, strict=True)
        ]


def check_names(lfns: Sequence[str]) -> None:
    """Raise `Invalid` for names that no file of a dataset may have, and for those that two files would have."""
    faults = [Fault(repr(lfn), fault, "rename the file") for lfn in lfns if (fault := lfn_fault(lfn))]
    faults += [Fault(repr(lfn), "two files have this name", "rename one of them") for lfn in repeats(lfns)]
    if faults:
        raise Invalid("these files cannot be in one dataset", faults)


def read_manifest(stream: TextIO) -> list[NewFile]:
    """Files listed as JSON lines with the keys url, lfn, size_bytes, adler32, and perhaps guid and n_events.

    Raises `Invalid` with every fault: a key that nobody reads is one, as its writer meant something by it.
    """
    files, faults = [], []
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            unknown = [key for key in row if key not in _KEYS]
            faults += [Fault(f"line {number}", f"no such key: {key!r}", guess(key, _KEYS)) for key in map(str, unknown)]
            files.append(_new_file(row))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            do = 'write {"url": …, "lfn": …, "size_bytes": …, "adler32": …}, and n_events if it is known'
            faults.append(Fault(f"line {number}", f"it is not a file entry: {error!r}", do))
    if faults:
        raise Invalid("manifest", faults)
    check_names([file.lfn for file in files])
    return files


def _new_file(row: Mapping[str, Any]) -> NewFile:
    n_events = row.get("n_events")
    if n_events is not None and (type(n_events) is not int or n_events < 0):
        raise ValueError(f"n_events is {n_events!r}, and no whole number")
    return NewFile(
        url=str(row["url"]),
        lfn=str(row["lfn"]),
        size_bytes=int(row["size_bytes"]),
        adler32=str(row["adler32"]),
        guid=str(row.get("guid") or ""),
        n_events=n_events,
    )
