"""The client room: the command line, and a typed Python API over the same HTTP calls.

import bamboo.client

task = bamboo.client.connect().run("echo hello > x.txt", outputs=("x.txt",), n_jobs=3)
print(task.wait().state)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .api import Client, connect
    from .catalogue import NewFile
    from .evidence import Comparison, ContrastInfo
    from .model import DatasetInfo, FileInfo, JobInfo, QueueChange, QueueInfo, TaskInfo
    from .notebook import Listing
    from .secondary import Secondary
    from .spec import TaskSpec
    from .storage import fetch
    from .task import Task

__all__ = [
    "Client",
    "Comparison",
    "ContrastInfo",
    "DatasetInfo",
    "FileInfo",
    "JobInfo",
    "Listing",
    "NewFile",
    "QueueChange",
    "QueueInfo",
    "Secondary",
    "Task",
    "TaskInfo",
    "TaskSpec",
    "WhoInfo",
    "WhyInfo",
    "connect",
    "fetch",
]

_HOMES = {
    "Client": "api",
    "connect": "api",
    "NewFile": "catalogue",
    "Secondary": "secondary",
    "TaskSpec": "spec",
    "fetch": "storage",
    "Task": "task",
    "Listing": "notebook",
    "Comparison": "evidence",
    "ContrastInfo": "evidence",
}


def __getattr__(name: str) -> object:
    """Import what is asked for only then: the command line's help must not wait for the HTTP library."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES.get(name, 'model')}", __name__), name)
