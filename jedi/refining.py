"""Asking the refiner for a task, when it is new and when its parameters change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from ..plugins.contracts import RefinedTask
from ..sql import shares
from .context import Context


def refine(context: Context, task: sa.Row[Any], parameters: Mapping[str, Any]) -> RefinedTask:
    """What the refiner makes of a task's parameters.

    A nucleus that the Task Broker has chosen stays unless the parameters name one: outputs are there already.
    """
    refined: RefinedTask = context.plugins.first(
        "taskrefine",
        "refine_task",
        task.vo,
        task.prod_source_label,
        parameters=parameters,
        user_name=task.user_name,
    )
    return replace(refined, columns={**refined.columns, "nucleus": refined.columns.get("nucleus") or task.nucleus})


def tagged(tx: sa.Connection, task: sa.Row[Any], columns: Mapping[str, Any]) -> dict[str, Any]:
    """New columns of a task with the tags that follow from them: share, resource type, work queue (manual ch. 14.2).

    Tags that the refiner gives itself stay.
    """
    return {**shares.tags(tx).of({**task._mapping, **columns}), **columns}
