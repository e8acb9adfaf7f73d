"""What `task outputs`, `dataset files` and `dataset get` share: listing files, and copying them with verification."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from ...core.errors import BambooError
from ..model import FileInfo
from ..text import bytes_text, count_text
from .exits import Exit, exit_of, tell
from .output import Column, Output, note, say

COPIES_AT_ONCE = 4
FILES = (
    Column("LFN", lambda file: file.lfn),
    Column("SIZE", lambda file: bytes_text(file.size_bytes), right=True),
    Column("ADLER32", lambda file: file.adler32),
    Column("URL", lambda file: file.url),
)


def copy(files: Iterable[FileInfo], dest: Path, out: Output) -> None:
    """Copy files into a folder, verified; a file that cannot be had does not keep the others. Ends the command."""
    rows, ends, copied = [], [], 0
    with ThreadPoolExecutor(COPIES_AT_ONCE) as pool:
        for file, got in pool.map(lambda file: (file, try_fetch(file, dest)), files):
            if isinstance(got, BambooError):
                tell(got)
                ends.append(exit_of(got))
                continue
            path, is_new = got
            ends.append(Exit.OK)
            copied += is_new
            rows.append({**file.row, "path": str(path)})
            if not out.as_json:
                say(path)
    if out.as_json:
        out.json(rows)
    known, failed = len(rows) - copied, len(ends) - len(rows)
    note(f"copied {count_text(copied, 'file')} to {dest}; there already: {known}; failed: {failed}")
    distinct = set(ends)
    click.get_current_context().exit(Exit.PARTLY_DONE if len(distinct) > 1 else next(iter(distinct), Exit.OK))


def try_fetch(file: FileInfo, dest: Path) -> tuple[Path, bool] | BambooError:
    """Copy one file; an error is given back, for the others to go on."""
    from ..storage import fetch

    try:
        return fetch(file, dest)
    except BambooError as error:
        return error
