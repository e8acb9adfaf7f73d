"""Choices that brokers make of a passage through gates, so that all of them explain alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from ..core.gates import Passage
from .contracts import Choice

C = TypeVar("C")


def choice_of(
    passage: Passage[C],
    chosen: Sequence[str],
    weights: Mapping[str, float] | None = None,
    retry_seconds: float | None = None,
    pseudo_queues: Mapping[str, str] | None = None,
) -> Choice:
    """The choice of these among those that passed, the best first, with the gates in their order."""
    rejected: dict[str, list[str]] = {one.gate: [] for one in passage.counts if one.n_out < one.n_in}
    for name, (gate, _) in passage.refused.items():
        rejected[gate].append(name)
    return Choice(
        chosen,
        rejected,
        {one.gate: (one.example, one.change) for one in passage.counts if one.n_out < one.n_in},
        weights or {},
        retry_seconds,
        n_passed=len(passage.left),
        pseudo_queues=pseudo_queues or {},
    )
