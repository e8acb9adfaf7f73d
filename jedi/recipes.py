"""Reads the recipe of a task from the database."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ..core.settings import Settings
from ..core.task_parameters import TaskParameters
from ..plugins.capacity import MIN_OUTPUT_MB
from ..plugins.contracts import TaskView, from_row
from ..sql import datasets, tasks
from ..sql import settings as shared_settings
from .job_builder import RUN_TRANSFORM, Recipe


def recipe_of(tx: sa.Connection, row: sa.Row[Any], settings: Settings) -> Recipe:
    """What all jobs of the task of this row have in common."""
    parameters = TaskParameters.parse(tasks.get_parameters(tx, row.jeditaskid))
    return Recipe(
        task=from_row(TaskView, row),
        parameters=parameters,
        datasets=datasets.of_task(tx, row.jeditaskid),
        source_url=parameters.source_url or settings.server.public_url,
        transformation=row.trans_path or RUN_TRANSFORM,
        min_output_mb=shared_settings.numbers(tx, row.vo)(MIN_OUTPUT_MB),
    )
