"""Records why pilots got no work, once a minute for each queue and process: `bamboo why QUEUE` shows the last time."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..core.gates import gate_rows
from ..sql import claim_gates, decisions
from ..sql.claims import Claim
from .sightings import EVERY

ACTOR = "dispatcher"
NOTHING_FITS = "a pilot got no work"
#: What of a request for work is kept: by what jobs are chosen, and in which order of shares.
_ASKED = ("labels", "memory_mb", "disk_mb", "remaining_seconds", "resource_type", "working_group", "shares")


class Unserved:
    """What one process remembers, so that a pilot without work costs no more than before, but for once a minute."""

    def __init__(self) -> None:
        self._noted: dict[str, datetime] = {}
        self._requests: Counter[str] = Counter()

    def note(self, engine: sa.Engine, asked: Claim, now: datetime) -> None:
        """Note that a pilot at a queue got nothing, with the gates of the claim as they are at this moment."""
        queue = asked.queue
        self._requests[queue] += 1
        last = self._noted.get(queue)
        if last is not None and now - last < EVERY:
            return
        why: dict[str, Any] = {"requests": self._requests.pop(queue), "asked": asked_of(asked)}
        with engine.begin() as tx:
            gates = claim_gates.claim_gates(tx, asked)
            why |= {"waiting": gates[0].n_in, "passed": gates[-1].n_out, "gates": gate_rows(gates)}
            decisions.record_last(tx, actor=ACTOR, queue=queue, what=NOTHING_FITS, why=why, now=now)
        self._noted[queue] = now


def asked_of(claim: Claim) -> dict[str, Any]:
    """What is kept of a request: only what it set."""
    given = asdict(claim)
    return {key: given[key] for key in _ASKED if given[key]}


def claim_of(queue: str, asked: dict[str, Any]) -> Claim:
    """The request that was kept."""
    kept = {key: value for key, value in asked.items() if key in _ASKED}
    given: dict[str, Any] = {key: tuple(one) if isinstance(one, list) else one for key, one in kept.items()}
    return Claim(queue=queue, **given)
