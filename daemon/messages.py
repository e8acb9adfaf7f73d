"""What master and workers say to each other over their pipes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class Order:
    """Run a chore once. None instead of an order means: end."""

    name: str
    continues: bool = False  #: a further round of the same loop: its period need not be over
    dead_owner: str | None = None  #: the worker that died in the run before


class Result(Enum):
    """How a run ended."""

    IDLE = "idle"  #: there was nothing to do
    WORKED = "worked"
    ELSEWHERE = "elsewhere"  #: another machine has its lease, or has run it in this period
    FAILED = "failed"


@dataclass(frozen=True)
class Outcome:
    """A worker's answer to an order."""

    name: str
    result: Result
    wait_seconds: float = 0.0  #: of ELSEWHERE: when it makes sense to ask again
