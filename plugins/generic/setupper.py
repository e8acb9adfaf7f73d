"""Prepares the output datasets of a task in the built-in catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from ...core.errors import Fault, Invalid
from ...sql import catalogue
from ..contracts import DatasetView, TaskView
from ..hookspecs import hookimpl

#: The label of tasks, and the scope of datasets, that are one user's own; others are of an organisation.
_USERS = "user"


class CatalogueSetupper:
    """Enters output datasets under their names, so that they can be looked up before the first file is there.

    A user's outputs go to no dataset of somebody else: they would be among that user's files, or that user's among
    the outputs.
    """

    @hookimpl
    def setup_outputs(
        self, tx: sa.Connection, task: TaskView, datasets: Sequence[DatasetView], now: datetime
    ) -> int | None:
        for dataset in datasets:
            entered = catalogue.ensure_dataset(tx, dataset.dataset_name, user_name=task.user_name, now=now)
            owner = catalogue.owner(tx, entered)
            is_a_users = task.prod_source_label == _USERS or dataset.dataset_name.startswith(f"{_USERS}.")
            if owner != task.user_name and is_a_users:
                what = f"{dataset.dataset_name} belongs to {owner}, not to {task.user_name}"
                raise Invalid("the outputs of the task", [Fault("outDS", what, "choose another name")])
        return len(datasets)
