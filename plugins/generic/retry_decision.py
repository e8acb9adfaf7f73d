"""Rules and a failure make a decision (manual ch. 20): a pure function, used by the plugin and by `retry-rules test`.

The manual does not say what happens when several rules match. Here all of them take effect, and none depends on the
order of the rules: `no_retry` beats everything, of several limits the lowest holds, of several increases the largest,
and of several parts and of several numbers of free attempts the smallest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from ...core import retry_rules as bounds
from ...core.bounded_match import TooSlow, search_within
from ...core.job_errors import says_payload_failed
from ...core.pilot_errors import ENDED_WITH_PAYLOAD, PAYLOAD_KILLED
from ...core.retry_rules import Rule
from ...core.tunables import MOST, Numbers, tunable
from ..contracts import FailedJob, JobError, RetryDecision

_OURS = "our choice: manual ch. 20 names the action and leaves the number open"
MEMORY_FACTOR = tunable(
    "jedi", "retry", "MEMORY_FACTOR", 1.5, unit="factor", source=_OURS, least=1, most=bounds.MOST_FACTOR
)
MEMORY_START = tunable(
    "jedi",
    "retry",
    "MEMORY_START",
    2000,
    unit="MB per core",
    source=_OURS,
    help="What is increased when a job has neither asked for memory nor shown what it used.",
)
MEMORY_MAX = tunable(
    "jedi",
    "retry",
    "MEMORY_MAX",
    8000,
    unit="MB per core",
    source=_OURS,
    help="Up to where memory is increased.",
    most=bounds.MOST_MB_PER_CORE,
)
CPUTIME_FACTOR = tunable(
    "jedi", "retry", "CPUTIME_FACTOR", 1.5, unit="factor", source=_OURS, least=1, most=bounds.MOST_FACTOR
)
CPUTIME_START = tunable(
    "jedi",
    "retry",
    "CPUTIME_START",
    43_200,
    unit="s",
    source=_OURS,
    help="What is increased when a job has neither asked for wall time nor shown what it used.",
)
CPUTIME_MAX = tunable(
    "jedi",
    "retry",
    "CPUTIME_MAX",
    345_600,
    unit="s",
    source=_OURS,
    help="Up to where wall time is increased.",
    most=bounds.MOST_SECONDS,
)
_STEPS = "our choice: inputs of different needs are never in one job, nor made into jobs together"
MEMORY_STEP = tunable(
    "jedi",
    "retry",
    "MEMORY_STEP",
    500,
    unit="MB",
    source=_STEPS,
    help="Increased memory is rounded up to a multiple of this.",
    least=1,
)
CPUTIME_STEP = tunable(
    "jedi",
    "retry",
    "CPUTIME_STEP",
    1800,
    unit="s",
    source=_STEPS,
    help="Increased wall time is rounded up to a multiple of this.",
    least=1,
)
INPUT_DIVISOR = tunable(
    "jedi", "retry", "INPUT_DIVISOR", 2, unit="divisor", source=_OURS, least=1, most=bounds.MOST_DIVISOR
)
FREE_ATTEMPTS = tunable(
    "jedi",
    "retry",
    "FREE_ATTEMPTS",
    10,
    unit="attempts",
    source="our choice: a stop from outside is nobody's fault, but an input that always meets one must end",
    help="How many failed attempts of an input are not counted, where a rule says so.",
    most=bounds.MOST_FREE_ATTEMPTS,
)
MATCH_SECONDS = tunable(
    "jedi",
    "retry",
    "MATCH_SECONDS",
    0.1,
    unit="s",
    least=0.001,
    source="our choice: the adder books thousands of jobs a minute",
    help="A rule whose pattern takes longer over one message does not match it, and is reported.",
)


@dataclass(frozen=True)
class Fired:
    """A rule that matches an error of a job."""

    rule: Rule
    error: JobError

    def __str__(self) -> str:
        return f"{self.rule.name} ({self.error.source} {self.error.code}: {self.rule.action})"


#: After these errors of the pilot the exit code is none of the payload's own.
_NOT_ITS_OWN_END = ENDED_WITH_PAYLOAD | PAYLOAD_KILLED

#: Called with a rule whose pattern took too long.
OnSlow = Callable[[Rule, TooSlow], None]


def matching(failure: FailedJob, rules: Iterable[Rule], numbers: Numbers, on_slow: OnSlow | None = None) -> list[Fired]:
    """The rules that match a failure, active and passive, in their order, each with the first error that it matches."""
    seconds = numbers(MATCH_SECONDS)
    errors = _errors(failure)
    found = []
    for rule in rules:
        if not any(_is_of(rule, error) for error in errors) or not _covers(rule, failure):
            continue
        try:
            error = next((each for each in errors if _is_of(rule, each) and _says(rule, each, seconds)), None)
        except TooSlow as slow:
            if on_slow is not None:
                on_slow(rule, slow)
            continue
        if error is not None:
            found.append(Fired(rule, error))
    return found


def decide(failure: FailedJob, rules: Iterable[Rule], numbers: Numbers, on_slow: OnSlow | None = None) -> RetryDecision:
    """What the rules say about a failure."""
    found = matching(failure, rules, numbers, on_slow)
    return decision(failure, found, numbers)


def decision(failure: FailedJob, found: Sequence[Fired], numbers: Numbers) -> RetryDecision:
    """What follows from the rules that match."""
    active = [fired for fired in found if fired.rule.active]
    said = _effects(failure, active, numbers) if active else RetryDecision(True, "the failure may pass")
    passive = tuple(fired.rule.name for fired in found if not fired.rule.active)
    return replace(said, rules=tuple(fired.rule.name for fired in active), passive=passive)


def _effects(failure: FailedJob, active: Sequence[Fired], numbers: Numbers) -> RetryDecision:
    for fired in active:
        if fired.rule.action == "no_retry":
            told = f": {fired.rule.description}" if fired.rule.description else ""
            return RetryDecision(False, f"rule {fired}{told}")

    def of(action: str) -> list[Rule]:
        return [fired.rule for fired in active if fired.rule.action == action]

    limit = min((int(rule.parameters["maxAttempt"]) for rule in of("limit_retry")), default=None)
    ram_mb = max((_more_memory(failure, rule, numbers) for rule in of("increase_memory")), default=0)
    seconds = max((_more_time(failure, rule, numbers) for rule in of("increase_cputime")), default=0)
    n_free = min((int(rule.parameters.get("most", numbers(FREE_ATTEMPTS))) for rule in of("free_attempt")), default=0)
    n_files = min((_fewer_files(failure, rule, numbers) for rule in of("reduce_input")), default=0)
    effects = [
        f"the attempt does not count, up to {n_free} times for each input" if n_free else "",
        f"at most {limit} attempts" if limit is not None else "",
        f"{ram_mb} MB of memory" if ram_mb else "",
        f"{seconds} s of wall time" if seconds else "",
        f"at most {n_files} input files for each job" if n_files else "",
    ]
    told = ", ".join(effect for effect in effects if effect) or "nothing is left to change"
    return RetryDecision(True, f"{_rules(active)}: {told}", limit, ram_mb, seconds, n_files, free_attempts=n_free)


def _rules(fired: Sequence[Fired]) -> str:
    return ("rule " if len(fired) == 1 else "rules ") + ", ".join(str(each) for each in fired)


def _errors(failure: FailedJob) -> list[JobError]:
    """The errors of a job; the exit code of the payload goes with what the payload said.

    Pilots report it as `trans`, and as `exe` only what a transform says of itself (pilot protocol 7.2), which few do:
    as `exe` it is either. Where the payload said nothing, there is what the pilot says of its failure.
    A payload that ended with its pilot has the exit code of the signal (143 for TERM), whatever else it may mean.
    """
    if any(error.source == "pilot" and error.code in _NOT_ITS_OWN_END for error in failure.errors):
        return [error for error in failure.errors if error.source != "exe"]
    told = [error for error in failure.errors if error.source == "exe" or says_payload_failed(error.source, error.code)]
    said = next((error.diag for error in sorted(told, key=lambda error: error.source) if error.diag), "")
    errors = [replace(error, diag=error.diag or said) if error.source == "exe" else error for error in failure.errors]
    if code := failure.trans_exit_code:
        errors += [JobError("trans", code, said)]
        errors += (
            []
            if any((error.source, error.code) == ("exe", code) for error in errors)
            else [JobError("exe", code, said)]
        )
    return errors


def _covers(rule: Rule, failure: FailedJob) -> bool:
    return rule.covers(architecture=failure.architecture, release=failure.release, work_queues=failure.work_queues)


def _is_of(rule: Rule, error: JobError) -> bool:
    return rule.source == error.source and rule.code in (None, error.code)


def _says(rule: Rule, error: JobError, seconds: float) -> bool:
    return rule.message is None or search_within(rule.message, error.diag, seconds)


def _more_memory(failure: FailedJob, rule: Rule, numbers: Numbers) -> int:
    """factor * max(asked for, used) in whole steps, up to the limit for its cores; 0 if the job had as much already."""
    cores = max(1, failure.core_count)
    had = max(failure.min_ram_count_mb, failure.used_ram_mb) or numbers(MEMORY_START) * cores
    most = rule.parameters.get("max", numbers(MEMORY_MAX)) * cores
    wanted = in_steps(rule.parameters.get("factor", numbers(MEMORY_FACTOR)) * had, numbers(MEMORY_STEP))
    more = math.ceil(min(wanted, most, MOST))
    return more if more > failure.min_ram_count_mb else 0


def _more_time(failure: FailedJob, rule: Rule, numbers: Numbers) -> int:
    """factor * max(asked for, used) in whole steps, up to the limit; 0 if the job had as much already."""
    had = max(failure.max_walltime_seconds, failure.used_walltime_seconds) or numbers(CPUTIME_START)
    most = rule.parameters.get("max", numbers(CPUTIME_MAX))
    wanted = in_steps(rule.parameters.get("factor", numbers(CPUTIME_FACTOR)) * had, numbers(CPUTIME_STEP))
    more = math.ceil(min(wanted, most, MOST))
    return more if more > failure.max_walltime_seconds else 0


def in_steps(amount: float, step: int) -> int:
    """The next multiple of a step, so that failures that are nearly alike need the same."""
    return math.ceil(amount / step) * step


def _fewer_files(failure: FailedJob, rule: Rule, numbers: Numbers) -> int:
    """The divisor-th part of its files, at least one; 0 if it had one, or none that can be divided."""
    if failure.n_input_files < 2:
        return 0
    return max(1, failure.n_input_files // int(rule.parameters.get("divisor", numbers(INPUT_DIVISOR))))
