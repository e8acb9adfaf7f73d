"""Makes up the inputs of tasks that read no dataset: one number for each job, or the names that the user gave."""

from __future__ import annotations

from ..contracts import Contents, DatasetView
from ..hookspecs import hookimpl


class PseudoInputs:
    """Files that are only numbers (manual ch. 7.1.3): the selection's `n_files` of them, from `offset` on.

    Where the selection has `names` (`prun --pfnList`), these are the files: nobody looks for them before the payload.
    """

    @hookimpl
    def list_contents(self, dataset: DatasetView, cursor: str, limit: int) -> Contents | None:
        if dataset.type != "pseudo_input":
            return None
        names = dataset.selection.get("names")
        n_files = len(names) if names else int(dataset.selection["n_files"])
        first = int(cursor or 0)
        last = min(first + limit, n_files)
        offset = int(dataset.selection.get("offset") or 0)
        empty = {"scope": None, "guid": None, "url": None, "size_bytes": 0, "checksum": None, "n_events": None}
        lfns = names[first:last] if names else [f"{offset + number:09d}" for number in range(first, last)]
        files = [{"lfn": lfn, **empty} for lfn in lfns]
        return Contents(files, str(last) if last < n_files else None)
