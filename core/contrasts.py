"""What failed jobs of a task have in common that finished ones have not: `92 % of failures ran at node X`.

A pure function of counts. Each value (a node, a file, an hour…) is judged by Fisher's exact test: how likely so many of
its jobs would be among the failed ones if it had nothing to do with them. As many values are looked at, that chance is
multiplied by their number (Bonferroni), so that small numbers and many values make no noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

#: What is looked at, from the most particular to the most general: of two that say the same, the first is told.
ATTRIBUTES = {
    "input": "read {}",
    "dataset": "read dataset {}",
    "node": "ran at node {}",
    "cpu": "ran on the processor {}",
    "queue": "ran at queue {}",
    "site": "ran at site {}",
    "container": "ran in the image {}",
    "transformation": "ran {}",
    "resource_type": "were of resource type {}",
    "hour": "began in the hour of {} UTC",
}
_RANK = {attribute: rank for rank, attribute in enumerate(ATTRIBUTES)}

#: Fewer failures than these are no pattern, whatever the test says.
MIN_FAILED = 3
#: The chance of a false alarm that is accepted for all values of a task together.
MAX_CHANCE = 0.01
#: How much more often a value has to be among the failures than among the successes.
MIN_RATIO = 2.0
#: No more are told.
MOST_TOLD = 5


@dataclass(frozen=True)
class Tally:
    """How many jobs that have one value of an attribute failed, and how many succeeded."""

    attribute: str
    value: str
    failed: int
    succeeded: int


@dataclass(frozen=True)
class Contrast:
    """A value that stands out: its own counts, those of all jobs, and the chance that this is an accident.

    `also` are other values that the same jobs have: the site of a node, the dataset of a file.
    """

    attribute: str
    value: str
    failed: int
    succeeded: int
    all_failed: int
    all_succeeded: int
    chance: float
    also: tuple[tuple[str, str], ...] = field(default=())

    @property
    def of_failures(self) -> float:
        """The share of all failures that it has, from 0 to 1."""
        return self.failed / self.all_failed

    @property
    def of_successes(self) -> float:
        """The share of all successes that it has, from 0 to 1."""
        return self.succeeded / self.all_succeeded

    def __str__(self) -> str:
        verb = ATTRIBUTES[self.attribute].format(self.value)
        counts = f"{self.failed} of {self.all_failed} failed, {self.succeeded} of {self.all_succeeded} finished"
        also = "".join(f"; the same jobs {ATTRIBUTES[attribute].format(value)}" for attribute, value in self.also)
        shares = f"{percent(self.of_failures)} of failures {verb}, {percent(self.of_successes)} of successes"
        return f"{shares} ({counts}){also}"


def contrasts(tallies: Iterable[Tally], *, all_failed: int, all_succeeded: int) -> list[Contrast]:
    """The values that stand out, the clearest first; none where nothing failed or nothing succeeded.

    `tallies` need only have the values with `MIN_FAILED` failures: all others cannot stand out.
    """
    if not all_failed or not all_succeeded:
        return []
    looked_at = [
        tally
        for tally in tallies
        if tally.attribute in ATTRIBUTES
        and tally.failed >= MIN_FAILED
        and (tally.failed, tally.succeeded) != (all_failed, all_succeeded)  # what all jobs have tells nothing
    ]
    found = []
    for tally in looked_at:
        if tally.failed * all_succeeded < MIN_RATIO * tally.succeeded * all_failed:
            continue
        chance = len(looked_at) * chance_of(tally.failed, tally.succeeded, all_failed, all_succeeded)
        if chance <= MAX_CHANCE:
            found.append(
                Contrast(**vars(tally), all_failed=all_failed, all_succeeded=all_succeeded, chance=min(1.0, chance))
            )
    found.sort(key=lambda one: (one.chance, -one.failed, _RANK[one.attribute], one.value))
    return _without_echoes(found)[:MOST_TOLD]


def _without_echoes(found: Sequence[Contrast]) -> list[Contrast]:
    """Tell once what the same jobs have in common: where two attributes have equal counts, they are the same jobs."""
    told: list[Contrast] = []
    for one in found:
        at = next((at for at, other in enumerate(told) if _is_echo(one, other)), None)
        if at is None:
            told.append(one)
        else:
            told[at] = replace(told[at], also=(*told[at].also, (one.attribute, one.value)))
    return told


def _is_echo(one: Contrast, told: Contrast) -> bool:
    known = (told.attribute, *(attribute for attribute, _ in told.also))
    return (one.failed, one.succeeded) == (told.failed, told.succeeded) and one.attribute not in known


def chance_of(failed: int, succeeded: int, all_failed: int, all_succeeded: int) -> float:
    """Fisher's exact test, one-sided: the chance of at least `failed` failures among `failed + succeeded` jobs,
    drawn from all of which `all_failed` failed."""
    drawn, total = failed + succeeded, all_failed + all_succeeded
    most = min(drawn, all_failed)
    term = math.exp(_log_choose(all_failed, failed) + _log_choose(all_succeeded, succeeded) - _log_choose(total, drawn))
    chance = 0.0
    for n in range(failed, most + 1):
        chance += term
        left = (n + 1) * (all_succeeded - drawn + n + 1)
        term *= (all_failed - n) * (drawn - n) / left
        if term < chance * 1e-12:
            break
    return min(1.0, chance)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def percent(share: float) -> str:
    """`92 %`; what is little but not nothing is `<1 %`, and what is not quite all is `>99 %`."""
    if 0 < share < 0.01:
        return "<1 %"
    if 0.99 < share < 1:
        return ">99 %"
    return f"{share:.0%}".replace("%", " %")
