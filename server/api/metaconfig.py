"""/api/v1/metaconfig/: how the system is set up, as Harvester and pilots read it (harvester protocol 5)."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from ...sql import queues
from ..auth.access import ANYONE, open_to
from ..context import context
from ..envelope import succeeded

routes = Blueprint("metaconfig", __name__)


@routes.get("/get_resource_types")
@open_to(ANYONE)
def get_resource_types() -> Response:
    """The kinds of jobs by cores and memory."""
    return succeeded(resource_types())


def resource_types() -> list[dict[str, Any]]:
    """The resource types, null where there is no limit."""
    with context().reading() as tx:
        found = queues.list_resource_types(tx)
    return [
        {
            "resource_name": row.resource_name,
            "mincore": row.min_core,
            "maxcore": row.max_core,
            "minrampercore": row.min_ram_per_core_mb,
            "maxrampercore": row.max_ram_per_core_mb,
        }
        for row in found
    ]
