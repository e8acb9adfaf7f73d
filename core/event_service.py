"""Rules of event-level bookkeeping, without a database (manual ch. 7.1.3, Event).

A job of the event service has one input file, cut into ranges of events. What its end means follows from where the
ranges are then, not from what its pilot says: ranges that are finished stay so, whoever dies. The manual names the
states and leaves open when a file is given up; the choice here is `end_of_job`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .tunables import tunable

MAX_RANGES = tunable(
    "jedi",
    "jobgen",
    "MAX_EVENT_RANGES_PER_FILE",
    1000,
    unit="ranges",
    source="a merge job names all of them on its command line, of which Linux takes 128 kB in one word",
)


def spans(n_events: int, per_range: int) -> list[tuple[int, int]]:
    """Cut events 1 to `n_events` into ranges: (first, last), both included; the last may be shorter."""
    return [(first, min(first + per_range - 1, n_events)) for first in range(1, n_events + 1, per_range)]


@dataclass(frozen=True)
class RangesAtEnd:
    """The ranges of a job's file when the job ends, by what becomes of them.

    `done`: processed, not yet in a merged output; `by_this_job`: those of them that this job processed; `merged`: in
    a merged output; `open`: to be tried again; `given_up`: tried too often.
    """

    done: int = 0
    by_this_job: int = 0
    merged: int = 0
    open: int = 0
    given_up: int = 0


class After(StrEnum):
    """What comes after a job of the event service."""

    MERGE = "merge"  #: what is done is merged; ranges that are not done by then are left out
    AGAIN = "again"  #: another job gets the open ranges, and no attempt of the file is charged
    CHARGED = "charged"  #: the same, but the file has lost an attempt
    OVER = "over"  #: nothing to merge, and nothing to try again


def end_of_job(ranges: RangesAtEnd, *, may_try_again: bool, file_has_attempts: bool) -> After:
    """What comes after a job that ended, however it ended, except by a command.

    Only a job that brought nothing costs the file an attempt: each other one leaves fewer open ranges, so that there
    is an end to it. `file_has_attempts`: one more than those charged so far; `may_try_again`: what the retry rules say.
    """
    again_possible = may_try_again and ranges.open > 0
    if again_possible and ranges.by_this_job > 0:
        return After.AGAIN
    if again_possible and file_has_attempts:
        return After.CHARGED
    return After.MERGE if ranges.done > 0 else After.OVER
