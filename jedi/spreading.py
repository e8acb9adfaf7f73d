"""How the jobs of one round are spread over the queues that the broker has chosen (manual ch. 12.1: the best ten)."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.tunables import tunable

LEAST_JOBS = tunable(
    "jedi",
    "jobgen",
    "SPREAD_LEAST_JOBS",
    50,
    unit="jobs",
    source="our choice: each queue of a round is a transaction; with 20 jobs in each, generation takes twice the CPU",
    help="that a queue gets in a round, or none, unless there are no more jobs; the best queue gets them then.",
    least=1,
)


def portions(n_jobs: int, weights: Mapping[str, float], *, least: int, most: int) -> dict[str, int]:
    """How many of `n_jobs` each queue gets next: {queue: n}, the best first, as many as their weights say.

    None gets more than `most`: what is left is for another turn. Queues for which fewer than `least` would be left get
    none. Weights are above 0, and the queues are in the order of preference.
    """
    kept = dict(weights)
    while True:
        total = min(n_jobs, int(most * sum(kept.values()) / max(kept.values())))
        share = {queue: total * weight / sum(kept.values()) for queue, weight in kept.items()}
        smallest = min(reversed(list(share)), key=lambda queue: share[queue])
        if len(kept) == 1 or share[smallest] >= least:
            break
        del kept[smallest]
    whole = {queue: int(n) for queue, n in share.items()}
    best = next(iter(whole))
    whole[best] = min(most, whole[best] + total - sum(whole.values()))
    return whole
