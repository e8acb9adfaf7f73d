"""Global shares: what each activity may use of all slots now, and whose turn it is (manual ch. 2.11 and 14).

Shares are a tree. Each has a value, in percent of its parent; the leaves are what tasks and jobs are tagged with. A
share's *entitlement* is its part of the slots when everybody has work. Its *target* is what it should have with the
work that there is: what a share cannot use goes to its siblings first, by their values, and only what no sibling can
use goes to the level above (ch. 14.1). Slots are counted in cores: one job of eight cores weighs as much as eight of
one.

The manual leaves open in what "the share furthest away from its target" is measured (ch. 14.4). Here it is the missing
part of the target, `(target - running) / target`: a small share without any job comes before a large one that lacks a
little. Shares with nothing to expect (no value, and siblings that use everything) come last, by what they have.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from .errors import Fault, Invalid
from .gates import Gate, Passage, Refusal, pass_through
from .patterns import bad_patterns
from .tunables import tunable

#: The share of what no share takes. It has no value: it gets what all others leave.
UNDEFINED = "Undefined"
#: Values may be parts of any sum, but sums of them stay numbers.
HIGHEST = 1e12
#: Less than this part of a slot is nothing.
EPSILON = 1e-9

SHOWN_SHARES = tunable(
    "pandaserver",
    "gshare",
    "SHOWN_SHARES",
    20,
    unit="shares",
    source="our choice: a recorded order stays small however many shares there are",
)


@dataclass(frozen=True)
class Share:
    """A row of `global_shares`. `patterns` are regular expressions by attribute (`core.tagging.ATTRIBUTES`)."""

    name: str
    parent: str | None
    value: float  #: percent of the parent
    match_order: int = 0  #: leaves are tried in this order
    patterns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Usage:
    """What a share has now, in cores."""

    running: float = 0.0
    queued: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.running + other.running, self.queued + other.queued)


@dataclass(frozen=True)
class Tree:
    """Valid shares, made by `grow`. `notes` say what was made of values that do not sum up to 100."""

    shares: Mapping[str, Share]
    notes: tuple[str, ...] = ()

    @cached_property
    def children(self) -> Mapping[str | None, tuple[str, ...]]:
        """The names below each share and, under None, at the top; by name."""
        found: dict[str | None, list[str]] = {None: []}
        for name in sorted(self.shares):
            found.setdefault(self.shares[name].parent, []).append(name)
        return {parent: tuple(names) for parent, names in found.items()}

    @cached_property
    def leaves(self) -> tuple[str, ...]:
        return tuple(name for name in sorted(self.shares) if name not in self.children)

    def path(self, name: str) -> list[Share]:
        """The share and all above it, from the top."""
        share: Share | None = self.shares[name]
        found = []
        while share is not None:
            found.append(share)
            share = self.shares[share.parent] if share.parent is not None else None
        return found[::-1]


@dataclass(frozen=True)
class Standing:
    """How a share stands: its target and what it has, in cores."""

    share: str
    target: float
    running: float
    queued: float

    @property
    def distance(self) -> float:
        """The missing part of the target: 1 for a share that has nothing, below 0 for one that has too much."""
        return (self.target - self.running) / self.target if self.target > EPSILON else -math.inf

    @property
    def rank(self) -> tuple[bool, float, float, str]:
        """Sorts the share whose turn it is to the front, whatever the order of the rows; `Undefined` is always last."""
        return (self.share == UNDEFINED, -self.distance, self.running - self.target, self.share)


def grow(shares: Iterable[Share]) -> Tree:
    """The tree of the shares; raises `Invalid` with all that is wrong with them.

    Children whose values do not sum up to 100 are taken in proportion to their values, which `Tree.notes` says.
    """
    given = list(shares)
    known = {share.name: share for share in given}
    faults = [fault for share in given for fault in _faults(share, known)]
    names = [share.name for share in given]
    faults += [
        Fault(f"share {name}", f"is there {names.count(name)} times", "keep one")
        for name in sorted(known)
        if names.count(name) > 1
    ]
    faults += [
        Fault(f"share {name}", f"is its own ancestor: {' > '.join(ring)}", "give one of them another parent")
        for name, ring in _rings(known)
    ]
    if faults:
        raise Invalid("the global shares", faults)
    tree = Tree(known)
    return replace(tree, notes=tuple(_notes(tree)))


def _faults(share: Share, known: Collection[str]) -> Iterable[Fault]:
    where = f"share {share.name}"
    if not share.name or len(share.name) > 64 or share.name != share.name.strip():
        yield Fault(where, f"{share.name!r} is no name", "use up to 64 letters, without blanks around them")
    if share.name == UNDEFINED:
        yield Fault(where, "is what work without a share is tagged with", "choose another name")
    if share.parent is not None and share.parent not in known:
        yield Fault(where, f"its parent {share.parent!r} is no share", "enter the parent, or leave `parent` empty")
    if not 0 <= share.value <= HIGHEST:
        yield Fault(where, f"{share.value} is no percentage", "give a number from 0 to 100")
    yield from bad_patterns(where, share.patterns)


def _rings(known: Mapping[str, Share]) -> Iterable[tuple[str, list[str]]]:
    """Each ring of parents once, at its first name."""
    for name in sorted(known):
        ring = [name]
        while (parent := known[ring[-1]].parent) in known and parent not in ring:
            ring.append(str(parent))
        if parent == name and name == min(ring):
            yield name, [*ring, name]


def _notes(tree: Tree) -> Iterable[str]:
    for parent, names in tree.children.items():
        total = sum(tree.shares[name].value for name in names)
        if names and abs(total - 100) > 1e-6:
            where = f"the shares under {parent}" if parent else "the shares at the top"
            yield f"{where} sum up to {total:g}, not to 100: each gets its value in proportion"


def entitlements(tree: Tree, slots: float) -> dict[str, float]:
    """The part of the slots of every share, inner ones too, when all leaves have work enough."""
    return targets(tree, slots, dict.fromkeys(tree.leaves, math.inf))


def targets(tree: Tree, slots: float, wanted: Mapping[str, float]) -> dict[str, float]:
    """What every share, inner ones too, should have of `slots`, when its leaves could use `wanted` (cores).

    No share gets more than it can use. At each level, what a share cannot use is poured over its siblings; a whole
    branch gives something to the level above only when none in it can use it (manual ch. 14.1). The sum over the
    leaves is the number of slots, or all that is wanted if that is less.
    """
    needs = _needs(tree, wanted)
    given: dict[str, float] = {}
    levels: list[tuple[str | None, float]] = [(None, slots)]
    while levels:
        parent, part = levels.pop()
        names = tree.children.get(parent, ())
        poured = _pour(part, {name: (tree.shares[name].value, needs[name]) for name in names})
        given |= poured
        levels += poured.items()
    return given


def _needs(tree: Tree, wanted: Mapping[str, float]) -> dict[str, float]:
    """What each share and all below it could use."""
    needs = dict.fromkeys(tree.shares, 0.0)
    for leaf in tree.leaves:
        for share in tree.path(leaf):
            needs[share.name] += wanted.get(leaf, 0.0)
    return needs


def _pour(slots: float, siblings: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Divide slots among siblings, {name: (value, what it can use)}: by value, and what one leaves by value again.

    Those without a value get, in equal parts, what all others leave: they too come before the level above.
    """
    given = dict.fromkeys(siblings, 0.0)
    left = slots
    for has_value in (True, False):
        thirsty = {
            name: value if has_value else 1.0
            for name, (value, need) in siblings.items()
            if need > 0 and (value > 0) is has_value
        }
        while thirsty and left > EPSILON:
            unit = left / sum(thirsty.values())
            full = [name for name, value in thirsty.items() if siblings[name][1] <= unit * value]
            if not full:
                return given | {name: unit * value for name, value in thirsty.items()}
            for name in full:
                given[name] = siblings[name][1]
                left -= given[name]
                del thirsty[name]
    return given


