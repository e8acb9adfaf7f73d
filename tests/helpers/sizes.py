"""Tasks, queues and files as plugins see them, with what a test says of them."""

from __future__ import annotations

from typing import Any

from bamboo.plugins.contracts import InputFile, QueueView, TaskView


def task_view(**changes: Any) -> TaskView:
    values: dict[str, Any] = {
        "jeditaskid": 1,
        "task_name": "t",
        "user_name": "alice",
        "vo": "wlcg",
        "prod_source_label": "user",
        "status": "scouting",
        "processing_type": None,
        "working_group": None,
        "current_priority": 1000,
        "gshare": "Undefined",
        "resource_type": "Undefined",
        "site": None,
        "nucleus": None,
        "container_name": None,
        "core_count": 1,
        "ram_count_mb": 0,
        "work_disk_count_mb": 0,
        "max_walltime_seconds": 0,
        "max_attempt": 3,
        "split_rule": {},
    }
    return TaskView(**{**values, **changes})


def queue_view(**changes: Any) -> QueueView:
    values: dict[str, Any] = {
        "queue": "Q",
        "site": "S",
        "vo": None,
        "status": "online",
        "state": "ACTIVE",
        "type": "unified",
        "core_count": 1,
        "max_rss_mb": 0,
        "max_wdir_mb": 0,
        "max_time_seconds": 0,
        "storage": "DISK",
        "attributes": {},
    }
    return QueueView(**{**values, **changes})


def input_file(fileid: int, **changes: Any) -> InputFile:
    values: dict[str, Any] = {
        "fileid": fileid,
        "datasetid": 1,
        "lfn": f"f{fileid:05d}",
        "scope": None,
        "guid": None,
        "url": None,
        "size_bytes": 1,
        "checksum": None,
        "n_events": None,
        "attempt_nr": 0,
        "failed_attempts": 0,
    }
    return InputFile(**{**values, **changes})
