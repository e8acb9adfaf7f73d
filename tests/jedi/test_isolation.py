"""What goes wrong with one task concerns that task only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.core.errors import Invalid, Retriable
from bamboo.core.states import TaskState
from bamboo.jedi.agents import ContentsFeeder, JobGenerator, PostProcessor, TaskRefiner, WatchDog
from bamboo.jedi.agents.watch_dog import Missions
from bamboo.jedi.task_agent import Round, quarantine_seconds
from bamboo.plugins.contracts import Choice, Contents, RefinedTask, Tally, TaskView, Verdict
from bamboo.plugins.generic.refiner import GenericTaskRefiner
from bamboo.plugins.hookspecs import hookimpl
from bamboo.sql import tasks
from bamboo.sql.tasks import TaskRef
from bamboo.tests.jedi.rounds import Jedi, on_both_databases

#: Sections of the settings: the hook that is chosen there, and the built-in plugin for all tasks but the bad ones.
USUAL = {
    "taskrefine": ("refine_task", "refiner:GenericTaskRefiner"),
    "ddm": ("list_contents", "catalogue:LocalCatalogue"),
    "jobbroker": ("choose_queue", "job_broker:GenericJobBroker"),
    "jobthrottle": ("throttle", "throttler:GenericThrottler"),
    "jobsplitter": ("split_inputs", "splitter:GenericSplitter"),
    "tasksetup": ("setup_outputs", "setupper:CatalogueSetupper"),
    "postprocessor": ("post_process", "post_processor:GenericPostProcessor"),
}


def for_bad_tasks(section: str, plugin: str) -> dict[str, dict[str, str]]:
    """The section of the settings that gives a plugin to tasks with the label `bad`."""
    return {section: {"modConfig": f"wlcg:bad:{plugin}, ::bamboo.plugins.generic.{USUAL[section][1]}"}}


class Broken:
    """Hooks that are wrong, each in its own way."""

    @hookimpl
    def refine_task(self, parameters: Mapping[str, Any], user_name: str) -> RefinedTask | None:
        if parameters.get("taskType") == "no columns":
            return RefinedTask({"no_such_column": 1}, [])
        if parameters.get("taskType") == "raises":
            raise ZeroDivisionError("a bug")
        return GenericTaskRefiner().refine_task(parameters, user_name)

    @hookimpl
    def list_contents(self, dataset: object, cursor: str, limit: int) -> Any:
        return Contents([{"no": "lfn"}], None)

    @hookimpl
    def choose_queue(self, task: TaskView, queues: Sequence[object]) -> Choice:
        return Choice(["NO_SUCH_QUEUE"])

    @hookimpl
    def split_inputs(self, task: TaskView, files: Sequence[Any], queue: object, complete: bool) -> Any:
        return [[files[0], files[0]]]

    @hookimpl
    def throttle(self, task: TaskView, queues: Sequence[object]) -> Any:
        return "as many as you like"

    @hookimpl
    def setup_outputs(self, tx: sa.Connection, task: TaskView, datasets: object, now: datetime) -> int:
        tx.execute(sa.text("SELECT * FROM no_such_table"))
        return 0

    @hookimpl
    def post_process(self, task: TaskView, tally: Tally) -> Verdict:
        return Verdict(TaskState.REGISTERED, "again")


def a_good_and_a_bad(
    make_jedi: Callable[..., Jedi], strangers: Callable[[type], str], section: str, **bad: Any
) -> tuple[Jedi, int, int]:
    """Two tasks, the worse first, of which the plugin of a section serves one."""
    hook = USUAL[section][0]
    plugin = type("Plugin", (), {hook: getattr(Broken, hook)})
    jedi = make_jedi(**for_bad_tasks(section, strangers(plugin)))
    jedi.queue()
    jedi.store("user.alice.in", "a", "b")
    worse = jedi.submit(label="bad", currentPriority=2000, **bad)
    good = jedi.submit()
    return jedi, good, worse


def status(jedi: Jedi, task: int) -> tuple[str, str | None]:
    with jedi.engine.connect() as tx:
        row = tasks.get_task(tx, task)
    assert row.lease_owner is None
    assert row.lost_leases == 0
    return row.status, row.error_dialog


@pytest.mark.parametrize(
    ("database_url", "section", "n_rounds", "expected", "says"),
    [
        ("sqlite", "ddm", 2, "ready", "lfn"),
        ("sqlite", "jobbroker", 3, "running", "NO_SUCH_QUEUE"),
        ("sqlite", "jobsplitter", 3, "running", "a file twice"),
        ("sqlite", "jobthrottle", 3, "running", "max_new_jobs"),
        ("sqlite", "tasksetup", 3, "running", "no_such_table"),
        ("postgres", "tasksetup", 3, "running", "no_such_table"),
    ],
    indirect=["database_url"],
)
def test_a_plugin_that_is_wrong_holds_its_task_only(
    make_jedi: Callable[..., Jedi],
    strangers: Callable[[type], str],
    section: str,
    n_rounds: int,
    expected: str,
    says: str,
) -> None:
    jedi, good, worse = a_good_and_a_bad(make_jedi, strangers, section)
    jedi.run(*(TaskRefiner, ContentsFeeder, JobGenerator)[:n_rounds])
    assert status(jedi, good)[0] == expected
    held, dialog = status(jedi, worse)
    assert held == "pending"
    assert says in (dialog or "")


@pytest.mark.parametrize("kind", ["no columns", "raises"])
def test_a_refiner_that_is_wrong_holds_its_task_only(
    make_jedi: Callable[..., Jedi], strangers: Callable[[type], str], kind: str
) -> None:
    jedi, good, worse = a_good_and_a_bad(make_jedi, strangers, "taskrefine", taskType=kind)
    assert jedi.run(TaskRefiner) == [Round(done=1, postponed=1)]
    assert status(jedi, good)[0] == "defined"
    held, dialog = status(jedi, worse)
    assert held == "pending"
    assert ("no_such_column" if kind == "no columns" else "ZeroDivisionError: a bug") in (dialog or "")


def test_a_verdict_that_cannot_be_holds_its_task_only(
    make_jedi: Callable[..., Jedi], strangers: Callable[[type], str]
) -> None:
    jedi, good, worse = a_good_and_a_bad(make_jedi, strangers, "postprocessor")
    jedi.run(TaskRefiner)
    for task in (good, worse):
        jedi.jeditaskid = task
        jedi.set(status="prepared")
    assert jedi.run(PostProcessor) == [Round(done=1, postponed=1)]
    assert status(jedi, good)[0] == "failed"
    assert status(jedi, worse) == ("prepared", f"task {worse} may not go from prepared to registered")
    assert jedi.run(PostProcessor) == [Round()]  # it is not tried without a pause


@pytest.mark.parametrize(("error", "state"), [(Retriable("later"), "pending"), (Invalid("no", []), "tobroken")])
def test_a_plugin_says_what_kind_of_problem_it_is(
    make_jedi: Callable[..., Jedi], strangers: Callable[[type], str], error: Exception, state: str
) -> None:
    class Telling:
        @hookimpl
        def refine_task(self, parameters: Mapping[str, Any], user_name: str) -> None:
            raise error

    jedi = make_jedi(taskrefine={"modConfig": f"::{strangers(Telling)}"})
    jedi.submit()
    jedi.run(TaskRefiner)
    assert jedi.task().status == state


class Died(BaseException):
    """Stands for SIGKILL: nothing is tidied up."""


class Killing:
    """Takes its process down, while it does."""

    spares = False

    @hookimpl
    def refine_task(self, parameters: Mapping[str, Any], user_name: str) -> RefinedTask | None:
        if not self.spares:
            raise Died
        return GenericTaskRefiner().refine_task(parameters, user_name)


def test_a_task_that_kills_its_agents_is_put_aside(
    make_jedi: Callable[..., Jedi],
    strangers: Callable[[type], str],
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jedi = make_jedi(**for_bad_tasks("taskrefine", strangers(Killing)))
    monkeypatch.setattr(tasks, "release", lambda *args, **options: None)
    worse = jedi.submit(label="bad")
    for _ in range(tasks.POISON_AFTER):
        with pytest.raises(Died):
            jedi.run(TaskRefiner)
        clock.advance(seconds=121)
    monkeypatch.undo()
    assert jedi.run(TaskRefiner) == [Round(postponed=1)]
    assert suspect(jedi, worse) == ("pending", "3 agents died over this task", 3)
    clock.advance(seconds=14)
    good = jedi.submit()
    assert jedi.run(TaskRefiner) == [Round(done=1)]
    assert status(jedi, good)[0] == "defined"


def suspect(jedi: Jedi, task: int) -> tuple[str, str | None, int]:
    with jedi.engine.connect() as tx:
        row = tasks.get_task(tx, task)
    assert row.lease_owner is None
    return row.status, row.error_dialog, row.lost_leases


def die_over_it(jedi: Jedi, clock: ManualClock, n_times: int) -> None:
    """Agents that are killed in a round: they give nothing back, and their leases run out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "release", lambda *args, **options: None)
        for _ in range(n_times):
            with pytest.raises(Died):
                jedi.run(TaskRefiner)
            clock.advance(seconds=121)


