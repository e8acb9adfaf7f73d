"""The job retry module as a function: a failure and rules make a decision (manual ch. 20)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bamboo.core.pilot_errors import ENDED_WITH_PAYLOAD, STOPPED_FROM_OUTSIDE
from bamboo.core.retry_rules import ACTIONS, Rule, parse_rule
from bamboo.core.tunables import Numbers
from bamboo.plugins.contracts import FailedJob, JobError, RetryDecision
from bamboo.plugins.generic.retry_decision import CPUTIME_FACTOR, CPUTIME_STEP, MEMORY_MAX, decide
from bamboo.sql.retry_rules import of_file

OOM = JobError("pilot", 1212, "payload ran out of memory")


def failure(*errors: JobError, **more: Any) -> FailedJob:
    return FailedJob(
        pandaid=1,
        jeditaskid=2,
        vo="wlcg",
        prod_source_label="user",
        attempt_nr=1,
        errors=errors or (OOM,),
        **more,
    )


def rule(name: str = "r", **keys: Any) -> Rule:
    return parse_rule({"name": name, "action": "no_retry", "source": "pilot", **keys})


def decided(rules: list[Rule], numbers: Numbers | None = None, **more: Any) -> RetryDecision:
    return decide(failure(**more), rules, numbers or Numbers())


@pytest.mark.parametrize(
    ("keys", "matches"),
    [
        ({}, True),
        ({"code": 1212}, True),
        ({"code": 1213}, False),
        ({"source": "exe"}, False),
        ({"message": "out of mem"}, True),  # anywhere in the text
        ({"message": "^out of mem"}, False),
        ({"code": 1212, "message": "disk"}, False),
        ({"architecture": "x86_64-*"}, True),
        ({"architecture": "aarch64*"}, False),
        ({"release": "25.0.1"}, True),
        ({"release": "25.0"}, False),
        ({"work_queue": "7"}, True),
        ({"work_queue": "reproc*"}, True),
        ({"work_queue": "8"}, False),
        ({"architecture": "x86_64-*", "release": "24.*"}, False),
    ],
)
def test_a_rule_matches_by_error_and_scope(keys: dict[str, Any], matches: bool) -> None:
    of_task = {"architecture": "x86_64-el9", "release": "25.0.1", "work_queues": ("7", "reprocessing")}
    assert decided([rule(**keys)], **of_task).retry is not matches


def test_a_scope_leaves_out_what_has_none() -> None:
    assert decided([rule(architecture="x86_64*")]).retry
    assert decided([rule(work_queue="*")]).retry


def test_any_of_the_errors_of_a_job_may_match_also_the_exit_code() -> None:
    errors = (JobError("exe", 65, "no licence"), JobError("pilot", 1305, "exit 65"))
    found = decide(failure(*errors, trans_exit_code=65), [rule(source="trans", code=65, message="licence")], Numbers())
    assert found == RetryDecision(False, "rule r (trans 65: no_retry)", rules=("r",))


def test_without_a_rule_it_is_tried_again() -> None:
    assert decided([]) == RetryDecision(True, "the failure may pass")


def test_a_passive_rule_is_only_named() -> None:
    assert decided([rule(active=False)]) == RetryDecision(True, "the failure may pass", passive=("r",))


@pytest.mark.parametrize(
    ("asked", "used", "cores", "parameters", "expected"),
    [
        (2000, 0, 1, {}, 3000),  # 1.5 * 2000
        (2000, 3000, 1, {}, 4500),  # 1.5 * 3000: it used more than it had asked for
        (0, 0, 2, {}, 6000),  # 1.5 * (2000 for each of 2 cores)
        (1001, 0, 1, {}, 2000),  # 1.5 * 1001 in steps of 500
        (2000, 0, 1, {"factor": 2}, 4000),
        (7000, 0, 1, {}, 8000),  # 10500, but at most 8000 for a core
        (7000, 0, 2, {}, 10_500),
        (7000, 0, 2, {"max": 4000}, 8000),  # at most 4000 for each of 2 cores
        (8000, 9000, 1, {}, 0),  # it had all that may be asked for
    ],
)
def test_more_memory(asked: int, used: int, cores: int, parameters: dict[str, Any], expected: int) -> None:
    given_rule = rule(action="increase_memory", parameters=parameters)
    found = decided([given_rule], min_ram_count_mb=asked, used_ram_mb=used, core_count=cores)
    assert (found.retry, found.ram_count_mb) == (True, expected)
    told = f"{expected} MB of memory" if expected else "nothing is left to change"
    assert found.why == f"rule r (pilot 1212: increase_memory): {told}"


@pytest.mark.parametrize(
    ("asked", "used", "parameters", "expected"),
    [
        (3600, 3000, {}, 5400),  # 1.5 * 3600
        (3601, 0, {}, 7200),  # 1.5 * 3601 in steps of 1800
        (0, 7200, {}, 10_800),  # 1.5 * 7200
        (0, 0, {}, 64_800),  # 1.5 * 43200
        (300_000, 0, {}, 345_600),  # 450000, but at most 4 days
        (3600, 0, {"factor": 3, "max": 7200}, 7200),
        (345_600, 0, {}, 0),
    ],
)
def test_more_wall_time(asked: int, used: int, parameters: dict[str, Any], expected: int) -> None:
    given_rule = rule(action="increase_cputime", parameters=parameters)
    found = decided([given_rule], max_walltime_seconds=asked, used_walltime_seconds=used)
    assert found.max_walltime_seconds == expected


def test_failures_that_are_nearly_alike_need_the_same() -> None:
    """Else each of many jobs that ran for too long would be a group of its own, with a round for itself."""
    rules = [rule("a", action="increase_memory"), rule("b", action="increase_cputime")]
    used = [decided(rules, used_walltime_seconds=3600 + 7 * n, used_ram_mb=2000 + n) for n in range(200)]
    assert {one.max_walltime_seconds for one in used} == {5400, 7200, 9000}
    assert {one.ram_count_mb for one in used} == {3000, 3500}


@pytest.mark.parametrize(("had", "divisor", "expected"), [(10, None, 5), (7, 2, 3), (3, 10, 1), (1, 2, 0), (0, 2, 0)])
def test_fewer_files(had: int, divisor: int | None, expected: int) -> None:
    given_rule = rule(action="reduce_input", parameters={"divisor": divisor} if divisor else {})
    assert decided([given_rule], n_input_files=had).max_files_per_job == expected


def test_the_numbers_are_settings() -> None:
    numbers = Numbers().having(MEMORY_MAX, 2500).having(CPUTIME_FACTOR, 3.0).having(CPUTIME_STEP, 31)
    rules = [rule("a", action="increase_memory"), rule("b", action="increase_cputime")]
    found = decided(rules, numbers, min_ram_count_mb=2000, max_walltime_seconds=100)
    assert (found.ram_count_mb, found.max_walltime_seconds) == (2500, 310)


def test_several_rules_take_effect_together() -> None:
    rules = [
        rule("a", action="limit_retry", parameters={"maxAttempt": 5}),
        rule("b", action="limit_retry", parameters={"maxAttempt": 2}),
        rule("c", action="increase_memory"),
        rule("d", action="increase_memory", parameters={"factor": 2}),
        rule("e", action="reduce_input"),
        rule("f", action="reduce_input", parameters={"divisor": 5}),
        rule("g", active=False),
    ]
    found = decided(rules, min_ram_count_mb=1000, n_input_files=10)
    assert (found.max_attempt, found.ram_count_mb, found.max_files_per_job) == (2, 2000, 2)
    assert (found.rules, found.passive) == (("a", "b", "c", "d", "e", "f"), ("g",))
    assert found.why.endswith(": at most 2 attempts, 2000 MB of memory, at most 2 input files for each job")
    assert not decided([*rules, rule("h")], n_input_files=10).retry


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([{}], 10),
        ([{"parameters": {"most": 3}}], 3),
        ([{}, {"parameters": {"most": 3}}], 3),
        ([{}, {"active": False, "parameters": {"most": 3}}], 10),
        ([{}, {"action": "no_retry"}], 0),
    ],
)
def test_free_attempts(rules: list[dict[str, Any]], expected: int) -> None:
    made = [rule(f"r{n}", **{"action": "free_attempt", **keys}) for n, keys in enumerate(rules)]
    assert decided(made).free_attempts == expected


def test_exit_143_of_a_payload_that_was_stopped_with_its_pilot_is_no_broken_sandbox() -> None:
    broken = [rule("broken", source="exe", code=143), rule("gone", source="trans", code=143)]
    exit_143 = JobError("exe", 143, "")
    assert not decide(failure(exit_143), broken[:1], Numbers()).retry
    for code in sorted(ENDED_WITH_PAYLOAD):
        stopped = failure(JobError("pilot", code, "stopped"), exit_143, trans_exit_code=143)
        assert decide(stopped, broken, Numbers()) == RetryDecision(True, "the failure may pass")


def test_the_exit_code_that_pilots_report_is_the_payloads() -> None:
    """`exeErrorCode` is 0 as a rule: rules for `payload` never fired."""
    failed = failure(JobError("pilot", 1305, "payload ended with exit code 65: no licence for me"), trans_exit_code=65)
    rules = [rule(name, source=name, code=65, message="licen[cs]e") for name in ("payload", "exe", "trans")]
    assert decide(failed, rules, Numbers()).rules == ("payload", "exe", "trans")
    assert decide(failed, [rule(source="payload", code=66), rule(source="exe", message="disk")], Numbers()).retry
    both = failure(JobError("exe", 7, "its report"), JobError("pilot", 1305, "exit 1"), trans_exit_code=1)
    rules = [rule("a", source="payload", code=7), rule("b", source="exe", code=1), rule("c", source="trans", code=7)]
    assert decide(both, rules, Numbers()).rules == ("a", "b")


@pytest.mark.parametrize("code", [1144, 1150, 1213, 1235])
def test_a_payload_that_its_pilot_killed_has_no_exit_code_of_its_own(code: int) -> None:
    killed = failure(JobError("pilot", code, "killed"), trans_exit_code=143)
    rules = [rule("broken", source="payload", code=143), rule("term", source="trans", code=143)]
    assert decide(killed, rules, Numbers()).rules == ()


@pytest.mark.parametrize(
    ("code", "said", "fired"),
    [
        (10, "ERROR: runGen: no command: -p is missing", ("wrong-arguments",)),
        (10, "no such table", ()),  # the payload's own 10
        (143, "ERROR: runGen: jobO.x.tar.gz cannot be unpacked: not a gzip file", ("broken-sandbox",)),
        (143, "", ()),  # TERM
        (
            146,
            "ERROR: runGen: no sandbox from http://h/cache/x: HTTP 404: it is gone from the server",
            ("sandbox-gone",),
        ),
        (146, "ERROR: runGen: no sandbox from http://h/cache/x: HTTP 503", ()),
    ],
)
def test_the_shipped_rules_know_what_the_transforms_say(code: int, said: str, fired: tuple[str, ...]) -> None:
    told = f"payload ended with exit code {code}: {said}"
    found = decide(failure(JobError("pilot", 1305, told), trans_exit_code=code), of_file(), Numbers())
    assert (found.rules, found.retry) == (fired, not fired)


def test_the_shipped_rules_charge_no_input_for_a_stop_from_outside() -> None:
    for code in sorted(STOPPED_FROM_OUTSIDE):
        stopped = failure(JobError("pilot", code, "stopped"), JobError("exe", 143, ""))
        found = decide(stopped, of_file(), Numbers())
        assert (found.retry, found.free_attempts) == (True, 10)


def test_the_shipped_rules_charge_no_input_for_a_few_failures_of_the_pilot() -> None:
    """The part of the pilot that looks after payloads was killed, and the input had one attempt less."""
    found = decide(failure(JobError("pilot", 1319, "the keeper process ended")), of_file(), Numbers())
    assert (found.retry, found.free_attempts, found.rules) == (True, 3, ("pilot-failed",))


def test_a_slow_rule_does_not_match_and_is_reported() -> None:
    slow, said = rule("slow", message="(a+)+$"), []
    job = failure(JobError("pilot", 1, "a" * 60 + "!"))
    found = decide(job, [slow, rule("quick", code=1)], Numbers(), lambda each, error: said.append(each.name))
    assert (found.rules, said) == (("quick",), ["slow"])


PARAMETERS = {"limit_retry": st.fixed_dictionaries({"maxAttempt": st.integers(1, 9)})}
RULES = st.lists(
    st.sampled_from(sorted(ACTIONS)).flatmap(
        lambda action: st.tuples(st.just(action), PARAMETERS.get(action, st.just({})), st.booleans())
    ),
    max_size=6,
)


@given(RULES, st.integers(0, 20_000), st.integers(0, 400_000), st.integers(0, 50), st.randoms())
def test_the_order_of_rules_does_not_matter_and_nothing_gets_worse(
    drawn: list[Any], ram_mb: int, seconds: int, n_files: int, shuffled: Any
) -> None:
    rules = [
        rule(f"r{number}", action=action, parameters=parameters, active=active)
        for number, (action, parameters, active) in enumerate(drawn)
    ]
    job = {"min_ram_count_mb": ram_mb, "max_walltime_seconds": seconds, "n_input_files": n_files}
    found = decided(rules, **job)
    shuffled.shuffle(rules)
    other = decided(rules, **job)

    def effects(one: RetryDecision) -> tuple[Any, ...]:
        numbers = (one.ram_count_mb, one.max_walltime_seconds, one.max_files_per_job, one.free_attempts)
        return (one.retry, one.max_attempt, *numbers)

    assert effects(found) == effects(other)
    assert set(found.rules) == {each.name for each in rules if each.active}
    assert set(found.passive) == {each.name for each in rules if not each.active}
    assert found.retry is not any(each.active and each.action == "no_retry" for each in rules)
    assert found.ram_count_mb == 0 or found.ram_count_mb > ram_mb
    assert found.max_walltime_seconds == 0 or found.max_walltime_seconds > seconds
    assert found.max_files_per_job == 0 or found.max_files_per_job < n_files
