"""The demo: a real task over real files, from submission to verified outputs."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ..client import Client, FileInfo, NewFile, Task, TaskInfo, fetch
from ..client.storage import measure
from ..core.errors import BambooError, Fault, Invalid

FILES_PER_JOB = 25
#: Folders of the standard library's sources that are not its own modules.
NOT_ITS_OWN = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__", "lib2to3"}
#: Isolated, so that inputs such as selectors.py are not taken for modules.
PYTHON = f"{shlex.quote(sys.executable)} -I"
#: Files of the demo itself in a job's directory: no input may be called so.
OUR_NAMES = {"identifiers.py", "counts.json", "table.json"}
PAYLOADS = Path(__file__).parent / "payloads"


class DemoFailed(BambooError):
    """The demo did not end as it should."""

    code = "BAM-DEMO-001"


@dataclass(frozen=True)
class Counted:
    """What came of the demo: counts by file, and where the outputs are."""

    files: dict[str, dict[str, Any]]
    outputs: list[FileInfo]
    n_jobs: int


def input_files(folder: Path | None) -> dict[str, Path]:
    """The demo's inputs by the names that they get: a folder's files, or the standard library's sources."""
    root = folder or Path(os.__file__).parent
    if not root.is_dir():
        raise Invalid("the demo cannot start", [Fault("--in", f"{root} is no folder", "name one that has files in it")])
    pattern = "*" if folder else "*.py"
    paths = [
        path for path in sorted(root.rglob(pattern)) if path.is_file() and not _left_out(path.relative_to(root), folder)
    ]
    if not paths:
        fault = Fault("--in", f"there are no files in {root}", "name a folder that has some")
        raise Invalid("the demo cannot start", [fault])
    named: dict[str, Path] = {}
    for path in paths:
        name = _name(path.relative_to(root))
        while name in named or name in OUR_NAMES:
            name += "_"
        named[name] = path.absolute()
    return named


def _left_out(path: Path, folder: Path | None) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return hidden or (folder is None and not NOT_ITS_OWN.isdisjoint(path.parts))


def _name(path: Path) -> str:
    """A name without what job descriptions cannot carry."""
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in ".".join(path.parts))


def run_demo(client: Client, inputs: dict[str, Path], follow: Callable[[Task], TaskInfo]) -> Counted:
    """Count all inputs with one task and merge its outputs with a second; raises `DemoFailed`."""
    user = client.transport.identity.nickname
    stamp = os.urandom(4).hex()
    source = f"user.{user}.demo.{stamp}.in"
    client.add_files(source, [_entry(name, path) for name, path in inputs.items()])
    count = client.run(
        f"{PYTHON} identifiers.py count counts.json %IN",
        work_dir=PAYLOADS,
        in_ds=(source,),
        out_ds=f"user.{user}.demo.{stamp}",
        outputs=("counts.json",),
        n_files_per_job=FILES_PER_JOB,
    )
    counted = _done(follow(count), len(inputs))
    partial = list(count.outputs())
    merge = client.run(
        f"{PYTHON} identifiers.py merge table.json %IN",
        work_dir=PAYLOADS,
        in_ds=(f"user.{user}.demo.{stamp}_counts.json",),
        out_ds=f"user.{user}.demo.{stamp}.merged",
        outputs=("table.json",),
        n_files_per_job=len(partial),
        max_n_files_per_job=len(partial),
    )
    _done(follow(merge), len(partial))
    outputs = [*partial, *merge.outputs()]
    return Counted(_merged(outputs), outputs, sum(counted.jobs.values()) + 1)


def check(counted: Counted, inputs: dict[str, Path]) -> None:
    """Every input counted once, and counted right; raises `DemoFailed`."""
    missing, foreign = inputs.keys() - counted.files.keys(), counted.files.keys() - inputs.keys()
    if missing or foreign:
        raise DemoFailed(f"{len(missing)} inputs are missing from the result and {len(foreign)} do not belong there")
    for name, path in inputs.items():
        lines = path.read_text(encoding="utf-8", errors="replace").count("\n")
        if counted.files[name]["lines"] != lines:
            raise DemoFailed(f"{name} has {lines} lines, but {counted.files[name]['lines']} were counted")


def fetch_outputs(counted: Counted, folder: Path) -> None:
    """Copy the outputs, each of which is verified by size and adler32."""
    for file in counted.outputs:
        fetch(file, folder)


def table(counted: Counted, rows: int = 10) -> list[tuple[str, str]]:
    """The most common identifiers of all files, and the largest files, as rows to print."""
    words: Counter[str] = Counter()
    for entry in counted.files.values():
        words.update(entry["identifiers"])
    largest = sorted(counted.files.items(), key=lambda item: -item[1]["lines"])[:rows]
    left = [f"{word}  {n}" for word, n in words.most_common(rows)]
    right = [f"{name}  {entry['lines']}" for name, entry in largest]
    return list(zip_longest(left, right, fillvalue=""))


def _entry(name: str, path: Path) -> NewFile:
    measured = measure(path)
    return NewFile(url=path.as_uri(), lfn=name, size_bytes=measured.size_bytes, adler32=measured.adler32)


def _done(info: TaskInfo, n_inputs: int) -> TaskInfo:
    if not info.is_success or info.n_files_finished != n_inputs:
        raise DemoFailed(f"task {info.task_id} is {info.state}, not done", hint=_cause(info))
    return info


def _cause(info: TaskInfo) -> str:
    causes = (f"{group.source} {group.code}: {group.diag}" for group in info.errors)
    return info.error or next(causes, "") or "the logs of its jobs say why"


def _merged(outputs: list[FileInfo]) -> dict[str, dict[str, Any]]:
    path = Path(outputs[-1].url.removeprefix("file://localhost").removeprefix("file://"))
    merged: dict[str, dict[str, Any]] = json.loads(path.read_text())
    return merged
