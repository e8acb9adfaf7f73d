"""What a state table is: the states of one kind of object, who moves it on, and where it may go."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

S = TypeVar("S", bound=StrEnum)


@dataclass(frozen=True)
class Row(Generic[S]):
    """One state: its meaning, who moves an object out of it and when, and the states it may go to."""

    meaning: str
    mover: str
    onward: frozenset[S]


class StateTable(Generic[S]):
    """The state machine of one kind of object."""

    def __init__(self, kind: str, source: str, states: type[S], rows: dict[S, tuple[str, str, str]]) -> None:
        self.kind = kind
        self.source = source
        self.states = states
        self.rows: dict[S, Row[S]] = {
            state: Row(meaning, mover, frozenset(states(word) for word in onward.split()))
            for state, (meaning, mover, onward) in rows.items()
        }

    @property
    def final(self) -> frozenset[S]:
        """States that nothing leaves."""
        return frozenset(state for state, row in self.rows.items() if not row.onward)

    def allows(self, old: S, new: S) -> bool:
        return new in self.rows[old].onward

    def sources(self, new: S) -> tuple[S, ...]:
        """The states from which `new` can be reached in one step."""
        return tuple(state for state, row in self.rows.items() if new in row.onward)
