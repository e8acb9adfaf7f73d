"""Gates: how a choice among candidates is made and explained by the same code.

A gate lets a candidate pass, or says what keeps it out and the smallest change that would let it in. A `Passage` is
what came of a list of gates: who is left, and for each gate how many came and went, with an example. Decisions are
recorded as `Passage.why()`, and `bamboo why` asks the same gates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

C = TypeVar("C")  # a candidate
S = TypeVar("S")  # the situation: all that a gate may look at beside the candidate


@dataclass(frozen=True)
class Refusal:
    """Why a candidate does not pass. `change` is the smallest change that would let it pass; `distance` orders refusals
    by how small that is, in the gate's own unit."""

    change: str
    distance: float = 1.0


@dataclass(frozen=True)
class Gate(Generic[S, C]):
    """One rule of a list. `check` gives None for a candidate that passes."""

    name: str
    check: Callable[[S, C], Refusal | None]
    source: str = ""


@dataclass(frozen=True)
class GateCount:
    """What one gate did: how many came, how many went on, and the refused candidate that was nearest to passing."""

    gate: str
    n_in: int
    n_out: int
    example: str = ""
    change: str = ""


@dataclass(frozen=True)
class Passage(Generic[C]):
    """What came of a list of gates. `refused` says for each refused candidate's name which gate stopped it."""

    left: Sequence[C]
    counts: Sequence[GateCount]
    refused: Mapping[str, tuple[str, Refusal]] = field(default_factory=dict)

    def why(self) -> dict[str, Any]:
        """The gates that stopped somebody, as they are recorded."""
        return {"passed": len(self.left), "gates": gate_rows(self.counts)}


def gate_rows(counts: Sequence[GateCount]) -> list[dict[str, Any]]:
    """Gates as they are recorded and sent: only those that stopped somebody."""
    return [
        {"gate": one.gate, "in": one.n_in, "out": one.n_out, "example": one.example, "change": one.change}
        for one in counts
        if one.n_out < one.n_in
    ]


def pass_through(
    gates: Sequence[Gate[S, C]], situation: S, candidates: Sequence[C], name: Callable[[C], str]
) -> Passage[C]:
    """Send the candidates through the gates in order."""
    left, counts = list(candidates), []
    refused: dict[str, tuple[str, Refusal]] = {}
    for gate in gates:
        stopped = {name(one): refusal for one in left if (refusal := gate.check(situation, one)) is not None}
        nearest = min(stopped, key=lambda who: (stopped[who].distance, who), default="")
        n_in = len(left)
        left = [one for one in left if name(one) not in stopped]
        change = stopped[nearest].change if nearest else ""
        counts.append(GateCount(gate.name, n_in, len(left), nearest, change))
        refused |= {who: (gate.name, refusal) for who, refusal in stopped.items()}
    return Passage(left, counts, refused)
