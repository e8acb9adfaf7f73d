"""The pages that people look at, and the data behind each with `?json` (manual ch. 4.3)."""

from . import (  # noqa: F401 - each adds its pages
    assets,
    dashboard,
    data,
    evidence,
    failures,
    grid,
    job,
    jobs,
    people,
    queues,
    reference,
    search,
    signing_in,
    system,
    task,
    tasks,
    why,
)
from .show import routes

__all__ = ["routes"]
