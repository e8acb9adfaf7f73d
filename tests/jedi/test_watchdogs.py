"""The watchdogs of manual ch. 21 on real databases: configured as PanDA does, with agents and an injected clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.core.selectors import parse_mod_config, parse_proc_config
from bamboo.core.settings import Settings
from bamboo.core.states import JobState, TaskState
from bamboo.jedi.agents import ContentsFeeder, JobGenerator, TaskEnder, TaskRefiner, WatchDog
from bamboo.jedi.agents.watch_dog import Missions
from bamboo.jedi.master import _periods
from bamboo.plugins.contracts import Choice, QueueView, TaskView
from bamboo.plugins.hookspecs import hookimpl
from bamboo.plugins.manager import only_built_in
from bamboo.sql import locality, preassignments, queues, settings
from bamboo.sql import tables as t
from bamboo.tests.jedi.rounds import Jedi, on_both_databases, reads

#: The lines of the manual's ch. 21.1, with both of its separators.
NAMES = ("DataLocalityUpdater", "TaskWithholder", "QueueFiller")
MOD_CONFIG = ", ".join(
    f"atlas:managed:pandajedi.jedidog.Atlas{name}WatchDog:Atlas{name}WatchDog:{name}" for name in NAMES
)
PROC_CONFIG = "::1;" + ";".join(
    f"atlas:managed:1:{name}:{period}" for name, period in zip(NAMES, (43200, 1800, 600), strict=True)
)
DOGS = {"modConfig": MOD_CONFIG, "procConfig": PROC_CONFIG}


def configured(*names: str) -> dict[str, str]:
    """The lines of some of them alone."""
    return {
        "modConfig": ",".join(line for line in MOD_CONFIG.split(",") if line.rpartition(":")[2] in names),
        "procConfig": PROC_CONFIG,
    }


@pytest.fixture
def grid(request: pytest.FixtureRequest, make_jedi: Callable[..., Jedi]) -> Jedi:
    """Two queues, each beside a storage, and a dataset of 120 files at the first."""
    return two_queues(make_jedi(watchdog=configured(*getattr(request, "param", NAMES))))


def two_queues(jedi: Jedi) -> Jedi:
    with jedi.engine.begin() as tx:
        for name in ("NEAR", "FAR"):
            queues.set_storage(tx, f"{name}_DISK", site=name, endpoint="file://localhost", path=f"/{name.lower()}")
    for name in ("NEAR", "FAR"):
        jedi.queue(name, site=name, storage=f"{name}_DISK")
    for n in range(120):
        jedi.store("mc.in", f"f{n:03}", url=f"file:///near/f{n:03}")
    return jedi


def submit(jedi: Jedi, *, dataset: str = "mc.in", **columns: Any) -> int:
    """A production task whose inputs are known."""
    number = jedi.submit(reads(dataset), vo="atlas", label="managed", nFilesPerJob=1, skipScout=True)
    jedi.run(TaskRefiner, ContentsFeeder)
    if columns:
        jedi.set(**columns)
    return number


def known(jedi: Jedi) -> list[tuple[str, int, int]]:
    with jedi.engine.connect() as tx:
        return [(row.storage, row.n_files, row.size_bytes) for row in locality.of_task(tx, jedi.jeditaskid)]


def tied(jedi: Jedi) -> dict[int, str]:
    with jedi.engine.connect() as tx:
        return {row.jeditaskid: row.queue for row in preassignments.every(tx, []) if not row.is_refused}


# How they are configured


def test_pandas_lines_name_ours_and_their_periods(make_jedi: Callable[..., Jedi]) -> None:
    jedi = make_jedi(watchdog=DOGS)
    missions = {mission.name: mission for _, mission, _ in jedi.plugins.missions()}
    assert {name: missions[name].period_seconds for name in NAMES} == {
        "DataLocalityUpdater": 43200,
        "TaskWithholder": 1800,
        "QueueFiller": 600,
    }
    assert {(mission.vos, mission.labels) for name, mission in missions.items() if name in NAMES} == {
        (frozenset({"atlas"}), frozenset({"managed"}))
    }
    assert missions["TaskTimeouts"].period_seconds is None
    assert only_built_in(jedi.settings)


def test_nothing_is_located_withheld_or_filled_unless_it_is_configured(jedi: Jedi) -> None:
    assert [mission.name for _, mission, _ in jedi.plugins.missions()] == ["TaskTimeouts"]


def test_named_entries_are_further_processes_for_missions() -> None:
    asked = Settings(watchdog=DOGS, master={"period_seconds": 5})  # type: ignore[arg-type]
    assert _periods(asked, "watchdog", TaskEnder) == [5]
    assert _periods(asked, "watchdog", WatchDog) == [5, 5, 5, 5]
    only_named = Settings(watchdog={"procConfig": "atlas:managed:2:QueueFiller:600"})  # type: ignore[arg-type]
    assert _periods(only_named, "watchdog", TaskEnder) == [5]
    assert _periods(only_named, "watchdog", WatchDog) == [5, 5, 5]


def test_entries_may_be_separated_by_semicolons() -> None:
    assert parse_proc_config("::1;atlas:managed:1:A:600;") == parse_proc_config("::1, atlas:managed:1:A:600")
    assert [entry.name for entry in parse_mod_config("a:b:m:C:x ; a:b:m:D:y")] == ["x", "y"]


def test_each_mission_keeps_its_own_period_over_all_processes(grid: Jedi, clock: ManualClock) -> None:
    submit(grid)
    here, there = WatchDog(grid.context), WatchDog(grid.context)
    assert here.run_once().plugin_counts == 2  # one dataset located, one task tied
    assert there.run_once() == Missions()
    assert here.due_at(clock()) == clock() + timedelta(seconds=10)
    with grid.engine.begin() as tx:
        tx.execute(sa.delete(t.dataset_locality))
    clock.advance(seconds=43199)
    there.run_once()
    assert known(grid) == []
    clock.advance(seconds=1)
    there.run_once()
    assert known(grid) == [("NEAR_DISK", 120, 600)]


# Task timeouts


@on_both_databases
def test_a_task_that_nobody_decides_about_is_finished(jedi: Jedi, clock: ManualClock) -> None:
    jedi.queue()
    jedi.store("user.alice.in", "f1", "f2")
    jedi.submit(nFilesPerJob=1)
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    (done,) = jedi.move(jedi.claim(1), JobState.RUNNING, JobState.HOLDING)
    jedi.book([done])
    jedi.set(status=TaskState.PENDING, old_status="running", error_dialog="no queue fits", state_changed_at=clock())
    clock.advance(hours=24 * 14, seconds=1)
    jedi.run(WatchDog)
    assert jedi.last_line().why == "waited longer than 14 days, 0:00:00: no queue fits"
    clock.advance(hours=24 * 30)
    jedi.run(WatchDog)
    assert jedi.task().status == "exhausted"
    clock.advance(seconds=11)
    jedi.run(WatchDog)
    assert (jedi.task().status, jedi.last_line().why) == (
        "finishing",
        "nobody decided within 30 days, 0:00:00: no queue fits",
    )


def test_the_hours_may_be_those_of_an_organisation_and_activity(jedi: Jedi, clock: ManualClock) -> None:
    with jedi.engine.begin() as tx:
        settings.set_value(tx, "task_timeouts", "HOURS_pending_user", "jedi", "2", kind="float", now=clock(), vo="wlcg")
    mine = jedi.submit()
    jedi.set(status=TaskState.PENDING, old_status="ready")
    jedi.submit(label="managed")
    jedi.set(status=TaskState.PENDING, old_status="ready")
    clock.advance(hours=2, seconds=1)
    jedi.run(WatchDog)
    assert jedi.task().status == "pending"
    jedi.jeditaskid = mine
    assert jedi.task().status == "exhausted"


# Data Locality Updater


@on_both_databases
@pytest.mark.parametrize("grid", [("DataLocalityUpdater",)], indirect=True)
def test_where_inputs_are_is_noted_and_forgotten_with_the_task(grid: Jedi, clock: ManualClock) -> None:
    grid.store("mc.in", "g", url="file://localhost/far/g")
    submit(grid)
    others = grid.submit(reads("mc.in"), vo="other", label="managed")
    grid.run(TaskRefiner, ContentsFeeder, WatchDog)
    assert known(grid) == []  # another organisation's
    grid.jeditaskid = others - 1
    assert known(grid) == [("FAR_DISK", 1, 5), ("NEAR_DISK", 120, 600)]
    grid.store("mc.in", "h", url="file:///far/h")
    clock.advance(hours=12)
    grid.run(WatchDog)
    assert known(grid) == [("FAR_DISK", 2, 10), ("NEAR_DISK", 120, 600)]
    grid.command("kill")
    grid.run(TaskEnder)
    clock.advance(hours=12)
    grid.run(WatchDog)
    assert known(grid) == []


@pytest.mark.parametrize("grid", [("DataLocalityUpdater",)], indirect=True)
def test_a_dataset_that_cannot_be_located_keeps_what_was_known(grid: Jedi, clock: ManualClock) -> None:
    first = submit(grid)
    grid.run(WatchDog)
    with grid.engine.begin() as tx:
        tx.execute(sa.delete(t.catalogue_datasets))
    grid.store("mc.more", "m", url="file:///far/m")
    submit(grid, dataset="mc.more")
    clock.advance(hours=12)
    assert grid.run(WatchDog)[0].plugin_errors == 0
    assert known(grid) == [("FAR_DISK", 1, 5)]
    grid.jeditaskid = first
    assert known(grid) == [("NEAR_DISK", 120, 600)]


# Task Withholder


@on_both_databases
@pytest.mark.parametrize("grid", [("DataLocalityUpdater", "TaskWithholder")], indirect=True)
def test_a_hopeless_task_waits_and_comes_back(grid: Jedi, clock: ManualClock) -> None:
    grid.queue("NEAR", storage="NEAR_DISK", status="offline")
    submit(grid, io_intensity=800, current_priority=500)
    grid.run(WatchDog)
    assert (grid.task().status, grid.task().old_status) == ("pending", "ready")
    assert grid.task().error_dialog == (
        "withheld: 1 queues beside its inputs are too busy or offline; NEAR is offline: set it online"
    )
    assert [(line.actor, line.what, line.why["change"]) for line in grid.decided()] == [
        ("task_withholder", "withheld", "NEAR is offline: set it online")
    ]
    grid.queue("NEAR", storage="NEAR_DISK", status="online")
    clock.advance(seconds=1799)
    grid.run(JobGenerator)
    assert grid.task().status == "pending"
    clock.advance(seconds=1)
    grid.run(JobGenerator)
    assert grid.task().status == "running"


@pytest.mark.parametrize("grid", [("DataLocalityUpdater", "TaskWithholder")], indirect=True)
@pytest.mark.parametrize("columns", [{"io_intensity": 400}, {"current_priority": 950}, {}])
def test_tasks_that_read_little_or_are_urgent_are_not_withheld(grid: Jedi, columns: dict[str, Any]) -> None:
    if columns:
        grid.queue("NEAR", storage="NEAR_DISK", status="offline")
    submit(grid, **{"io_intensity": 800, "current_priority": 500, **columns})
    grid.run(WatchDog)
    assert grid.task().status == "ready"


@pytest.mark.parametrize("grid", [("DataLocalityUpdater", "TaskWithholder")], indirect=True)
def test_the_limits_are_settings_of_the_organisation(grid: Jedi) -> None:
    grid.queue("NEAR", storage="NEAR_DISK", status="offline")
    submit(grid, io_intensity=400, current_priority=500)
    with grid.engine.begin() as tx:
        settings.set_value(
            tx,
            "task_withholder",
            "LIMIT_IOINTENSITY_managed",
            "jedi",
            "300",
            kind="int",
            now=grid.clock(),
            vo="atlas",
        )
    grid.run(WatchDog)
    assert grid.task().status == "pending"


@pytest.mark.parametrize("grid", [("DataLocalityUpdater", "TaskWithholder")], indirect=True)
def test_a_task_that_an_agent_holds_is_left_to_it(grid: Jedi) -> None:
    grid.queue("NEAR", storage="NEAR_DISK", status="offline")
    submit(grid, io_intensity=800, current_priority=500)
    JobGenerator(grid.context)._take(1)
    grid.run(WatchDog)
    assert grid.task().status == "ready"


# Queue Filler


@on_both_databases
@pytest.mark.parametrize("grid", [("DataLocalityUpdater", "QueueFiller")], indirect=True)
def test_an_empty_queue_is_filled_until_it_is_not_empty(grid: Jedi, clock: ManualClock) -> None:
    number = submit(grid)
    grid.run(WatchDog)
    assert tied(grid) == {number: "NEAR"}
    assert grid.task().site == "NEAR"
    assert grid.decided()[0].what == "pre-assigned to NEAR, which is empty"
    grid.run(JobGenerator)
    assert {job.queue for job in grid.jobs().values()} == {"NEAR"}
    grid.count_jobs()
    clock.advance(seconds=600)
    grid.run(WatchDog)
    assert tied(grid) == {}
    assert grid.task().site is None
    assert grid.decided()[0].why == {"because": "NEAR is no longer empty"}


@pytest.mark.parametrize("grid", [("DataLocalityUpdater", "QueueFiller")], indirect=True)
def test_a_site_that_the_owner_named_meanwhile_stays(grid: Jedi, clock: ManualClock) -> None:
    submit(grid)
    grid.run(WatchDog)
    grid.set(site="FAR")
    clock.advance(seconds=600)
    grid.run(WatchDog)
    assert tied(grid) == {}
    assert grid.task().site == "FAR"


@pytest.mark.parametrize("grid", [("DataLocalityUpdater", "QueueFiller")], indirect=True)
@pytest.mark.parametrize("columns", [{"site": "FAR"}, {"ram_count_mb": 3000}, {"status": TaskState.PAUSED}])
def test_tasks_that_are_tied_do_not_fit_or_pause_are_left_alone(grid: Jedi, columns: dict[str, Any]) -> None:
    grid.queue("NEAR", storage="NEAR_DISK", maxrss=2000)
    submit(grid, **columns)
    grid.run(WatchDog)
    assert tied(grid) == {}
    assert grid.task().site == columns.get("site")


@pytest.mark.parametrize(("capability", "expected"), [("ucore", 1), ("mcore", 0)])
def test_the_brokerage_that_is_configured_is_asked(
    make_jedi: Callable[..., Jedi], capability: str, expected: int
) -> None:
    """The production broker sends no task of one core to a queue for eight; the generic one does."""
    broker = {"modConfig": "::bamboo.plugins.production:ProductionJobBroker"}
    names = configured("DataLocalityUpdater", "QueueFiller")
    jedi = two_queues(make_jedi(watchdog=names, jobbroker=broker))
    jedi.queue("NEAR", storage="NEAR_DISK", corecount=8, capability=capability)
    submit(jedi)
    jedi.run(WatchDog)
    assert len(tied(jedi)) == expected


class Picky:
    """A brokerage that would send everything to FAR, and nothing that asks for NEAR by name."""

    @hookimpl
    def choose_queue(self, task: TaskView, queues: Sequence[QueueView]) -> Choice:
        names = [] if task.site == "NEAR" else sorted(queue.queue for queue in queues)
        return Choice(names, weights={name: 1.0 if name == "FAR" else 1e-6 for name in names})


@on_both_databases
def test_a_task_does_not_wait_at_a_queue_that_the_brokerage_does_not_want(
    make_jedi: Callable[..., Jedi], strangers: Callable[[type], str], clock: ManualClock
) -> None:
    names = configured("DataLocalityUpdater", "QueueFiller")
    jedi = two_queues(make_jedi(watchdog=names, jobbroker={"modConfig": f"::{strangers(Picky)}"}))
    number = submit(jedi)
    jedi.run(WatchDog, JobGenerator)
    assert tied(jedi) == {number: "NEAR"}
    assert jedi.task().status == "pending"
    clock.advance(seconds=600)
    jedi.run(WatchDog)
    assert tied(jedi) == {}
    jedi.run(JobGenerator)
    assert {job.queue for job in jedi.jobs().values()} == {"FAR"}
    clock.advance(seconds=600)
    jedi.run(WatchDog)
    assert tied(jedi) == {}


@pytest.mark.parametrize("grid", [("DataLocalityUpdater", "QueueFiller")], indirect=True)
def test_a_task_that_is_over_is_untied(grid: Jedi, clock: ManualClock) -> None:
    submit(grid)
    grid.run(WatchDog)
    grid.command("kill")
    grid.run(TaskEnder)
    clock.advance(seconds=600)
    grid.run(WatchDog)
    assert grid.task().status == "aborted"
    assert tied(grid) == {}
    assert JobState.ACTIVATED not in {job.status for job in grid.jobs().values()}
