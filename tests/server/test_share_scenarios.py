"""Global shares by the scenarios in tests/scenarios/shares: whose turn it is, why, and which job a pilot gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from scenario_files import Entry, on_page
from share_scenarios import faults_of, play, read

from bamboo.core.clock import ManualClock

FILES = sorted((Path(__file__).parent.parent / "scenarios" / "shares").glob("*.yaml"))
PAGE = Path(__file__).parent.parent.parent / "docs" / "shares.md"
SCENARIOS = [scenario for path in FILES for scenario in read(path)] + on_page(PAGE, faults_of)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_scenario(scenario: Entry, engine: sa.Engine, clock: ManualClock) -> None:
    served, expected = play(scenario.data, engine, clock), scenario.expect
    assert list(served.turns.order) == expected["order"]
    assert served.share == expected["chosen"]
    assert served.job == expected.get("job", served.job)
    for share, cores in (expected.get("targets") or {}).items():
        assert served.targets[share] == pytest.approx(cores, abs=0.05), share
    reasons = {row["share"]: row["missing_percent"] for row in served.turns.why()["order"]}
    for share, percent in (expected.get("missing_percent") or {}).items():
        assert reasons[share] == percent, share
    for share, gate in (expected.get("without_turn") or {}).items():
        assert served.turns.passage.refused[share][0] == gate


def test_there_are_enough_and_no_two_have_the_same_name() -> None:
    names = [one.name for one in SCENARIOS]
    assert len(names) == len(set(names)) >= 8


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({"share": {}}, "'share' is not known here (did you mean 'shares'?)"),
        ({"shares": {"mc": {"valu": 1}}}, "shares.mc: 'valu' is not known here (did you mean 'value'?)"),
        ({"shares": {"mc": {"parent": "nobody"}}}, "shares: 'nobody' is not known here"),
        ({"running": {"mcc": 1}}, "running: 'mcc' is not known here (did you mean 'mc'?)"),
        ({"jobs": {"a": {"share": "mc", "prio": 1}}}, "jobs.a: 'prio' is not known here (did you mean 'priority'?)"),
        ({"pilot": {"memory": 1}}, "pilot: 'memory' is not known here (did you mean 'memory_mb'?)"),
        ({"expect": {"job": "b"}}, "expect.job: 'b' is not known here"),
        ({"expect": {"order": ["cm"]}}, "expect.order: 'cm' is not known here"),
    ],
)
def test_a_misspelt_word_is_a_fault(data: dict[str, Any], fault: str) -> None:
    whole = {"scenario": "s", "shares": {"mc": {"value": 1}}, "jobs": {"a": {"share": "mc"}}, "expect": {}} | data
    (found,) = faults_of(whole, "x.yaml[0]")
    assert fault in str(found)


def test_all_faults_are_told_at_once() -> None:
    data = {"scenario": "s", "shares": {"mc": {"valu": 1}}, "queud": {}, "expect": {"choosen": "mc"}}
    assert len(faults_of(data, "x.yaml[0]")) == 3
    assert len(faults_of("nothing", "x.yaml[0]")) == 1
