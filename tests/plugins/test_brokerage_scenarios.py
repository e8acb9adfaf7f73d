"""Production brokerage by the scenarios in tests/scenarios: the choice, the reasons, and the changes that help."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from grid_scenarios import NOW, Scenario, edited, faults_of, read, snapshot

from bamboo.plugins.production import ProductionJobBroker
from bamboo.plugins.production.job_broker import GATES, broker
from bamboo.plugins.production.situation import Remedy
from bamboo.plugins.questions import Question
from bamboo.plugins.what_if import changed, parse

FILES = sorted((Path(__file__).parent.parent / "scenarios").glob("*.yaml"))
SCENARIOS = [scenario for path in FILES for scenario in read(path)]
each_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=str)


def surprises(scenario: Scenario) -> list[str]:
    """Where the broker does what the scenario does not expect: the gate that stopped a queue, and what would help."""
    expected, refused = scenario.data["expect"], scenario.broker().passage.refused
    wanted = dict.fromkeys(expected["chosen"], "") | (expected.get("refused") or {})
    told = []
    for name in sorted({*wanted, *refused}):
        gate, refusal = refused.get(name, ("", None))
        if gate == wanted.get(name, "no word of it"):
            continue
        said = f"stopped by the gate {gate!r} (to pass: {refusal.change})" if refusal else "let through by all gates"
        hoped = f"stopped by {wanted[name]!r}" if wanted.get(name) else "chosen" if name in wanted else "not mentioned"
        told.append(f"{name} is {said}, and expected to be {hoped}")
    return told


@each_scenario
def test_scenario(scenario: Scenario) -> None:
    task, queues, grid = snapshot(scenario.data)
    choice = ProductionJobBroker().choose_queue(task, queues, grid)
    refused = scenario.broker().passage.refused
    expected = scenario.data["expect"]
    wanted = dict.fromkeys(expected["chosen"], "chosen") | (expected.get("refused") or {})
    assert surprises(scenario) == [], f"{scenario.file}, {scenario.name!r}"
    assert {name: gate for name, (gate, _) in refused.items()} | dict.fromkeys(choice.chosen, "chosen") == wanted
    assert list(choice.chosen) == expected["chosen"]
    assert choice.pseudo_queues == expected.get("pseudo_queues", choice.pseudo_queues)
    for name, change in (expected.get("changes") or {}).items():
        assert refused[name][1].change == change
    for name, weight in (expected.get("weights") or {}).items():
        assert choice.weights[name] == pytest.approx(weight, abs=5e-5)


@each_scenario
def test_the_change_that_is_named_lets_the_queue_through(scenario: Scenario) -> None:
    """Whatever a refusal names, made on a copy of the scenario, takes the queue past that gate."""
    for name, (gate, refusal) in scenario.broker().passage.refused.items():
        assert isinstance(refusal, Remedy)
        if not refusal.edits:
            continue
        changed = broker(*snapshot(edited(scenario.data, name, refusal.edits)))
        assert changed.passage.refused.get(name, ("",))[0] != gate, (name, gate, refusal)


def typed(queue: str, what: str, value: Any) -> str:
    """A change that a gate names, as it is given to `--if`."""
    where = "" if what.startswith(("task.", "setting.")) else f"{queue}:"
    return f"{where}{what if '.' in what else f'queue.{what}'}={json.dumps(value)}"


@each_scenario
def test_the_change_that_is_named_can_be_tried_with_if(scenario: Scenario) -> None:
    """`bamboo why --if` with the change that a gate names takes the queue past that gate, and touches nothing else.

    The change is typed as its user would.
    """
    task, queues, grid = snapshot(scenario.data)
    question = Question(task, queues, grid)
    for name, (gate, refusal) in scenario.broker().passage.refused.items():
        assert isinstance(refusal, Remedy)
        if not refusal.edits:
            continue
        tried = changed(question, parse(typed(name, what, value) for what, value in refusal.edits.items()))
        after = broker(tried.task, tried.queues, tried.grid).passage.refused
        assert after.get(name, ("",))[0] != gate, (name, gate, refusal)
    assert question == Question(*snapshot(scenario.data))


def test_every_gate_has_a_scenario_in_which_it_refuses() -> None:
    seen = {gate for one in SCENARIOS for gate in (one.data["expect"].get("refused") or {}).values()}
    assert seen == {gate.name for gate in GATES}


def test_no_two_scenarios_have_the_same_name() -> None:
    names = [one.name for one in SCENARIOS]
    assert len(names) == len(set(names)) >= 25


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({"queue": {}}, "'queue' is not known here (did you mean 'queues'?)"),
        ({"queues": {"A": {"maxrs": 1}}}, "queues.A: 'maxrs' is not known here (did you mean 'maxrss'?)"),
        (
            {"queues": {"A": {"jobs": {"runing": 1}}}},
            "queues.A.jobs: 'runing' is not known here (did you mean 'running'?)",
        ),
        ({"task": {"corecount": 1}}, "task: 'corecount' is not known here (did you mean 'coreCount'?)"),
        (
            {"settings": {"NQUEUED_SATCAP": 1}},
            "settings: 'NQUEUED_SATCAP' is not known here (did you mean 'NQUEUED_SAT_CAP'?)",
        ),
        ({"links": {"A -> B": {"speed": 1}}}, "links.A -> B: 'speed' is not known here (leave it out)"),
        ({"work": "marge"}, "work: 'marge' is not known here (did you mean 'merge'?)"),
        ({"expect": {"refused": {"A": "memry"}}}, "'memry' is not known here (did you mean 'memory'?)"),
        ({"expect": {"chosen": ["B"]}}, "expect.chosen: 'B' is not known here"),
    ],
)
def test_a_misspelt_word_is_a_fault(data: dict[str, Any], fault: str) -> None:
    whole = {"scenario": "s", "queues": {"A": {}}, "expect": {"chosen": []}} | data
    (found,) = faults_of(whole, "x.yaml[0]")
    assert fault in str(found)


def test_a_wrong_expectation_names_the_gate() -> None:
    data = {
        "scenario": "s",
        "queues": {"A": {"status": "offline"}, "B": {}},
        "expect": {"chosen": ["A"], "refused": {"B": "memory"}},
    }
    assert surprises(Scenario("s", "x.yaml", data)) == [
        "A is stopped by the gate 'status' (to pass: set its status from offline to online), and expected to be chosen",
        "B is let through by all gates, and expected to be stopped by 'memory'",
    ]


def test_all_faults_are_told_at_once() -> None:
    data = {"scenario": "s", "queues": {"A": {"maxrs": 1, "statu": 2}}, "expect": {}, "tsak": {}}
    assert len(faults_of(data, "x.yaml[0]")) == 3
    assert len(faults_of("nothing", "x.yaml[0]")) == 1


def test_a_task_without_a_queue_waits_for_an_hour() -> None:
    """Manual ch. 12.1, step 5."""
    task, queues, grid = snapshot({"queues": {"A": {"status": "offline"}}, "task": {}})
    choice = ProductionJobBroker().choose_queue(task, queues, grid)
    assert (list(choice.chosen), choice.retry_seconds, grid.now) == ([], 3600, NOW)
    assert choice.why()["rejected"] == {
        "status": {"count": 1, "example": "A", "change": "set its status from offline to online"}
    }
