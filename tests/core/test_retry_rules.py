"""Retry rules as they are written: what is accepted, and everything that is wrong, told at once."""

from __future__ import annotations

import re
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from bamboo.core.bounded_match import MESSAGE_CHARACTERS, TooSlow, search_within, slow_message
from bamboo.core.errors import Invalid
from bamboo.core.pilot_errors import ENDED_WITH_PAYLOAD
from bamboo.core.retry_rules import ACTIONS, KEYS, SOURCES, overlaid, parse_rule, read_rules
from bamboo.sql.retry_rules import SHIPPED_FILE
from bamboo.sql.tables import ERROR_SOURCES

PLAIN: dict[str, Any] = {"name": "r", "action": "no_retry", "source": "pilot"}


def faults(**changes: Any) -> list[str]:
    with pytest.raises(Invalid) as caught:
        parse_rule({**PLAIN, **changes}, probe=True)
    return [f"{fault.where}: {fault.what} ({fault.do})" for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("written", "source"),
    [
        ("pilot", "pilot"),
        ("pilotErrorCode", "pilot"),
        ("payload", "exe"),
        ("exeErrorCode", "exe"),
        ("transExitCode", "trans"),
        ("job dispatcher", "job_dispatcher"),
        ("jobDispatcherErrorCode", "job_dispatcher"),
        ("task buffer", "task_buffer"),
        ("taskBufferErrorCode", "task_buffer"),
        ("supErrorCode", "sup"),
    ],
)
def test_sources_go_by_our_words_the_manuals_and_pandas(written: str, source: str) -> None:
    assert parse_rule({**PLAIN, "source": written}).source == source


def test_sources_are_those_that_jobs_have() -> None:
    assert (*ERROR_SOURCES, "trans") == SOURCES


def test_actions_go_by_the_words_of_the_manual() -> None:
    for written, action in (("increase memory", "increase_memory"), ("increase CPU time", "increase_cputime")):
        assert parse_rule({**PLAIN, "action": written}).action == action
    assert parse_rule({**PLAIN, "action": "reduce_input_per_job"}).action == "reduce_input"


