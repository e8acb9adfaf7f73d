"""What an edit of global shares would do to what runs and waits now: targets and turns, before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .shares import Standing, Tree, Turns, Usage, entitlements, stand, turns


@dataclass(frozen=True)
class ShareEffect:
    """A leaf before and after an edit; amounts are cores, percents are of all slots.

    `turn` is the place among the shares with queued jobs, 1 for the one that gets the next slot; None without a turn.
    """

    share: str
    percent_before: float | None  #: None where the share is none, or no leaf
    percent_after: float | None
    target_before: float | None
    target_after: float | None
    running: float
    queued: float
    turn_before: int | None
    turn_after: int | None


@dataclass(frozen=True)
class _Side:
    percents: Mapping[str, float]
    standings: Mapping[str, Standing]
    order: Turns

    @classmethod
    def of(cls, tree: Tree, usage: Mapping[str, Usage]) -> _Side:
        standings = stand(tree, usage)
        return cls(entitlements(tree, 100), {one.share: one for one in standings}, turns(standings))

    def turn(self, share: str) -> int | None:
        return self.order.order.index(share) + 1 if share in self.order.order else None


def compare(
    before: Tree, after: Tree, usage: Mapping[str, Usage], usage_after: Mapping[str, Usage] | None = None
) -> list[ShareEffect]:
    """Every leaf of either tree, in the order of their turns after the edit.

    What is running and queued is by tags as they are, unless `usage_after` has those of work that was tagged anew: work
    of a share that is no leaf any more counts for `Undefined` then.
    """
    now = usage if usage_after is None else usage_after
    old, new = _Side.of(before, usage), _Side.of(after, now)
    names = [*new.standings, *(name for name in old.standings if name not in new.standings)]
    effects = []
    for name in names:
        was, will = old.standings.get(name), new.standings.get(name)
        shown = new.standings[name] if name in new.standings else old.standings[name]
        effects.append(
            ShareEffect(
                name,
                old.percents.get(name, 0.0) if was else None,
                new.percents.get(name, 0.0) if will else None,
                was.target if was else None,
                will.target if will else None,
                shown.running,
                shown.queued,
                old.turn(name),
                new.turn(name),
            )
        )
    last = len(effects) + 1
    return sorted(effects, key=lambda one: one.turn_after or last)
