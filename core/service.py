"""A service is a `run_once`; the loop around it is written once, here.

JEDI's agents, the daemon's chores and everything else that works in rounds is a `Service`: it starts no
thread, never sleeps, catches no error it cannot handle, and returns a dataclass that says what it did.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from threading import Event
from typing import Any, Protocol

from . import logs

log = logging.getLogger(__name__)


class Service(Protocol):
    """Something that works in rounds."""

    name: str

    def run_once(self) -> Any:
        """Do one round and return a dataclass instance whose default values mean: nothing to do."""
        ...


@dataclass(frozen=True)
class Round:
    """A round that is over: whether it found something to do, what it took, and why it failed, if it did.

    `period_seconds` is how long the service waits after a round that found nothing.
    """

    service: str
    seconds: float
    period_seconds: float
    worked: bool = False
    error: Exception | None = None


def idle(report: Any) -> bool:
    """Whether the round found nothing to do: every field of its report has its default value."""
    return all(
        getattr(report, entry.name) == (entry.default_factory() if callable(entry.default_factory) else entry.default)
        for entry in fields(report)
    )


def run_round(service: Service) -> bool:
    """Run one round, log what it did, and say whether there was anything to do."""
    with logs.while_about(service=service.name):
        report = service.run_once()
    if idle(report):
        return False
    log.info("round done", extra={"event": "round", "service": service.name, **_plain(report)})
    return True


def run_service(
    service: Service,
    stop: Event,
    *,
    period_seconds: float,
    max_backoff_seconds: float = 60.0,
    may_rest: Callable[[], bool] | None = None,
    note: Callable[[Round], None] = lambda last: None,
) -> None:
    """Run rounds until `stop` is set: at once after a round that found work, else after `period_seconds`.

    A round is left out while `may_rest` says that it would find nothing; `note` is told of each that was not. An error
    never ends the loop: it is logged and the pause grows, with jitter, up to `max_backoff_seconds`.
    """
    failures = 0
    while not stop.is_set():
        began_at = time.monotonic()
        try:
            if may_rest is not None and not failures and may_rest():
                stop.wait(period_seconds)
                continue
            worked = run_round(service)
            failures = 0
        except Exception as error:
            failures += 1
            note(Round(service.name, time.monotonic() - began_at, period_seconds, error=error))
            log.exception("round failed", extra={"event": "round_failed", "service": service.name})
            ceiling = min(max_backoff_seconds, max(period_seconds, 0.1) * 2 ** min(failures, 16))
            stop.wait(ceiling * (0.5 + random.random() / 2))  # noqa: S311 - jitter, not a secret
            continue
        note(Round(service.name, time.monotonic() - began_at, period_seconds, worked))
        stop.wait(0 if worked else period_seconds)


def _plain(report: Any) -> dict[str, Any]:
    return {f"round_{key}": value for key, value in asdict(report).items()}
