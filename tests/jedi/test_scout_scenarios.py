"""Scouts by the scenarios in tests/scenarios/scouts: what their figures make of a task, or why it is exhausted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scenario_files import Entry, on_page
from scout_scenarios import COLUMNS, faults_of, play, read

from bamboo.jedi.scouts.exhaustion import DETECTORS

FILES = sorted((Path(__file__).parent.parent / "scenarios" / "scouts").glob("*.yaml"))
PAGE = Path(__file__).parent.parent.parent / "docs" / "scouts.md"
SCENARIOS = [scenario for path in FILES for scenario in read(path)] + on_page(PAGE, faults_of)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_scenario(scenario: Entry) -> None:
    measured, expected = play(scenario.data), scenario.expect
    new = expected.get("set") or {}
    assert {key: measured.new.get(key) for key in new} == pytest.approx(new)
    assert measured.exhausted == (expected.get("exhausted") or {})
    for key, reason in (expected.get("kept") or {}).items():
        assert (key in measured.new, measured.why[key]["kept"]) == (False, reason)
    for key in expected.get("not_set") or ():
        assert key not in measured.new
    for key, job in (expected.get("from") or {}).items():
        assert measured.source[key] == job
    for key, n_jobs in (expected.get("counted") or {}).items():
        assert measured.why[key]["jobs"] == n_jobs


def test_every_figure_and_every_detector_has_a_scenario() -> None:
    assert {key for one in SCENARIOS for key in one.expect.get("set") or ()} == set(COLUMNS)
    told = {name for one in SCENARIOS for name in one.expect.get("exhausted") or ()}
    assert told == {gate.name for gate in DETECTORS}
    names = [one.name for one in SCENARIOS]
    assert len(names) == len(set(names)) >= 10


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({"tsak": {}}, "'tsak' is not known here (did you mean 'task'?)"),
        ({"task": {"ramcount": 1}}, "task: 'ramcount' is not known here (did you mean 'ramCount'?)"),
        ({"jobs": {"a": {"second": 1}}}, "jobs.a: 'second' is not known here (did you mean 'seconds'?)"),
        ({"each": {"core": 1}}, "each: 'core' is not known here (did you mean 'cores'?)"),
        ({"settings": {"SCOUT_RAMCOUNT_MN": 1}}, "settings: 'SCOUT_RAMCOUNT_MN' is not known here (did you mean"),
        ({"expect": {"set": {"cputime": 1}}}, "expect.set: 'cputime' is not known here (did you mean 'cpuTime'?)"),
        ({"expect": {"from": {"cpuTime": "b"}}}, "expect.from: 'b' is not known here"),
        ({"expect": {"exhausted": {"leak": ""}}}, "expect.exhausted: 'leak' is not known here"),
    ],
)
def test_a_misspelt_word_is_a_fault(data: dict[str, Any], fault: str) -> None:
    whole = {"scenario": "s", "jobs": {"a": {}}, "expect": {}} | data
    (found,) = faults_of(whole, "x.yaml[0]")
    assert fault in str(found)


def test_a_setting_of_an_activity_is_known() -> None:
    data = {"scenario": "s", "jobs": {"a": {}}, "settings": {"SCOUT_SHORT_EXECTIME_user": 1}, "expect": {}}
    assert faults_of(data, "x.yaml[0]") == []
    assert len(faults_of({**data, "task": {"x": 1}, "each": {"y": 1}}, "x.yaml[0]")) == 2
    assert len(faults_of([], "x.yaml[0]")) == 1