def test_whoever_kills_agents_holds_up_an_innocent_task_for_seconds(
    make_jedi: Callable[..., Jedi],
    strangers: Callable[[type], str],
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Found by a campaign: agents were killed from outside, and the task that they had was left alone for an hour.

    It is tried again soon, once; nothing is held against it when that goes well.
    """
    jedi = make_jedi(**for_bad_tasks("taskrefine", strangers(Killing)))
    task = jedi.submit(label="bad")
    die_over_it(jedi, clock, tasks.POISON_AFTER)
    assert jedi.run(TaskRefiner) == [Round(postponed=1)]
    clock.advance(seconds=16)
    monkeypatch.setattr(Killing, "spares", True)
    assert jedi.run(TaskRefiner) == [Round(done=1)]
    assert status(jedi, task)[0] == "defined"


def test_a_task_that_goes_on_killing_is_left_alone_for_longer_each_time(
    make_jedi: Callable[..., Jedi], strangers: Callable[[type], str], clock: ManualClock
) -> None:
    jedi = make_jedi(**for_bad_tasks("taskrefine", strangers(Killing)))
    task = jedi.submit(label="bad")
    die_over_it(jedi, clock, tasks.POISON_AFTER)
    for n_dead, seconds in ((3, 15), (4, 30), (5, 60)):
        assert jedi.run(TaskRefiner) == [Round(postponed=1)]
        assert suspect(jedi, task)[2] == n_dead
        clock.advance(seconds=seconds - 1)
        assert jedi.run(TaskRefiner) == [Round()]
        clock.advance(seconds=2)
        die_over_it(jedi, clock, 1)
    assert [quarantine_seconds(n) for n in (3, 4, 10, 11, 1000)] == [15, 30, 1920, 3600, 3600]


def test_the_tasks_of_a_round_that_breaks_off_are_given_back(jedi: Jedi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the task in hand is suspected when its agent goes down with an error that is nobody's task's."""
    ids = [jedi.submit() for _ in range(3)]

    class Interrupted(TaskRefiner):
        def work(self, held: TaskRef, row: Any) -> None:
            raise Died

    with pytest.raises(Died):
        Interrupted(jedi.context).run_once()
    assert {status(jedi, task) for task in ids} == {("registered", None)}


class Watching:
    @hookimpl
    def watch(self, now: datetime) -> Mapping[str, int]:
        return {"looked": 2, "found": 1}


class WatchingBadly:
    @hookimpl
    def watch(self, now: datetime) -> Mapping[str, int]:
        raise OSError("no route")


@pytest.mark.parametrize(
    ("plugin", "report"),
    [(Watching, Missions(plugin_counts=3)), (WatchingBadly, Missions(plugin_errors=1))],
)
def test_each_watchdog_has_its_turn_once_in_a_while(
    make_jedi: Callable[..., Jedi],
    strangers: Callable[[type], str],
    clock: ManualClock,
    plugin: type,
    report: Missions,
) -> None:
    jedi = make_jedi(
        watchdog={"modConfig": f"::{strangers(plugin)}"},
        timeouts={"pending_task": 1},
    )
    assert jedi.run(WatchDog, WatchDog) == [report, Missions()]
    jedi.submit()
    jedi.set(status="pending", old_status="ready", error_dialog="no queue fits")
    clock.advance(hours=2)
    (again,) = jedi.run(WatchDog)
    assert again.plugin_errors == report.plugin_errors
    assert again.plugin_counts == report.plugin_counts + 1  # the built-in one has its turn whatever the other does
    assert jedi.task().status == "exhausted"
    assert "no queue fits" in jedi.last_line().why


def test_watchdogs_run_on_one_machine_at_a_time(jedi: Jedi, clock: ManualClock) -> None:
    here, there = WatchDog(jedi.context), WatchDog(jedi.context)
    jedi.submit()
    jedi.set(status="pending", old_status="ready")
    clock.advance(days=15)
    assert here.run_once().plugin_counts == 1
    jedi.submit()
    jedi.set(status="pending", old_status="ready")
    clock.advance(seconds=9)
    assert there.run_once() == Missions()


@on_both_databases
def test_a_reason_never_shows_sql(jedi: Jedi) -> None:
    """What the database refuses is told in its sentence; the statement has the values of others in it."""
    jedi.queue()
    jedi.store("user.alice.in", "f1")
    jedi.submit(skipScout=True)
    jedi.run(TaskRefiner, ContentsFeeder)
    with jedi.engine.begin() as tx:
        tx.execute(sa.text("DROP TABLE job_params"))
    assert jedi.run(JobGenerator) == [Round(postponed=1)]
    said = jedi.task().error_dialog
    assert said.startswith("the database refused it (") and "job_params" in said
    assert "INSERT" not in said.upper() and "sqlalche.me" not in said
