"""Removes intermediate files from the storages that this machine sees as folders."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ...sql import catalogue, queues
from ...sql.engine import reading
from ..contracts import PluginContext, StoredFile
from ..hookspecs import hookimpl
from .refiner import PREMERGED

log = logging.getLogger(__name__)

_HERE = ("", "localhost")


class LocalDiscarder:
    """Unlinks `file://` addresses inside the folder of a storage, then forgets the catalogue's entries.

    Pilots report addresses, and not every pilot is to be trusted: a file is touched only if its name is that of the
    intermediate file, and its folder, links followed, is inside a storage. What is on other storages stays, for a
    plugin that can reach it.
    """

    def __init__(self, context: PluginContext) -> None:
        self._engine = context.engine

    @hookimpl
    def discard_files(self, files: Sequence[StoredFile]) -> Collection[int] | None:
        with reading(self._engine) as tx:
            storages = queues.list_storages(tx)
        found = (_path(storage.endpoint + storage.path) for storage in storages)
        folders = [folder.resolve() for folder in found if folder is not None]
        gone = [file for file in files if _unlink(file, folders)]
        lfns: dict[str, list[str]] = defaultdict(list)
        for file in gone:
            lfns[file.dataset_name].append(file.lfn)
        with self._engine.begin() as tx:
            for name in sorted(lfns):
                catalogue.remove_files(tx, name, lfns[name])
        return [file.row_id for file in gone]


def _path(url: str) -> Path | None:
    """The path of a `file://` address on this machine."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" and parts.netloc in _HERE else None


def _unlink(file: StoredFile, folders: Sequence[Path]) -> bool:
    """Remove one file; says whether it is gone. A folder that is not there may be a disk that is not mounted."""
    path = _path(file.url)
    if path is None or path.name != file.lfn or not file.lfn.startswith(PREMERGED):
        return False
    folder = path.parent.resolve()
    inside = any(root != Path("/") and folder.is_relative_to(root) for root in folders)
    if not inside or not folder.is_dir():
        return False
    try:
        (folder / path.name).unlink(missing_ok=True)
    except OSError as error:
        log.warning("file not removed", extra={"event": "file_not_removed", "path": str(path), "why": str(error)})
        return False
    return True
