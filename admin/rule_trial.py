"""Trying a retry rule on failures of the past: which it would have matched, and how those ended without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import sqlalchemy as sa

from ..core.bounded_match import TooSlow
from ..core.retry_rules import Rule
from ..daemon.booking import describe
from ..plugins.contracts import RetryDecision
from ..plugins.generic.retry_decision import decision, matching
from ..sql import past_failures
from ..sql.accounting import job_files_of
from ..sql.past_failures import Outcome
from ..sql.retries import Scopes
from ..sql.settings import numbers

#: How many examples are shown.
EXAMPLES = 5


@dataclass(frozen=True)
class Match:
    """A failure that the rule would have matched, and what it would have decided."""

    pandaid: int
    jeditaskid: int
    source: str
    code: int
    diag: str
    decision: RetryDecision


@dataclass(frozen=True)
class Trial:
    """What came of it: how many failures were looked at, which matched, and how the inputs of those ended."""

    looked_at: int
    matches: Sequence[Match]
    outcome: Outcome
    slow: str = ""


def try_rule(tx: sa.Connection, rule: Rule, *, since: datetime, limit: int) -> Trial:
    """Run a rule, as if it were active, over the last failures since a moment: the code that decides, decides here."""
    rows = past_failures.failures(tx, since=since, limit=limit)
    scopes, tried = Scopes(tx), replace(rule, active=True)
    slow: list[str] = []

    def too_slow(_: Rule, error: TooSlow) -> None:
        slow.append(str(error))

    matches = []
    known = {vo: numbers(tx, vo) for vo in {row.vo for row in rows}}
    files = job_files_of(tx, [row.pandaid for row in rows])
    for row in rows:
        failure = describe(scopes, row, files[row.pandaid])
        found = matching(failure, [tried], known[row.vo], too_slow)
        for fired in found:
            decided = decision(failure, found, known[row.vo])
            error = fired.error
            matches.append(Match(row.pandaid, row.jeditaskid, error.source, error.code, error.diag, decided))
        if slow:
            break
    outcome = past_failures.outcome(tx, [match.pandaid for match in matches])
    return Trial(len(rows), matches, outcome, slow[0] if slow else "")


def verdict(rule: Rule, trial: Trial) -> str:
    """What the numbers say about the rule, in a sentence."""
    ended = trial.outcome
    if trial.slow:
        return f"the pattern is too slow: {trial.slow}"
    if not trial.matches:
        return "nothing matched: the rule would have done nothing"
    if rule.action == "no_retry":
        return (
            f"it would have lost {ended.finished} inputs that another attempt finished, "
            f"and saved {ended.in_vain} jobs that were in vain"
        )
    if rule.action == "limit_retry":
        helped = f"{ended.to_finish} led to {ended.finished} finished inputs"
        return f"of the jobs that tried again, {ended.in_vain} were in vain, and {helped}"
    if rule.action == "free_attempt":
        return f"{len(trial.matches)} failures would not have counted, as far as their inputs had free attempts left"
    changed = sum(1 for match in trial.matches if _changes(match.decision))
    return f"it would have changed what the next jobs ask for after {changed} of {len(trial.matches)} failures"


def _changes(decided: RetryDecision) -> bool:
    return bool(decided.ram_count_mb or decided.max_walltime_seconds or decided.max_files_per_job)
