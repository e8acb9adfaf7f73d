"""Plugins for a grid of many sites: the brokerage of manual ch. 12."""

from .job_broker import ProductionJobBroker
from .task_broker import ProductionTaskBroker

__all__ = ["ProductionJobBroker", "ProductionTaskBroker"]
