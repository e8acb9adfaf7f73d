"""Configurator: imports queues, sites and storages from where the experiment describes them (manual ch. 7.2.2, 17).

Without arguments it imports sites, storages, the blacklist, queues and their software; with `--network` how near sites
are to each other and what was measured between them; with `--json_dump` the queues and their software alone. A source
that is down or wrong changes nothing: what it said last stays, and `bamboo queue sources` says since when.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from ...core.errors import BambooError
from ...core.grid_documents import Grid, GridKind, read_grid
from ...sql import grid_imports, grid_sources, queue_history, queues, settings
from ...sql.imports import Import, Swapped
from ..context import Context
from ..grid_sources import configured, fetch_all, limits_of

log = logging.getLogger(__name__)

ARGUMENTS: Mapping[str, tuple[GridKind, ...]] = {
    "--network": (GridKind.CLOSENESS, GridKind.NETWORK),
    "--json_dump": (GridKind.QUEUES, GridKind.SOFTWARE),
}
USUALLY = (GridKind.SITES, GridKind.STORAGES, GridKind.BLACKLIST, GridKind.QUEUES, GridKind.SOFTWARE)


@dataclass
class Configured:
    """What a run changed, over all kinds, and how many sources were down or wrong."""

    added: int = 0
    changed: int = 0
    vanished: int = 0
    came_back: int = 0
    failed: int = 0
    forgotten: int = 0  #: entries of the history of queues that were too old


class Configurator:
    """Takes over what the configured sources say."""

    name = "configurator"

    def __init__(self, context: Context, kinds: Sequence[GridKind] = USUALLY) -> None:
        self.context = context
        self.kinds = kinds

    def run_once(self) -> Configured:
        """Fetch outside of any transaction; then each kind is taken over in one of its own, or left as it is."""
        section = self.context.settings.configurator
        sources = configured(section, self.kinds)
        report = Configured()
        found = fetch_all(sources, limits_of(section))
        for kind, source in sources.items():
            try:
                if kind in found.errors:
                    raise found.errors[kind]
                grid = read_grid({kind: found.documents[kind]})
                self._count(self._swap(grid, kind, source), report)
            except BambooError as error:
                self._failed(kind, source, error)
                report.failed += 1
        if GridKind.QUEUES in self.kinds:
            old = self.context.clock() - timedelta(days=section.history_days)
            with self.context.begin() as tx:
                report.forgotten = queue_history.forget(tx, before=old)
        return report

    def _swap(self, grid: Grid, kind: GridKind, source: str) -> Swapped:
        now = self.context.clock()
        with self.context.begin() as tx:
            numbers = settings.numbers(tx)
            how = Import(actor=self.name, now=now, sources={kind: source}, numbers=numbers)
            done = grid_imports.swap(tx, grid, how)[kind]
            unknown = queues.unknown_storages(tx) if done.did_something else []
        nowhere = [f"queue {queue}: there is no storage {storage}" for queue, storage in unknown]
        for warning in [*grid.warnings, *nowhere] if done.did_something else ():  # once, and not at each run
            log.warning("imported, but look at this", extra={"event": "import_warning", "warning": warning})
        return done

    def _count(self, done: Swapped, report: Configured) -> None:
        report.added += len(done.added)
        report.changed += len(done.changed)
        report.vanished += len(done.vanished)
        report.came_back += len(done.came_back)

    def _failed(self, kind: GridKind, source: str, error: BambooError) -> None:
        data = {"event": "import_failed", "kind": str(kind), "source": source, "error": str(error)[:2000]}
        log.error("a source is down or wrong; what it said last stays", extra=data)
        with self.context.begin() as tx:
            grid_sources.failed(tx, kind, error=str(error), now=self.context.clock())


def build(context: Context, arguments: Sequence[object] = ()) -> Configurator:
    """The chore."""
    kinds = [kind for word in arguments for kind in ARGUMENTS[str(word)]]
    return Configurator(context, kinds or USUALLY)
