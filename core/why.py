"""The answer to `why`: who decides about a thing on its way, in that order, and what each of them says now.

Each step is the answer of the code that decides. The first that does not pass is what the thing waits for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .gates import GateCount, gate_rows


@dataclass(frozen=True)
class Step:
    """What one who decides says: in a sentence, and as gates with how many came and went."""

    who: str
    says: str
    passes: bool = True
    gates: Sequence[GateCount] = ()
    more: Mapping[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """The step for programs."""
        return {
            "who": self.who,
            "passes": self.passes,
            "says": self.says,
            "gates": gate_rows(self.gates),
            **self.more,
        }


@dataclass(frozen=True)
class Why:
    """The whole chain for one thing, such as `task 10000001`. `tried` are the changes under which it was asked."""

    subject: str
    status: str
    steps: Sequence[Step]
    tried: Sequence[str] = ()

    @property
    def stopped_by(self) -> Step | None:
        """The first who lets nothing pass."""
        return next((step for step in self.steps if not step.passes), None)

    def row(self) -> dict[str, Any]:
        """The chain for programs."""
        stopped = self.stopped_by
        return {
            "subject": self.subject,
            "status": self.status,
            "stopped_by": stopped.who if stopped else None,
            "tried": list(self.tried),
            "steps": [step.row() for step in self.steps],
        }