def test_a_rule_may_say_everything() -> None:
    whole = {
        **PLAIN,
        "action": "limit_retry",
        "code": 1099,
        "message": "no such file",
        "parameters": {"maxAttempt": 2},
        "active": False,
        "architecture": "x86_64-*",
        "release": "25.*",
        "work_queue": "7",
        "description": "why",
    }
    assert set(whole) == set(KEYS)
    rule = parse_rule(whole, origin="here")
    assert rule.as_row() == {**whole, "origin": "here"}
    assert parse_rule({key: rule.as_row()[key] for key in KEYS}) == rule


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"action": "no_retri"}, "the rule action: 'no_retri' is no action (did you mean 'no_retry'?)"),
        ({"source": "pilto"}, "the rule source: 'pilto' is no source of errors (did you mean 'pilot'?)"),
        ({"code": "10"}, "the rule code: '10' is no number (leave it out for any code)"),
        ({"code": True}, "the rule code: True is no number (leave it out for any code)"),
        ({"nam": "x"}, "the rule: unknown key 'nam' (did you mean 'name'?)"),
        ({"name": ""}, "the rule name: '' is no name (letters, digits, dots, dashes, underscores)"),
        ({"name": 5}, "the rule name: 5 is no text (put it in quotes)"),
        ({"active": "yes"}, "the rule active: 'yes' is neither true nor false (leave it out for true)"),
        ({"message": "("}, "the rule message: is no regular expression: missing ), unterminated subpattern at "),
        ({"message": "(a+)+$"}, "the rule message: takes more than 0.1 s over one message (avoid "),
        ({"message": "x" * 501}, "the rule message: is too long (at most 500 characters)"),
        ({"action": "limit_retry"}, "the rule parameters: limit_retry needs maxAttempt (such as { maxAttempt = 2 })"),
        ({"parameters": {"maxAttempt": 2}}, "the rule parameters: no_retry has no 'maxAttempt' (it has no parameters)"),
        ({"parameters": [1]}, "the rule parameters: [1] is no table (such as { maxAttempt = 2 })"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(changes: dict[str, Any], told: str) -> None:
    (fault,) = faults(**changes)
    assert fault.startswith(told)


@pytest.mark.parametrize("value", [0, 1.5, "2", True, float("inf"), float("nan"), 51])
def test_a_number_of_a_parameter_must_make_sense(value: object) -> None:
    (fault,) = faults(action="limit_retry", parameters={"maxAttempt": value})
    assert fault.startswith(f"the rule parameters maxAttempt: {value!r} is no whole number from 1 to 50")


def test_no_rule_raises_anything_without_end() -> None:
    """A rule could ask for a million gigabytes, and its inputs waited for such a queue for ever."""
    much, otherwise = {"factor": 10.5, "max": 262_145}, "(without it the setting holds)"
    assert faults(action="increase_memory", parameters=much) == [
        f"the rule parameters factor: 10.5 is no number from 1 to 10 {otherwise}",
        f"the rule parameters max: 262145 is no whole number from 1 to 262144 MB per core {otherwise}",
    ]
    assert faults(action="increase_cputime", parameters={"factor": 0.9, "max": 31_536_001}) == [
        f"the rule parameters factor: 0.9 is no number from 1 to 10 {otherwise}",
        f"the rule parameters max: 31536001 is no whole number from 1 to 31536000 s {otherwise}",
    ]
    for action in ACTIONS.values():
        for bound in ("least", "most"):
            parameters = {key: getattr(one, bound) for key, one in action.parameters.items()}
            assert parse_rule({**PLAIN, "action": action.name, "parameters": parameters}).parameters == parameters


def test_all_faults_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(
        'version = 2\nrules = 1\n[[rule]]\nname = "a"\naction = "x"\nsource = "y"\n'
        '[[rule]]\nname = "a"\naction = "no_retry"\nsource = "exe"\nmessage = "["\n'
    )
    with pytest.raises(Invalid) as caught:
        read_rules(path)
    where = [fault.where.removeprefix(f"{path}").strip() for fault in caught.value.faults]
    assert where == ["", "version", "rule 1 (a) action", "rule 1 (a) source", "rule 2 (a) message", "rule 2"]


@pytest.mark.parametrize("text", ["version = ", "version = 1\nrule = 5\n", "version = 1\nrule = [1]\n", "\x00"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(Invalid, match=r"correct the file|begin each rule"):
        read_rules(path)
    with pytest.raises(Invalid, match="correct the file"):
        read_rules(tmp_path / "there-is-none.toml")


def test_the_shipped_file_can_be_used() -> None:
    rules = read_rules(SHIPPED_FILE)
    assert {rule.action for rule in rules} == set(ACTIONS)
    active = [rule for rule in rules if rule.active]
    assert {rule.name for rule in active if rule.action == "no_retry"} == {
        "wrong-arguments",
        "broken-sandbox",
        "sandbox-gone",
    }
    assert {rule.code for rule in active if rule.action == "free_attempt"} == ENDED_WITH_PAYLOAD
    assert {rule.action for rule in active} == {"no_retry", "free_attempt"}
    assert all(rule.description and rule.code is not None for rule in rules)


def test_the_database_goes_over_the_file() -> None:
    below = [parse_rule({**PLAIN, "name": name}) for name in ("b", "a")]
    above = [parse_rule({**PLAIN, "name": "b", "active": False}), parse_rule({**PLAIN, "name": "c"})]
    assert [(rule.name, rule.active) for rule in overlaid(below, above)] == [("a", True), ("b", False), ("c", True)]


def test_a_pattern_that_would_take_for_ever_is_stopped() -> None:
    """40 letters take 2^40 steps. What was to be done at an alarm is as before."""
    before = signal.getsignal(signal.SIGVTALRM)
    with pytest.raises(TooSlow, match=r"took more than 0\.01 seconds"):
        search_within(re.compile("(a+)+$"), "a" * 40 + "!", 0.01)
    assert signal.getsignal(signal.SIGVTALRM) is before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_no_more_of_a_message_is_looked_at_than_is_kept() -> None:
    assert search_within(re.compile("b"), "a" * (MESSAGE_CHARACTERS - 1) + "b", 1)
    assert not search_within(re.compile("b"), "a" * MESSAGE_CHARACTERS + "b", 1)


def test_matching_works_in_any_thread() -> None:
    found = []
    thread = threading.Thread(target=lambda: found.append(search_within(re.compile("b"), "abc", 1)))
    thread.start()
    thread.join()
    assert found == [True]


@pytest.mark.parametrize("pattern", [r"(a|a)*b", r"(.*a){12}b", r".*a.*a.*a.*b", r"(\w+\s?)+:", r"([a-z]+)*X"])
def test_slow_patterns_are_found_out(pattern: str) -> None:
    assert slow_message(re.compile(pattern, re.DOTALL), 0.05) is not None


@pytest.mark.parametrize(
    "pattern", [r"No space left on device", r".*foo.*bar.*", r"^exit code \d+$", r"(disk|quota) full"]
)
def test_usual_patterns_are_not(pattern: str) -> None:
    assert slow_message(re.compile(pattern, re.DOTALL), 30) is None
