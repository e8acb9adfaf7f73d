"""Data Locality Updater: keeps note of which storages hold the inputs of active tasks (manual ch. 21.1.1)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ...core.errors import BambooError
from ...sql import locality
from ...sql.engine import reading
from ..contracts import DatasetView, Mission, PluginContext, from_row
from ..hookspecs import hookimpl

log = logging.getLogger(__name__)

PAGE = 200


class DataLocalityUpdater:
    """Asks the catalogue (hook `locate_replicas`) for each input dataset of the mission's tasks, twelve-hourly.

    A dataset of which the catalogue cannot say anything now keeps what was known of it.
    """

    period_seconds = 43200.0

    def __init__(self, context: PluginContext) -> None:
        self._context = context

    @hookimpl
    def watch(self, now: datetime, mission: Mission) -> Mapping[str, int] | None:
        done = {"datasets_located": 0, "datasets_unknown": 0, "localities_forgotten": 0}
        conditions, after = locality.in_scope(mission.vos, mission.labels), 0
        while True:
            with reading(self._context.engine) as tx:
                page = locality.inputs_to_locate(tx, conditions, after=after, limit=PAGE)
            for dataset in page:
                done["datasets_located" if self._locate(dataset, now) else "datasets_unknown"] += 1
            if len(page) < PAGE:
                break
            after = page[-1].datasetid
        with self._context.engine.begin() as tx:
            done["localities_forgotten"] = locality.forget_finished(tx)
        return {what: n for what, n in done.items() if n}

    def _locate(self, dataset: sa.Row[Any], now: datetime) -> bool:
        view = from_row(DatasetView, dataset)
        try:
            found = self._context.ask("ddm", "locate_replicas", dataset.vo, dataset.prod_source_label, dataset=view)
        except BambooError as error:
            extra = {"event": "dataset_not_located", "dataset": dataset.dataset_name, "why": str(error)}
            log.warning("dataset not located", extra=extra)
            return False
        with self._context.engine.begin() as tx:
            locality.replace(tx, dataset, [asdict(replica) for replica in found], now=now)
        return True
