"""What each address asks of its callers. Whatever is not listed here as open asks for a user."""

from __future__ import annotations

from enum import StrEnum


class Need(StrEnum):
    """Who may come to an address."""

    NOBODY = "nobody"  #: anyone, without saying who they are
    ANYONE = "anyone"  #: anyone who has shown who they are
    PILOT = "pilot"
    USER = "user"


#: Methods below /server/panda/ that pilots and Harvester call (pilot protocol 10).
PILOT_METHODS = frozenset(
    {"getJob", "updateJob", "updateJobsInBulk", "getStatus", "updateWorkerPilotStatus", "genPilotToken"}
    | {"getEventRanges", "updateEventRange", "updateEventRanges", "updateWorkers", "updateServiceMetrics"}
    | {"addHarvesterDialogs", "harvesterIsAlive", "reportWorkerStats", "reportWorkerStats_jobtype", "getCommands"}
    | {"ackCommands", "getWorkerStats", "getKeyPair", "getProxy", "get_access_token", "getTokenKey", "get_token_key"}
    | {"updateWorkerNode", "update_worker_node", "get_max_worker_id"}
)
#: Methods that everybody needs and nobody learns anything from.
COMMON_METHODS = frozenset({"isAlive", "getResourceTypes", "getAttr"})
_OLD = "/server/panda/"
#: Pages and files that show nothing of anybody's own. Jobs fetch sandboxes and transformations, and clients of before
#: 1.7.2 ask the monitor (`/tasks/`, `/jobs/`), without credentials (client protocol 12.4, 14.17).
_OPEN = frozenset({"/", "/livez", "/readyz", "/favicon.ico"})
_BY_START = (
    ("/api/v1/system/is_alive", Need.NOBODY),
    ("/api/v1/system/", Need.ANYONE),
    ("/api/v1/metaconfig/", Need.ANYONE),
    ("/api/v1/pilot/", Need.PILOT),
    ("/api/v1/harvester/", Need.PILOT),
    ("/api/v1/event/acquire_event_ranges", Need.PILOT),
    ("/api/v1/event/update_event_ranges", Need.PILOT),
    ("/api/v1/event/", Need.ANYONE),
    ("/api/v1/job/get_status", Need.ANYONE),  # Harvester asks it about jobs that report for themselves
    ("/api/v1/creds/get_access_token", Need.PILOT),
    ("/api/v1/creds/get_proxy", Need.PILOT),
    ("/api/v1/creds/get_key_pair", Need.PILOT),
    ("/api/v1/creds/get_token_key", Need.PILOT),
    *((start, Need.NOBODY) for start in ("/cache/", "/trf/", "/auth/", "/tasks/", "/jobs/")),
)


def need_of(path: str) -> Need:
    """What a path asks for."""
    if path in _OPEN:
        return Need.NOBODY
    if path.startswith(_OLD):
        method = path.removeprefix(_OLD).strip("/")
        if method in COMMON_METHODS:
            return Need.NOBODY
        return Need.PILOT if method in PILOT_METHODS else Need.USER
    return next((need for start, need in _BY_START if path.startswith(start)), Need.USER)
