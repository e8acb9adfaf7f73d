"""Lists the contents of datasets that the built-in catalogue holds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from ...core.errors import Fault, Invalid, NotFound
from ...sql import catalogue, files, task_queries
from ...sql.engine import reading
from ..contracts import Contents, DatasetView, PluginContext, Replica
from ..hookspecs import hookimpl


class LocalCatalogue:
    """Files with a URL that every pilot can reach, such as `file://` on a shared disk.

    A dataset name may be a comma-separated list. The cursor is `<position in the list>:<files accepted>:<last lfn>`.
    """

    def __init__(self, context: PluginContext) -> None:
        self._engine = context.engine

    @hookimpl
    def list_contents(self, dataset: DatasetView, cursor: str, limit: int) -> Contents | None:
        if dataset.type != "input":
            return None
        names = [name for name in dataset.dataset_name.split(",") if name]
        position, accepted, after = _parse(cursor)
        wanted = _Selection(dataset.selection)
        with reading(self._engine) as tx:
            known = _find(tx, names[position])
            page = catalogue.list_files(tx, known, after=after, limit=limit)
            matching = [row for row in page if wanted.matches(row.lfn) and wanted.has_events(row.n_events)]
            used = _used(tx, dataset.selection, [row.lfn for row in matching])
        found = [_entry(row) for row in matching if row.lfn not in used]
        found, accepted = wanted.cut(found, accepted)
        if len(page) == limit and not wanted.satisfied(accepted):
            return Contents(found, f"{position}:{accepted}:{page[-1].lfn}")
        if position + 1 < len(names) and not wanted.satisfied(accepted):
            return Contents(found, f"{position + 1}:{accepted}:")
        return Contents(found, None)

    @hookimpl
    def locate_replicas(self, dataset: DatasetView) -> Sequence[Replica] | None:
        with reading(self._engine) as tx:
            known = [_find(tx, name) for name in dataset.dataset_name.split(",") if name]
            return [Replica(row.storage, row.n_files, int(row.size_bytes)) for row in catalogue.replicas(tx, known)]


class _Selection:
    """The part of a dataset that a task asked for (panda-client.md 7.6: include, exclude, files, offset; nFiles)."""

    def __init__(self, selection: Mapping[str, Any]) -> None:
        self._include = _patterns("include", selection)
        self._exclude = _patterns("exclude", selection)
        self._skip_empty = bool(selection.get("skip_empty"))
        self._files = frozenset(selection.get("files") or ())
        self._offset = int(selection.get("offset") or 0)
        self._end = self._offset + int(selection["n_files"]) if selection.get("n_files") else None

    def has_events(self, n_events: int | None) -> bool:
        """Whether a file is not to be passed over as empty; one of which nobody knows is not."""
        return n_events != 0 or not self._skip_empty

    def matches(self, lfn: str) -> bool:
        if self._files and lfn not in self._files:
            return False
        if self._include and not any(pattern.search(lfn) for pattern in self._include):
            return False
        return not any(pattern.search(lfn) for pattern in self._exclude)

    def cut(self, files: list[dict[str, Any]], accepted: int) -> tuple[list[dict[str, Any]], int]:
        """The files within offset and number, and how many were accepted so far."""
        start = max(0, self._offset - accepted)
        end = len(files) if self._end is None else max(0, self._end - accepted)
        return files[start:end], accepted + len(files)

    def satisfied(self, accepted: int) -> bool:
        return self._end is not None and accepted >= self._end


def _patterns(key: str, selection: Mapping[str, Any]) -> list[re.Pattern[str]]:
    patterns = []
    for text in (selection.get(key) or "").split(","):
        try:
            if text:
                patterns.append(re.compile(text))
        except re.error as error:
            fault = Fault(key, f"{text!r} is no regular expression: {error}", "correct it and submit again")
            raise Invalid("the choice of input files", [fault]) from error
    return patterns


def _used(tx: sa.Connection, selection: Mapping[str, Any], lfns: list[str]) -> set[str]:
    """The files that tasks have used whose inputs the user wants to leave out (`prun --skipFilesUsedBy`)."""
    words = selection.get("skip_used_by")
    return files.processed_by(tx, task_queries.ids_of(tx, words), lfns) if words else set()


def _find(tx: sa.Connection, name: str) -> int:
    try:
        return catalogue.dataset_id(tx, name)
    except NotFound:
        if ":" not in name:
            raise
        return catalogue.dataset_id(tx, name.partition(":")[2])  # `scope:name`


def _parse(cursor: str) -> tuple[int, int, str]:
    if not cursor:
        return 0, 0, ""
    position, accepted, after = cursor.split(":", 2)
    return int(position), int(accepted), after


def _entry(row: sa.Row[Any]) -> dict[str, Any]:
    return {
        "lfn": row.lfn,
        "scope": row.scope,
        "guid": row.guid,
        "url": row.url,
        "size_bytes": row.size_bytes,
        "checksum": f"ad:{row.adler32}",
        "n_events": row.n_events,
    }
