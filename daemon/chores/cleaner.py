"""Cleaner: has intermediate files removed whose outputs are merged (manual ch. 7.1.2, Post Processor: cleanup)."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from ...core.errors import BambooError
from ...plugins.contracts import StoredFile, from_row
from ...sql import merging
from ..context import Context

log = logging.getLogger(__name__)

PAGE = 1000


@dataclass
class Discarded:
    """What a run did with intermediate files: those that are gone, and those that nobody could remove."""

    files: int = 0
    left: int = 0


class Cleaner:
    """Hands files to the hook `discard_files`, page by page; those that stay come again with the next run."""

    name = "cleaner"

    def __init__(self, context: Context) -> None:
        self.context = context

    def run_once(self) -> Discarded:
        """Have the files removed whose run jobs are over for `[retention] premerged` days."""
        before = self.context.clock() - timedelta(days=self.context.settings.retention.premerged)
        report, after = Discarded(), 0
        while True:
            with self.context.reading() as tx:
                page = merging.discardable(tx, before=before, after=after, limit=PAGE)
            by_plugin: dict[tuple[str, str], list[StoredFile]] = defaultdict(list)
            for row in page:
                by_plugin[row.vo, row.prod_source_label].append(from_row(StoredFile, row))
            for (vo, label), files in sorted(by_plugin.items()):
                gone = self._discard(vo, label, files)
                report.files += gone
                report.left += len(files) - gone
            if len(page) < PAGE:
                return report
            after = page[-1].row_id

    def _discard(self, vo: str, label: str, files: Sequence[StoredFile]) -> int:
        try:
            gone = set(self.context.plugins.first("adder", "discard_files", vo, label, files=files))
        except BambooError as error:
            extra = {"event": "files_not_discarded", "vo": vo, "files": len(files), "why": str(error)}
            log.warning("intermediate files stay", extra=extra)
            return 0
        with self.context.begin() as tx:
            return merging.discarded(tx, sorted(gone.intersection(file.row_id for file in files)))


def build(context: Context, arguments: Sequence[object] = ()) -> Cleaner:
    """The chore."""
    return Cleaner(context)
