"""The queue's settings and the storages' addresses (pilot protocol, start-up documents)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import Code, Exit, PilotError, PilotExit
from .job_spec import number, text


@dataclass(frozen=True)
class QueueData:
    """What the pilot must know about the queue it serves."""

    name: str
    panda_resource: str
    status: str
    copytools: tuple[str, ...]
    acopytools: Mapping[str, list[str]]
    astorages: Mapping[str, list[str]]
    max_work_dir_mb: int
    max_rss_mb: int
    max_time_seconds: int
    timefloor_minutes: int
    core_count: int
    params: Mapping[str, Any]

    @classmethod
    def parse(cls, wire: Any, queue: str) -> QueueData:
        """Read the queue document; raises PilotExit when the queue cannot be served."""
        if not isinstance(wire, Mapping) or not wire:
            raise PilotExit(Exit.BAD_QUEUE_DATA, f"queue data of {queue} is not a JSON object with settings")
        status = text(wire.get("status")).lower()
        state = text(wire.get("state")).upper() or "ACTIVE"
        if state != "ACTIVE":
            raise PilotExit(Exit.QUEUE_NOT_ACTIVE, f"queue {queue} is {state}, not ACTIVE")
        if status == "offline":
            raise PilotExit(Exit.QUEUE_OFFLINE, f"queue {queue} is offline")
        return cls(
            name=text(wire.get("nickname")) or queue,
            panda_resource=text(wire.get("panda_resource")) or queue,
            status=status,
            copytools=tuple(wire.get("copytools") or {}),
            acopytools=wire.get("acopytools") or {},
            astorages=wire.get("astorages") or {},
            max_work_dir_mb=number(wire.get("maxwdir")),
            max_rss_mb=number(wire.get("maxrss")),
            max_time_seconds=number(wire.get("maxtime")),
            timefloor_minutes=number(wire.get("timefloor")),
            core_count=number(wire.get("corecount")) or 1,
            params=wire.get("params") or {},
        )

    def copytools_for(self, activity: str) -> tuple[str, ...]:
        """Names of the tools to try for an activity, in order; empty when the queue does not say."""
        named = self.acopytools.get(activity) or self.acopytools.get("default") or self.copytools
        return tuple(named)

    def storage_for(self, *activities: str) -> str:
        """The queue's default storage for the first activity that has one."""
        for activity in activities:
            if self.astorages.get(activity):
                return str(self.astorages[activity][0])
        return ""


class Storages:
    """Where files are, by storage name; knows Rucio's rule for paths."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def url(self, storage: str, activity: str, scope: str, lfn: str) -> str:
        """Build a file's address for `read_lan` or `write_lan`; raises PilotError when the storage is unknown."""
        protocols = ((self._document.get(storage) or {}).get("arprotocols") or {}).get(activity) or []
        if not protocols:
            raise PilotError(
                Code.NO_STORAGE_PROTOCOL,
                f"storage {storage!r} has no {activity} protocol in the storage document: add one, or use another",
            )
        return f"{protocols[0]['endpoint']}{protocols[0]['path'].rstrip('/')}/{rucio_path(scope, lfn)}"


def rucio_path(scope: str, lfn: str) -> str:
    """Give the deterministic path of a file below its storage's root."""
    digest = hashlib.md5(f"{scope}:{lfn}".encode(), usedforsecurity=False).hexdigest()
    return f"{scope.replace('.', '/')}/{digest[:2]}/{digest[2:4]}/{lfn}"
