"""Task Withholder and Queue Filler as rules: worked by hand from manual ch. 21.1, and properties (no database)."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sizes import task_view

import bamboo
import bamboo.jedi.notifying  # declares numbers
from bamboo.core.gates import Refusal, pass_through
from bamboo.core.tunables import Numbers, Tunable, known
from bamboo.plugins.contracts import Choice, QueueView, TaskView
from bamboo.plugins.generic import job_broker
from bamboo.plugins.generic import queue_filler as filler
from bamboo.plugins.generic import task_withholder as withholder
from bamboo.plugins.generic.queue_filler import Held, fill
from bamboo.plugins.generic.queue_load import closed, is_empty, n_running, n_waiting
from bamboo.plugins.generic.task_withholder import Situation, hopeless, reasons
from bamboo.plugins.grid import Grid

NUMBERS = Numbers()
DOCS = (Path(bamboo.__file__).parent / "docs" / "watchdogs.md").read_text()


def queue(name: str, *, site: str = "HERE", waiting: int = 0, running: int = 0, **more: Any) -> QueueView:
    defaults: dict[str, Any] = {
        "storage": "DISK",
        "vo": None,
        "status": "online",
        "state": "ACTIVE",
        "type": "unified",
        "core_count": 8,
        "max_rss_mb": 16_000,
        "max_wdir_mb": 0,
        "max_time_seconds": 0,
        "attributes": {},
    }
    jobs = {"activated": waiting, "running": running}
    return QueueView(queue=name, site=site, jobs=jobs, **{**defaults, **more})


def hungry(number: int = 1, **more: Any) -> withholder.Candidate:
    """A task that the Task Withholder may withhold, if its queues are hopeless."""
    defaults: dict[str, Any] = {"label": "managed", "priority": 500, "io_intensity": 800}
    return withholder.Candidate(number, **{**defaults, "holders": frozenset({"HERE"}), **more})


def task(number: int, **more: Any) -> TaskView:
    defaults = {"vo": "atlas", "prod_source_label": "managed", "status": "ready", "current_priority": 500}
    return task_view(**{"jeditaskid": number, **defaults, "resource_type": "SCORE", "ram_count_mb": 2000, **more})


def filling(number: int, *, sites: set[str] | None = None, ready: int = 50, remaining: int = 100, **more: Any) -> Any:
    return filler.Candidate(task(number, **more), frozenset({"HERE"} if sites is None else sites), ready, remaining)


# How full queues are


@pytest.mark.parametrize(
    ("waiting", "running", "is_closed"),
    [
        (20, 0, False),  # max(20, 2 x 0) = 20 are allowed
        (21, 0, True),
        (200, 100, False),  # max(20, 2 x 100) = 200
        (201, 100, True),
    ],
)
def test_a_queue_is_too_busy_by_what_waits_for_each_running_job(waiting: int, running: int, is_closed: bool) -> None:
    assert (closed(queue("A", waiting=waiting, running=running), NUMBERS) is not None) is is_closed


@pytest.mark.parametrize(
    ("waiting", "running", "empty"),
    [
        (4, 0, True),  # max(5, 0.1 x 0) = 5
        (5, 0, False),
        (9, 100, True),  # max(5, 0.1 x 100) = 10
        (10, 100, False),
    ],
)
def test_a_queue_is_empty_by_what_waits_for_each_running_job(waiting: int, running: int, empty: bool) -> None:
    assert is_empty(queue("A", waiting=waiting, running=running), NUMBERS) is empty


@pytest.mark.parametrize("shut", [{"status": "offline"}, {"status": "brokeroff"}, {"state": "INACTIVE"}])
def test_a_queue_that_takes_no_jobs_is_neither_open_nor_empty(shut: dict[str, str]) -> None:
    refusal = closed(queue("A", **shut), NUMBERS)
    assert refusal is not None
    assert refusal.change == f"A is {next(iter(shut.values()))}: set it online"
    assert not is_empty(queue("A", **shut), NUMBERS)


def test_all_states_before_and_with_a_pilot_count() -> None:
    jobs = {"defined": 1, "assigned": 2, "activated": 4, "sent": 8, "starting": 16, "running": 32, "holding": 64}
    one = replace(queue("A"), jobs=jobs)
    assert (n_waiting(one), n_running(one)) == (7, 56)


@pytest.mark.parametrize(
    "one",
    [one for one in known() if one.component in ("task_withholder", "queue_filler", "task_timeouts", "notifier")],
    ids=lambda one: f"{one.component}.{one.key}",
)
def test_every_number_is_in_the_docs_with_its_default(one: Tunable[Any]) -> None:
    assert one.unit
    assert one.source
    assert f"| `{one.component}` | `{one.key}` | {one.default:g}" in DOCS


# Task Withholder


BUSY, OFFLINE, FREE = queue("BUSY", waiting=21), queue("OFF", status="offline"), queue("FREE", site="THERE")


def test_a_task_is_withheld_whose_inputs_are_beside_hopeless_queues_only() -> None:
    at = Situation.of([BUSY, OFFLINE, FREE], NUMBERS)
    assert hopeless([hungry()], at).left == [hungry()]
    assert reasons(hungry(), at) == {
        "passed": 0,
        "queues_beside_inputs": 2,
        "queues": ["BUSY has 21 jobs waiting: 20 are not too many", "OFF is offline: set it online"],
        "change": "BUSY has 21 jobs waiting: 20 are not too many",
    }


@pytest.mark.parametrize(
    ("changed", "gate", "change"),
    [
        ({"io_intensity": 500}, "reads much", "its ioIntensity is 500 kB/s: more than 500"),
        ({"priority": 900}, "is not urgent", "its priority is 900: lower than 900"),
        (
            {"holders": frozenset({"THERE", "HERE"})},
            "all these queues are too busy or offline",
            "FREE stops taking jobs",
        ),
        ({"is_pinned": True}, "may run anywhere", "its user names no site"),
        ({"holders": frozenset()}, "its inputs are beside queues", "its inputs are together at a site with a queue"),
        ({"holders": frozenset({"NOQUEUE"})}, "its inputs are beside queues", None),
    ],
)
def test_other_tasks_go_on(changed: dict[str, Any], gate: str, change: str | None) -> None:
    passage = hopeless([hungry(**changed)], Situation.of([BUSY, OFFLINE, FREE], NUMBERS))
    assert passage.left == []
    stopped_by, refusal = passage.refused["1"]
    assert stopped_by == gate
    assert change is None or refusal.change == change


def test_the_limits_are_those_of_the_activity() -> None:
    at = Situation.of([BUSY], NUMBERS.having(withholder.LIMIT_IOINTENSITY, 1000, "managed"))
    assert hopeless([hungry(1), hungry(2, label="test")], at).left == [hungry(2, label="test")]
    at = Situation.of([BUSY], NUMBERS.having(withholder.LIMIT_PRIORITY, 500, "managed"))
    assert hopeless([hungry(1), hungry(2, label="test")], at).left == [hungry(2, label="test")]


queues = st.builds(
    queue,
    st.sampled_from("ABCDEF"),
    site=st.sampled_from(["HERE", "THERE", "NOWHERE"]),
    waiting=st.integers(0, 60),
    running=st.integers(0, 30),
    status=st.sampled_from(["online", "offline"]),
)
grids = st.lists(queues, max_size=6, unique_by=lambda one: one.queue)


@given(grids, st.sets(st.sampled_from(["HERE", "THERE"])), st.integers(400, 600), st.integers(800, 1000))
def test_a_withheld_task_has_no_queue_that_could_take_it(
    grid: list[QueueView], holders: set[str], io: int, priority: int
) -> None:
    one = hungry(holders=frozenset(holders), io_intensity=io, priority=priority)
    beside = [there for there in grid if there.site in holders]
    could = [
        there for there in beside if there.status == "online" and n_waiting(there) <= max(20, 2 * n_running(there))
    ]
    expected = io > 500 and priority < 900 and bool(beside) and not could
    assert bool(hopeless([one], Situation.of(grid, NUMBERS)).left) is expected


# Queue Filler


def generic(task: TaskView, queue: QueueView) -> Choice:
    """The brokerage of small systems."""
    choice = job_broker.GenericJobBroker().choose_queue(task, [queue], Grid(now=datetime(2026, 1, 1, tzinfo=UTC)))
    assert choice is not None
    return choice


def test_an_empty_queue_gets_tasks_up_to_the_limit_of_each_resource_type() -> None:
    candidates = [filling(number) for number in range(1, 6)] + [filling(9, resource_type="MCORE", core_count=8)]
    plan = fill([queue("A")], candidates, [Held(77, "A", "SCORE")], NUMBERS, generic)
    assert plan.tie == {1: "A", 2: "A", 9: "A"}  # one of three is there already
    assert plan.untie == {}


@pytest.mark.parametrize(
    ("candidate", "gate"),
    [
        (filling(1, ready=49), "too few inputs are ready"),
        (filling(1, remaining=99), "too few inputs are left"),
        (filling(1, ram_count_mb=16_001), "too little memory"),
        (filling(1, core_count=9), "too few cores"),
        (filling(1, split_rule={"excludedSite": ["A"]}), "excluded by the user"),
    ],
)
def test_a_task_that_does_not_fit_is_not_tied(candidate: Any, gate: str) -> None:
    plan = fill([queue("A")], [candidate], [], NUMBERS, generic)
    assert plan.tie == {}
    assert plan.chosen["A"].refused["1"][0] == gate


def test_tasks_elsewhere_are_counted_by_the_first_gate() -> None:
    plan = fill([queue("A")], [filling(1), filling(2, sites={"THERE"}), filling(3, sites=set())], [], NUMBERS, generic)
    assert plan.tie == {1: "A"}
    (counted,) = plan.chosen["A"].why()["gates"]
    assert (counted["gate"], counted["in"], counted["out"]) == ("its inputs are elsewhere", 3, 1)
    for number, far in ((2, {"THERE"}), (3, set())):
        passage = pass_through(
            filler.GATES, filler.Situation(queue("A"), NUMBERS), [filling(number, sites=far)], lambda one: one.name
        )
        assert passage.refused[str(number)] == ("its inputs are elsewhere", Refusal("copy its inputs to HERE"))


def test_what_is_tied_is_untied_when_the_queue_has_enough_or_is_shut_or_the_task_is_over() -> None:
    full, shut, empty = queue("FULL", waiting=5), queue("SHUT", status="offline"), queue("EMPTY")
    held = [Held(1, "FULL", "S"), Held(2, "SHUT", "S"), Held(3, "EMPTY", "S"), Held(4, "EMPTY", "S", is_over=True)]
    plan = fill([full, shut, empty], [], [*held, Held(5, "GONE", "S")], NUMBERS, generic)
    assert set(plan.untie) == {1, 2, 4, 5}
    assert plan.untie[1] == "FULL is no longer empty"


def test_a_task_that_the_brokerage_refuses_there_goes_elsewhere() -> None:
    stuck = Held(1, "A", "SCORE", is_stuck=True)
    plan = fill([queue("A")], [], [stuck], NUMBERS, generic)
    assert plan.untie == {1: "the brokerage sends none of its jobs to A"}
    assert plan.refused == {1}
    refused = Held(1, "A", "SCORE", is_refused=True)
    plan = fill([queue("A"), queue("B")], [filling(1)], [refused], NUMBERS, generic)
    assert plan.tie == {1: "B"}
    assert plan.chosen["A"].refused["1"][0] == "was refused before"
    full = queue("A", waiting=5)
    assert fill([full], [filling(1)], [refused], NUMBERS, generic).untie == {
        1: "A is no longer empty"
    }  # and may come again


candidates = st.lists(
    st.builds(
        filling,
        st.integers(1, 30),
        sites=st.sets(st.sampled_from(["HERE", "THERE"])),
        ready=st.integers(45, 60),
        remaining=st.integers(95, 120),
        ram_count_mb=st.sampled_from([2000, 20_000]),
        resource_type=st.sampled_from(["SCORE", "MCORE"]),
    ),
    max_size=20,
    unique_by=lambda one: one.task.jeditaskid,
)
holding = st.lists(
    st.builds(
        Held, st.integers(31, 50), st.sampled_from("ABCDEFG"), st.sampled_from(["SCORE", "MCORE"]), st.booleans()
    ),
    max_size=8,
    unique_by=lambda one: one.jeditaskid,
)


@given(grids, candidates, holding)
def test_only_empty_queues_are_filled_with_what_fits_and_never_over_the_limit(
    grid: list[QueueView], given_tasks: list[Any], held: list[Held]
) -> None:
    plan = fill(grid, given_tasks, held, NUMBERS, generic)
    empty = {one.queue: one for one in grid if is_empty(one, NUMBERS)}
    by_id = {one.task.jeditaskid: one for one in given_tasks}
    for number, name in plan.tie.items():
        one = by_id[number]
        assert empty[name].site in one.holders
        assert one.n_ready >= 50
        assert one.n_remaining >= 100
        assert all(gate.check(one.task, empty[name]) is None for gate in job_broker.GATES)
    stay = [one for one in held if one.jeditaskid not in plan.untie]
    assert all(one.queue in empty and not one.is_over for one in stay)
    new = Counter((name, by_id[number].task.resource_type) for number, name in plan.tie.items())
    old = Counter((one.queue, one.resource_type) for one in stay)
    assert all(n <= max(0, 3 - old[place]) for place, n in new.items())
