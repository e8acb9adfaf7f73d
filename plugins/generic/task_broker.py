"""Chooses the storage for the outputs of a task that leaves it open."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.gates import Gate, Refusal, pass_through
from ..choices import choice_of
from ..contracts import Choice, StorageView, TaskView
from ..hookspecs import hookimpl


def _active(task: TaskView, storage: StorageView) -> Refusal | None:
    return None if storage.state == "ACTIVE" else Refusal(f"set its state from {storage.state} to ACTIVE")


GATES: tuple[Gate[TaskView, StorageView], ...] = (Gate("storage is not active", _active),)


class GenericTaskBroker:
    """Takes the active storage with the most free space; one of unknown space comes last."""

    @hookimpl
    def choose_nucleus(self, task: TaskView, storages: Sequence[StorageView]) -> Choice | None:
        passage = pass_through(GATES, task, storages, lambda storage: storage.storage)
        ranked = sorted(passage.left, key=lambda storage: (-(storage.free_bytes or 0), storage.storage))
        return choice_of(passage, [storage.storage for storage in ranked])
