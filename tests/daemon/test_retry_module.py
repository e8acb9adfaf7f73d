"""The job retry module at work: what a rule says is booked with the failure, shown, and met by the next jobs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.core.errors import Invalid
from bamboo.core.retry_rules import parse_rule
from bamboo.daemon.chores.adder import Added, Adder
from bamboo.daemon.chores.watcher import Watcher
from bamboo.daemon.context import Context
from bamboo.sql import datasets, decisions, files, retries, retry_rules, tasks
from bamboo.sql import tables as t
from bamboo.sql.retries import Needs

OOM = {"pilot_error_code": 1212, "pilot_error_diag": "out of memory"}


@pytest.fixture
def enter(engine: sa.Engine, clock: ManualClock) -> Callable[..., None]:
    """Enters rules into the database."""

    def _enter(name: str, action: str, **keys: Any) -> None:
        rule = parse_rule({"name": name, "action": action, "source": "pilot", "code": 1212, **keys})
        with engine.begin() as tx:
            retry_rules.put_rule(tx, rule, by="alice", now=clock())

    return _enter


def needs_of(world: Any, lfn: str = "in.0") -> Needs | None:
    with world.engine.connect() as tx:
        needsid = world.inputs()[lfn].needsid
        if needsid is None:
            return None
        row = tx.execute(sa.select(t.input_needs).where(t.input_needs.c.needsid == needsid)).one()
        return Needs(row.ram_count_mb, row.max_walltime_seconds, row.max_files_per_job)


def decided(world: Any) -> list[tuple[str, dict[str, Any]]]:
    with world.engine.connect() as tx:
        rows = decisions.of_task(tx, world.jeditaskid)
    return [(row.what, row.why) for row in rows if row.actor == retries.ACTOR]


def last_step(world: Any, pandaid: int) -> str:
    with world.engine.connect() as tx:
        statement = sa.select(t.job_events.c.why).where(t.job_events.c.pandaid == pandaid)
        return str(tx.scalars(statement.order_by(t.job_events.c.id.desc())).first())


def test_a_hopeless_failure_is_not_tried_again(world: Any, context: Context) -> None:
    """By a rule of the shipped file."""
    world.start(2)
    (pandaid,) = world.hold(1, "failed", exe_error_code=10, exe_error_diag="ERROR: runGen: no such option")
    assert Adder(context).run_once() == Added(failed=1)
    assert (world.inputs()["in.0"].status, world.inputs()["in.0"].failed_attempts) == ("failed", 1)
    assert world.jobs()[pandaid].retry_rule == "wrong-arguments"
    told = "rule wrong-arguments (exe 10: no_retry): the transform was called with wrong arguments"
    assert f"; not tried again: {told}" in last_step(world, pandaid)
    ((what, why),) = decided(world)
    assert (what, why["jobs"], why["example"]) == ("fired: wrong-arguments", 1, f"job {pandaid}")
    assert why["rule"].startswith(told)
    assert world.miscounted() == {}


def test_a_passive_rule_changes_nothing_and_is_written_down(world: Any, context: Context) -> None:
    world.start(1)
    (pandaid,) = world.hold(1, "failed", **OOM)
    Adder(context).run_once()
    assert (world.inputs()["in.0"].status, world.inputs()["in.0"].needsid) == ("ready", None)
    assert world.jobs()[pandaid].retry_rule is None
    ((what, why),) = decided(world)
    assert (what, why["passive"]) == ("passive: out-of-memory", "would have fired: out-of-memory")


def test_a_limit_holds_for_later_failures_of_any_kind(world: Any, context: Context, enter: Any) -> None:
    enter("limit", "limit_retry", parameters={"maxAttempt": 2})
    world.start(1, max_attempt=5)
    world.hold(1, "failed", **OOM)
    Adder(context).run_once()
    assert (world.inputs()["in.0"].status, world.inputs()["in.0"].max_attempt) == ("ready", 2)
    world.hold(1, "failed", pilot_error_code=1305, pilot_error_diag="exit 1")
    Adder(context).run_once()
    assert (world.inputs()["in.0"].status, world.inputs()["in.0"].failed_attempts) == ("failed", 2)
    assert world.miscounted() == {}


def test_stops_from_outside_are_not_charged_but_end_some_time(world: Any, context: Context, enter: Any) -> None:
    """Stopping a system three times failed the inputs of healthy tasks for good."""
    enter("stopped-by-term", "free_attempt", code=1201, parameters={"most": 4})
    world.start(1, max_attempt=2)
    stop = {"pilot_error_code": 1201, "pilot_error_diag": "TERM", "trans_exit_code": 143, "exe_error_code": 143}
    counts = []
    for _ in range(6):
        (pandaid,) = world.hold(1, "failed", **stop)
        Adder(context).run_once()
        file = world.inputs()["in.0"]
        counts.append((file.status, file.free_attempts, file.failed_attempts))
    free = [("ready", n, 0) for n in (1, 2, 3, 4)]
    assert counts == [*free, ("ready", 4, 1), ("failed", 4, 2)]
    assert world.jobs()[pandaid].retry_rule == "stopped-by-term"
    assert world.miscounted() == {}
    with world.engine.begin() as tx:
        files.reset_failed(tx, world.jeditaskid)
    file = world.inputs()["in.0"]
    assert (file.status, file.free_attempts, file.failed_attempts) == ("ready", 0, 0)


def test_a_free_attempt_does_not_outlive_a_limit(world: Any, context: Context, enter: Any) -> None:
    enter("free", "free_attempt", code=1201)
    enter("limit", "limit_retry", code=1201, parameters={"maxAttempt": 1})
    world.start(1, max_attempt=3)
    world.hold(1, "failed", pilot_error_code=1305)
    Adder(context).run_once()
    world.hold(1, "failed", pilot_error_code=1201)
    Adder(context).run_once()
    file = world.inputs()["in.0"]
    assert (file.status, file.free_attempts, file.failed_attempts) == ("failed", 1, 1)


def test_a_limit_never_gives_more_attempts(world: Any, context: Context, enter: Any) -> None:
    enter("limit", "limit_retry", parameters={"maxAttempt": 9})
    world.start(1, max_attempt=1)
    world.hold(1, "failed", **OOM)
    Adder(context).run_once()
    assert (world.inputs()["in.0"].status, world.inputs()["in.0"].max_attempt) == ("failed", 1)


def test_a_users_retry_gives_all_attempts_again_and_keeps_the_needs(world: Any, context: Context, enter: Any) -> None:
    enter("limit", "limit_retry", parameters={"maxAttempt": 1})
    enter("memory", "increase_memory")
    world.start(1, max_attempt=3)
    world.hold(1, "failed", **OOM)
    Adder(context).run_once()
    assert (world.inputs()["in.0"].status, needs_of(world)) == ("failed", Needs(3000))
    with world.engine.begin() as tx:
        files.reset_failed(tx, world.jeditaskid)
    row = world.inputs()["in.0"]
    assert (row.status, row.failed_attempts, row.max_attempt) == ("ready", 0, 3)
    assert needs_of(world) == Needs(3000)


def test_needs_grow_with_each_failure_and_are_shared(world: Any, context: Context, enter: Any) -> None:
    """Memory by 1.5 of what the job had asked for: 3000 of 2000; time beside it stays."""
    enter("memory", "increase_memory")
    enter("time", "increase_cputime", code=1213)
    world.start(3)
    world.generate(2, min_ram_count_mb=2000)
    world.report(world.move(world.claim(2), "starting", "running"), "failed", **OOM)
    Adder(context).run_once()
    assert needs_of(world) == needs_of(world, "in.1") == Needs(3000)
    assert world.inputs()["in.0"].needsid == world.inputs()["in.1"].needsid
    assert needs_of(world, "in.2") is None
    with world.engine.connect() as tx:
        needsid, needs = retries.needs_in_turn(tx, world.jeditaskid, world.datasetids["input"])[0]
    assert (needsid, needs) == (None, Needs())  # the one that never failed comes first

    world.generate(1)
    with world.engine.connect() as tx:
        needsid, needs = retries.needs_in_turn(tx, world.jeditaskid, world.datasetids["input"])[0]
    assert (needsid, needs) == (world.inputs()["in.0"].needsid, Needs(3000))


def test_rules_are_about_the_main_input_only(world: Any, context: Context, enter: Any) -> None:
    """A file of a secondary stream is charged nothing and needs nothing: it follows from the main input."""
    enter("memory", "increase_memory")
    enter("fewer", "reduce_input")
    enter("limit", "limit_retry", parameters={"maxAttempt": 2})
    world.start(1)
    held = world.run(1)
    of_task = {"jeditaskid": world.jeditaskid}
    second = {"type": "input", "dataset_name": "user.alice.in2", "stream_name": "IN2", "is_master": False}
    with world.engine.begin() as tx:
        datasets.insert_datasets(tx, [{**of_task, "selection": {}, **second}], now=context.clock())
        (made,) = [row for row in datasets.of_task(tx, world.jeditaskid) if row.stream_name == "IN2"]
        files.insert_new(tx, world.jeditaskid, made.datasetid, [{"lfn": "second.0", "url": "file:///s"}])
        datasets.update_dataset(tx, made.datasetid, n_files=1, n_files_used=1)
        owned = {"status": "running", "pandaid": held[0].pandaid}
        tx.execute(sa.update(t.files).where(t.files.c.lfn == "second.0").values(owned))
        fileid = tx.scalar(sa.select(t.files.c.fileid).where(t.files.c.lfn == "second.0"))
        row = {**of_task, **owned, "datasetid": made.datasetid, "fileid": fileid, "type": "input", "lfn": "second.0"}
        tx.execute(sa.insert(t.job_files).values(**row))
    world.report(held, "failed", **OOM)
    assert Adder(context).run_once() == Added(failed=1)
    main, second_file = world.inputs()["in.0"], world.inputs()["second.0"]
    assert (main.status, main.failed_attempts, main.max_attempt) == ("ready", 1, 2)
    assert needs_of(world) == Needs(3000)  # not fewer files: it has one
    assert (second_file.status, second_file.failed_attempts, second_file.max_attempt) == ("ready", 0, 3)
    assert second_file.needsid is None


def test_the_inputs_of_a_job_are_halved(world: Any, context: Context, enter: Any) -> None:
    enter("fewer", "reduce_input")
    world.start(2)
    held = world.run(1)
    with world.engine.begin() as tx:  # the job takes the second input as well
        owned = {"status": "running", "pandaid": held[0].pandaid}
        tx.execute(sa.update(t.files).where(t.files.c.lfn == "in.1").values(owned))
        file = tx.execute(sa.select(t.files).where(t.files.c.lfn == "in.1")).one()
        row = {**owned, "jeditaskid": file.jeditaskid, "datasetid": file.datasetid, "fileid": file.fileid}
        tx.execute(sa.insert(t.job_files).values(**row, type="input", lfn="in.1"))
        datasets.update_dataset(tx, file.datasetid, n_files_used=2)
    world.report(held, "failed", **OOM)
    assert Adder(context).run_once() == Added(failed=1)
    assert needs_of(world) == needs_of(world, "in.1") == Needs(0, 0, 1)
    assert world.miscounted() == {}


def test_needs_of_one_kind_are_kept_beside_another(world: Any, context: Context, enter: Any) -> None:
    enter("memory", "increase_memory")
    enter("time", "increase_cputime", code=1213)
    world.start(1)
    world.hold(1, "failed", **OOM)
    Adder(context).run_once()
    assert needs_of(world) == Needs(3000)  # 1.5 * 2000, as nobody knew
    world.generate(1, needsid=world.inputs()["in.0"].needsid, min_ram_count_mb=3000)
    late = {"pilot_error_code": 1213, "pilot_error_diag": "time is over"}
    world.report(world.move(world.claim(1), "starting", "running"), "failed", **late)
    Adder(context).run_once()
    assert needs_of(world) == Needs(3000, 64_800)  # 1.5 * 43200, as nobody knew
    with world.engine.connect() as tx:
        assert tx.scalar(sa.select(sa.func.count()).select_from(t.input_needs)) == 2


def test_a_rule_applies_in_its_scope(world: Any, context: Context, enter: Any, clock: ManualClock) -> None:
    enter("elsewhere", "no_retry", architecture="aarch64*")
    enter("release", "no_retry", release="25.*", active=False)
    enter("queue", "no_retry", work_queue="reprocessing", active=False)
    world.start(1)
    with world.engine.begin() as tx:
        tasks.update_task(tx, world.jeditaskid, architecture="x86_64-el9", work_queue_id=7)
        tx.execute(
            sa.insert(t.work_queues).values(
                queue_id=7, queue_name="reprocessing", queue_type="managed", vo="wlcg", criteria={}
            )
        )
        tx.execute(sa.update(t.task_params).values(parameters={"taskName": "a", "transUses": "25.0.1"}))
    world.hold(1, "failed", **OOM)
    Adder(context).run_once()
    assert world.inputs()["in.0"].status == "ready"
    assert [what for what, _ in decided(world)] == ["passive: out-of-memory, queue, release"]


def test_each_kind_of_firing_is_kept(world: Any, context: Context, enter: Any) -> None:
    """Of a rule that fired over two errors only the last was told."""
    enter("any", "limit_retry", source="exe", code=None, parameters={"maxAttempt": 3})
    world.start(3)
    for code in (7, 8, 7):
        world.hold(1, "failed", exe_error_code=code, exe_error_diag="x")
        Adder(context).run_once()
    told = {why["rule"]: why["jobs"] for what, why in decided(world) if what == "fired: any"}
    assert told == {f"rule any (exe {code}: limit_retry): at most 3 attempts": n for code, n in ((7, 2), (8, 1))}


def test_a_rule_of_the_database_replaces_that_of_the_file_within_seconds(
    world: Any, context: Context, enter: Any, clock: ManualClock
) -> None:
    world.start(3)
    adder = Adder(context)
    world.hold(1, "failed", exe_error_code=10, exe_error_diag="ERROR: runGen: no such option")
    adder.run_once()
    enter("wrong-arguments", "no_retry", source="exe", code=10, active=False)
    clock.advance(seconds=11)
    world.hold(1, "failed", exe_error_code=10, exe_error_diag="ERROR: runGen: no such option")
    adder.run_once()
    assert [row.status for row in world.inputs().values()] == ["failed", "ready", "ready"]


def test_what_the_watcher_ends_goes_by_the_rules_too(
    world: Any, context: Context, enter: Any, clock: ManualClock
) -> None:
    enter("quiet", "no_retry", source="job dispatcher", code=100, message="lost heartbeat")
    world.start(2)
    world.run(2)
    clock.advance(minutes=31)
    assert Watcher(context).run_once().failed == 2
    assert {row.status for row in world.inputs().values()} == {"failed"}
    ((what, why),) = decided(world)
    assert (what, why["jobs"]) == ("fired: quiet", 2)
    assert world.miscounted() == {}


def test_a_row_that_makes_no_sense_stops_nobody(world: Any, context: Context, enter: Any) -> None:
    enter("good", "no_retry")
    enter("spoilt", "no_retry", message="x")
    with world.engine.begin() as tx:
        tx.execute(sa.update(t.retry_errors).where(t.retry_errors.c.name == "spoilt").values(error_diag="("))
    world.start(1)
    world.hold(1, "failed", **OOM)
    assert Adder(context).run_once() == Added(failed=1, tasks_completed=1)
    assert decided(world)[0][0] == "fired: good"


def test_a_rule_that_is_too_slow_holds_up_nobody(world: Any, context: Context, enter: Any, caplog: Any) -> None:
    """Its pattern takes 2^60 steps over this message; it is tried once, not for each of the failures."""
    enter("slow", "no_retry", message="(a+)+$")
    world.start(50)
    world.hold(50, "failed", pilot_error_code=1212, pilot_error_diag="a" * 60 + "!")
    assert Adder(context).run_once() == Added(failed=50)
    assert {row.status for row in world.inputs().values()} == {"ready"}
    assert [record.rule for record in caplog.records if record.getMessage().startswith("retry rule is too")] == ["slow"]


def test_an_action_that_is_switched_off_makes_its_rules_passive(world: Any, context: Context, enter: Any) -> None:
    enter("good", "no_retry")
    with world.engine.begin() as tx:
        tx.execute(sa.update(t.retry_actions).values(active=False))
    world.start(1)
    world.hold(1, "failed", **OOM)
    Adder(context).run_once()
    assert world.inputs()["in.0"].status == "ready"
    assert decided(world)[0][0] == "passive: good, out-of-memory"


def test_a_file_with_faults_is_told_at_the_start(make_context: Any, engine: sa.Engine, tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('version = 1\n[[rule]]\nname = "a"\naction = "no"\nsource = "no"\n')
    with pytest.raises(Invalid) as caught:
        make_context(engine, retry={"rules_file": str(path)})
    assert len(caught.value.faults) == 2


def test_the_table_of_actions_has_those_of_the_code(engine: sa.Engine) -> None:
    from bamboo.core.retry_rules import ACTIONS

    with engine.connect() as tx:
        assert set(tx.scalars(sa.select(t.retry_actions.c.name))) == set(ACTIONS)
