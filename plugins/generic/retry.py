"""The job retry module (manual ch. 20): asks rules of a file and of the database about each failure."""

from __future__ import annotations

import logging
from datetime import datetime

from ...core.bounded_match import TooSlow
from ...core.retry_rules import Rule, overlaid
from ...sql import retry_rules
from ...sql.engine import reading
from ...sql.settings import REFRESH_SECONDS
from ..contracts import FailedJob, PluginContext, RetryDecision
from ..hookspecs import hookimpl
from .retry_decision import decide

log = logging.getLogger(__name__)


class RetryRules:
    """Tries again after any failure that no rule is about; the task's `maxAttempt` bounds it.

    The file is read once, all its faults being told at once; the database is asked again after some seconds.
    """

    def __init__(self, context: PluginContext) -> None:
        self._context = context
        self._of_file = retry_rules.of_file(context.settings.retry.rules_file)
        self._rules: list[Rule] = []
        self._read_at: datetime | None = None
        self._set_aside: set[tuple[str, str]] = set()  # names and patterns of rules that were too slow

    @hookimpl
    def retry_input(self, failure: FailedJob) -> RetryDecision | None:
        rules = [rule for rule in self._in_force() if _name_and_pattern(rule) not in self._set_aside]
        decision = decide(failure, rules, self._context.numbers(failure.vo), self._put_aside)
        for name in decision.passive:
            log.info(
                "passive rule would have fired",
                extra={"event": "retry_rule_passive", "rule": name, "pandaid": failure.pandaid},
            )
        return decision

    def _in_force(self) -> list[Rule]:
        now = self._context.clock()
        seconds = self._context.numbers(None)(REFRESH_SECONDS)
        if self._read_at is None or (now - self._read_at).total_seconds() >= seconds:
            with reading(self._context.engine) as tx:
                self._rules = overlaid(self._of_file, retry_rules.list_rules(tx))
            self._read_at = now
        return self._rules

    def _put_aside(self, rule: Rule, slow: TooSlow) -> None:
        """Use a rule that was too slow no more, until somebody changes it: the next failure may be alike."""
        self._set_aside.add(_name_and_pattern(rule))
        extra = {"event": "retry_rule_slow", "rule": rule.name, "why": str(slow)}
        log.warning("retry rule is too slow and is set aside", extra=extra)


def _name_and_pattern(rule: Rule) -> tuple[str, str]:
    return rule.name, rule.message.pattern if rule.message else ""
