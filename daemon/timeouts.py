"""How long a job may stay in a state, and what happens then: one table (manual ch. 12.1.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from ..core.job_errors import EXPIRED, NOT_TRANSFERRED, WAITED, JobError
from ..core.settings import TimeoutsSection
from ..core.states import JobState
from ..core.tunables import Numbers, Tunable, tunable

APP, COMPONENT = "pandaserver", "watcher"
SOURCE = "manual ch. 12.1.3"

#: The limit of each key of [timeouts], which a setting in the database overrides.
HOURS: Mapping[str, Tunable[float]] = {
    setting: tunable(APP, COMPONENT, f"TIMEOUT_{setting.upper()}", float(field.default), unit="hours", source=SOURCE)
    for setting, field in TimeoutsSection.model_fields.items()
    if setting != "pending_task"
}
URGENT_PRIORITY = tunable(APP, COMPONENT, "URGENT_PRIORITY", 800, unit="priority", source=SOURCE)
STALLED_HOURS = tunable(
    APP,
    COMPONENT,
    "STALLED_HOURS",
    2.0,
    unit="hours",
    source=SOURCE,
    help="without a start, after which a queue stalls",
)
HEARTBEAT = tunable(
    APP,
    COMPONENT,
    "HEARTBEAT_TIMEOUT_",
    0.0,
    unit="hours",
    source=SOURCE,
    help="that jobs of a processing type may be quiet; 0: as long as their lease",
)

UNSPOKEN_CLAIMS = tunable(
    APP,
    COMPONENT,
    "UNSPOKEN_CLAIMS",
    5,
    unit="claims",
    source="our choice: the manual has only the 30 minutes of each",
    help="of a job by pilots that never speak of it, after which it has failed",
    least=1,
)


class Only(StrEnum):
    """To which jobs in the state a rule applies."""

    ALL = "all"
    URGENT = "urgent"  #: priority 800 and more
    NOT_URGENT = "not urgent"
    STALLED = "urgent, at queues that start nothing"
    STAGING_OUT = "with a stage-out of their own"  #: a substatus, and a HEARTBEAT_TIMEOUT_ of their processing type


@dataclass(frozen=True)
class Timeout:
    """One rule. `setting` is the key of [timeouts] with the limit in hours; `to` is where the job goes.

    `queue_key` is the attribute of a queue that gives the limit there, in days. A job that no pilot has is `closed` and
    its inputs are given back uncharged; any other has `failed`.
    """

    state: JobState
    setting: str
    to: JobState
    error: JobError
    text: str
    only: Only = Only.ALL
    queue_key: str = ""

    def limit(self, numbers: Numbers) -> timedelta:
        """The limit where no queue has its own; `numbers` are those of `limits`."""
        return timedelta(hours=numbers(HOURS[self.setting]))

    def own_limit(self, attributes: Mapping[str, Any]) -> timedelta | None:
        """The limit that a queue gives, if it does."""
        days = attributes.get(self.queue_key) if self.queue_key else None
        try:
            return timedelta(days=float(days)) if days else None
        except (TypeError, ValueError, OverflowError):
            return None


_J = JobState
#: None for `merging`: such a job is over, and waits for others or for its merge job, which has limits of its own.
TIMEOUTS = (
    Timeout(_J.PENDING, "pending", _J.CLOSED, EXPIRED, "was not set up in time"),
    Timeout(_J.DEFINED, "defined", _J.CLOSED, EXPIRED, "was not prepared in time"),
    Timeout(_J.WAITING, "waiting", _J.CLOSED, WAITED, "its inputs did not come into being in time"),
    Timeout(_J.ASSIGNED, "assigned", _J.CLOSED, WAITED, "its inputs did not arrive in time"),
    Timeout(_J.THROTTLED, "throttled", _J.CLOSED, EXPIRED, "was held back for too long"),
    Timeout(_J.ACTIVATED, "activated", _J.CLOSED, EXPIRED, "no pilot took it in time"),
    Timeout(_J.ACTIVATED, "stalled", _J.CLOSED, EXPIRED, "its queue starts nothing", Only.STALLED),
    Timeout(_J.STARTING, "activated", _J.FAILED, EXPIRED, "its payload did not start in time"),
    Timeout(_J.STARTING, "stalled", _J.FAILED, EXPIRED, "its queue starts nothing", Only.STALLED),
    Timeout(_J.RUNNING, "running", _J.FAILED, EXPIRED, "ran for too long"),
    Timeout(_J.HOLDING, "holding", _J.FAILED, EXPIRED, "its end could not be booked in time", Only.NOT_URGENT),
    Timeout(_J.HOLDING, "holding_urgent", _J.FAILED, EXPIRED, "its end could not be booked in time", Only.URGENT),
    Timeout(
        _J.TRANSFERRING,
        "transferring",
        _J.FAILED,
        NOT_TRANSFERRED,
        "its outputs did not arrive in time",
        Only.NOT_URGENT,
        "transtimelo",
    ),
    Timeout(
        _J.TRANSFERRING,
        "transferring_urgent",
        _J.FAILED,
        NOT_TRANSFERRED,
        "its outputs did not arrive in time",
        Only.URGENT,
        "transtimehi",
    ),
    Timeout(
        _J.TRANSFERRING,
        "transferring",
        _J.FAILED,
        NOT_TRANSFERRED,
        "nothing was heard of its own stage-out",
        Only.STAGING_OUT,
    ),
)


def limits(timeouts: TimeoutsSection, stored: Numbers) -> Numbers:
    """The numbers that count: those of the database before those of the configuration."""
    configured = {(APP, COMPONENT, one.key): float(getattr(timeouts, setting)) for setting, one in HOURS.items()}
    return Numbers({**configured, **stored.changed})


def heartbeat_hours(numbers: Numbers) -> dict[str, float]:
    """How long jobs may be quiet, by processing type, for those types that have a limit of their own."""
    return {
        key.removeprefix(HEARTBEAT.key): float(value)
        for (app, component, key), value in numbers.changed.items()
        if (app, component) == (APP, COMPONENT) and key.startswith(HEARTBEAT.key) and key != HEARTBEAT.key
    }


def exempt(queue: Any) -> bool:
    """Whether a row of `queues` is excepted from all rules: it is paused, or says `disableReassign`."""
    return bool(queue.status == "paused" or "disableReassign" in str(queue.attributes.get("catchall", "")))