def stand(tree: Tree, usage: Mapping[str, Usage], *, slots: float | None = None) -> list[Standing]:
    """How each leaf and the rest stand, the one whose turn it is first.

    The slots are those in use and one that has become free, unless more are named. Use by names that are no leaf (a
    share that was removed, or work that none took) counts for `Undefined`, which has no value.
    """
    leaves = {leaf: usage.get(leaf, Usage()) for leaf in tree.leaves}
    rest = sum((used for name, used in usage.items() if name not in leaves), Usage())
    everything = sum(leaves.values(), rest)
    total = everything.running + 1 if slots is None else slots
    wanted = {name: used.running + used.queued for name, used in leaves.items()}
    given = targets(tree, total, wanted)
    over = max(0.0, total - sum(wanted.values()))
    standings = [Standing(leaf, given[leaf], used.running, used.queued) for leaf, used in leaves.items()]
    standings.append(Standing(UNDEFINED, min(over, rest.running + rest.queued), rest.running, rest.queued))
    return sorted(standings, key=lambda standing: standing.rank)


def _has_work(slots: None, standing: Standing) -> Refusal | None:
    return None if standing.queued > 0 else Refusal("a queued job", 1.0)


#: What keeps a share from its turn.
GATES = (Gate("queued jobs", _has_work, "manual ch. 14.4: among the jobs that are assigned"),)


@dataclass(frozen=True)
class Turns:
    """Whose turn it is: the shares with queued jobs, the furthest below its target first."""

    passage: Passage[Standing]

    @property
    def order(self) -> tuple[str, ...]:
        return tuple(standing.share for standing in self.passage.left)

    def why(self, shown: int = SHOWN_SHARES.default) -> dict[str, Any]:
        """The order as it is recorded, with the first so many shares."""
        return {
            **self.passage.why(),
            "order": [
                {
                    "share": standing.share,
                    "target": round(standing.target, 1),
                    "running": round(standing.running, 1),
                    "queued": round(standing.queued, 1),
                    "missing_percent": round(100 * standing.distance) if math.isfinite(standing.distance) else None,
                }
                for standing in self.passage.left[:shown]
            ],
        }


def turns(standings: Sequence[Standing]) -> Turns:
    """Send the shares through the gates, in the order of their ranks."""
    ranked = sorted(standings, key=lambda standing: standing.rank)
    return Turns(pass_through(GATES, None, ranked, lambda standing: standing.share))


def after(standings: Iterable[Standing], given: Mapping[str, float]) -> list[Standing]:
    """The standings when some more cores of each share were given to pilots, the one whose turn it is first.

    The targets stay, and so does what is queued, for new jobs come all the time: both are right again with new counts.
    """
    now = [
        Standing(one.share, one.target, one.running + cores, one.queued) if (cores := given.get(one.share)) else one
        for one in standings
    ]
    return sorted(now, key=lambda standing: standing.rank)
