from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.core.settings import TimeoutsSection
from bamboo.core.states import JOBS, LEASED, JobState
from bamboo.core.tunables import Numbers
from bamboo.daemon.chores.watcher import Watched, Watcher
from bamboo.daemon.context import Context
from bamboo.daemon.rebrokerage import Overfull, overfull
from bamboo.daemon.timeouts import TIMEOUTS, Only, Timeout, limits
from bamboo.sql import counts, grid, jobs, queues
from bamboo.sql import settings as shared_settings
from bamboo.sql import tables as t


def statuses(world: Any) -> dict[int, str]:
    return {pandaid: row.status for pandaid, row in world.jobs().items()}


def test_only_jobs_whose_lease_ran_out_are_taken_back(world: Any, context: Context, clock: ManualClock) -> None:
    world.start(10)
    (queued,) = world.generate(1)
    (sent,) = world.claim(1)
    assert sent.pandaid == queued
    starting = world.generate(1) and world.move(world.claim(1), JobState.STARTING)[0]
    running = world.run(1)[0]
    (holding,) = world.hold(1)
    clock.advance(minutes=31)
    alive_sent = world.generate(1) and world.claim(1)[0]
    alive = world.run(1)[0]
    (waiting,) = world.generate(1)

    assert Watcher(context).run_once() == Watched(activated=1, failed=2)
    assert Watcher(context).run_once() == Watched()
    assert statuses(world) == {
        sent.pandaid: "activated",
        starting.pandaid: "failed",
        running.pandaid: "failed",
        holding: "holding",
        alive_sent.pandaid: "sent",
        alive.pandaid: "running",
        waiting: "activated",
    }
    assert world.miscounted() == {}


def test_a_job_that_is_offered_again_is_a_new_attempt(world: Any, context: Context, clock: ManualClock) -> None:
    world.start(1)
    world.generate(1)
    (sent,) = world.claim(1)
    clock.advance(minutes=31)
    Watcher(context).run_once()

    row = world.jobs()[sent.pandaid]
    assert (row.attempt_nr, row.lease_until, row.pilot_id, row.claim_key) == (2, None, None, None)
    assert world.move([sent], JobState.STARTING) == []  # the pilot that woke up is too late
    assert world.inputs()["in.0"].pandaid == sent.pandaid
    (again,) = world.claim(1)
    assert (again.pandaid, again.attempt_nr) == (sent.pandaid, 2)
    assert world.inputs()["in.0"].attempt_nr == 2  # so that the next job of the input is attempt 3


def test_a_job_of_which_pilots_never_speak_fails_at_last(world: Any, context: Context, clock: ManualClock) -> None:
    world.start(1, max_attempt=1)
    (pandaid,) = world.generate(1)
    for given_back in (1, 1, 0):
        world.claim(1)
        clock.advance(minutes=31)
        with world.engine.begin() as tx:
            store(tx, "watcher", "UNSPOKEN_CLAIMS", "3", clock)
        watched = Watcher(context).run_once()
        assert (watched.activated, watched.failed) == (given_back, 1 - given_back)
    row = world.jobs()[pandaid]
    assert (row.status, row.job_dispatcher_error_code) == ("failed", 100)
    assert row.job_dispatcher_error_diag == "lost heartbeat: 3 pilots took it, and none ever spoke of it"
    assert world.task_status() == "prepared"


def test_a_lost_heartbeat_says_when_the_last_one_came(world: Any, context: Context, clock: ManualClock) -> None:
    world.start(2, max_attempt=2)
    (lost,) = world.run(1)
    clock.advance(minutes=31)
    assert Watcher(context).run_once() == Watched(failed=1)

    row = world.jobs()[lost.pandaid]
    assert row.job_dispatcher_error_code == 100
    assert row.job_dispatcher_error_diag == "lost heartbeat: the last one came at 2026-01-01 00:00:00 UTC"
    assert row.ended_at == clock()
    assert world.inputs()["in.0"].status == "ready"
    assert world.inputs()["in.0"].failed_attempts == 1

    world.run(1)
    clock.advance(minutes=31)
    assert Watcher(context).run_once() == Watched(failed=1)
    assert world.inputs()["in.0"].status == "failed"
    assert world.miscounted() == {}


def test_the_last_lost_job_completes_the_task(world: Any, context: Context, clock: ManualClock) -> None:
    world.start(1, max_attempt=1)
    world.run(1)
    clock.advance(minutes=31)

    assert Watcher(context).run_once() == Watched(failed=1, tasks_completed=1)
    assert world.task_status() == "prepared"


def test_a_heartbeat_saves_a_job(world: Any, context: Context, clock: ManualClock) -> None:
    world.start(1)
    (held,) = world.run(1)
    clock.advance(minutes=31)
    with world.engine.begin() as tx:
        assert jobs.renew(tx, held, lease_until=clock() + timedelta(minutes=30), now=clock())

    assert Watcher(context).run_once() == Watched()


@pytest.mark.parametrize("claimed_only", [True, False])
def test_a_lost_job_that_was_to_be_killed_is_cancelled(
    world: Any, context: Context, clock: ManualClock, claimed_only: bool
) -> None:
    world.start(1)
    world.generate(1)
    held = world.claim(1)
    if not claimed_only:
        held = world.move(held, JobState.STARTING)
    with world.engine.begin() as tx:
        jobs.order(tx, held, "tobekilled", now=clock())
    clock.advance(minutes=31)

    assert Watcher(context).run_once() == Watched(cancelled=1)
    assert (world.inputs()["in.0"].status, world.inputs()["in.0"].failed_attempts) == ("ready", 0)
    assert world.jobs()[held[0].pandaid].task_buffer_error_code == 100


def test_some_kinds_of_work_may_be_quiet_for_longer(world: Any, context: Context, clock: ManualClock) -> None:
    world.start(2)
    with world.engine.begin() as tx:
        shared_settings.set_value(tx, "watcher", "HEARTBEAT_TIMEOUT_slow", "pandaserver", "3", kind="int", now=clock())
    slow = world.generate(1, processing_type="slow")[0]
    world.move(world.claim(1), JobState.STARTING)
    quick = world.generate(1, processing_type="quick")[0]
    world.move(world.claim(1), JobState.STARTING)
    clock.advance(hours=2)

    assert Watcher(context).run_once() == Watched(failed=1)
    assert statuses(world) == {slow: "starting", quick: "failed"}
    clock.advance(hours=1, minutes=1)
    assert Watcher(context).run_once() == Watched(failed=1)


#: What a job has to which a rule of some jobs only applies. 1000 is what every user has, so that it is nothing special.
ITS_COLUMNS: dict[Only, dict[str, Any]] = {
    Only.NOT_URGENT: {"current_priority": 1000},
    Only.URGENT: {"current_priority": 800, "prod_source_label": "managed"},
    Only.STALLED: {"current_priority": 1001},
    Only.STAGING_OUT: {"current_priority": 799, "processing_type": "slow", "substatus": "xfer"},
}
#: And a job that misses just that, to which the rule must not apply.
NOT_ITS: dict[Only, dict[str, Any]] = {
    Only.NOT_URGENT: {"current_priority": 800, "prod_source_label": "managed"},
    Only.URGENT: {"current_priority": 1000},
    Only.STALLED: {"current_priority": 799, "prod_source_label": "managed"},
    Only.STAGING_OUT: {"current_priority": 799, "processing_type": "slow", "substatus": None},
}
STAGE_OUT_HOURS = 3


@pytest.mark.parametrize("rule", TIMEOUTS, ids=lambda rule: f"{rule.state}, {rule.only}")
def test_each_timeout(
    sqlite_url: str, open_database: Any, make_world: Any, make_context: Any, clock: ManualClock, rule: Timeout
) -> None:
    """One job a minute too long in the state, one a minute too short, one in a queue that is excepted."""
    engine = open_database(sqlite_url)
    world = make_world(engine).start(4)
    is_staging_out = rule.only is Only.STAGING_OUT
    limit = timedelta(hours=STAGE_OUT_HOURS) if is_staging_out else rule.limit(limits(TimeoutsSection(), Numbers()))

    def bring(queue: str) -> int:
        """A job that has come to the state of the rule now."""
        (pandaid,) = world.generate(1, queue=queue)
        leased = {"lease_until": clock() + 3 * limit} if rule.state in LEASED else {"lease_until": None}
        columns = {**leased, **ITS_COLUMNS.get(rule.only, {})}
        with engine.begin() as tx:
            tx.execute(sa.update(t.jobs).where(t.jobs.c.pandaid == pandaid).values(status=rule.state, **columns))
        return int(pandaid)

    with engine.begin() as tx:
        queues.set_queue(tx, "PAUSED", {"status": "paused"}, now=clock())
        queues.set_queue(tx, "EXCEPTED", {"catchall": "x,disableReassign"}, now=clock())
        for queue in ("PAUSED", "EXCEPTED", "Q"):
            grid.note_activity(
                tx, queue, last_start_at=clock() - timedelta(minutes=1) if rule.only is Only.STALLED else None
            )
        if is_staging_out:
            store(tx, "watcher", "HEARTBEAT_TIMEOUT_slow", str(STAGE_OUT_HOURS), clock)
    excepted = [bring("PAUSED"), bring("EXCEPTED")]
    late = bring("Q")
    clock.advance(minutes=2)
    fine = bring("Q")
    clock.now += limit
    clock.advance(minutes=-1)

    assert Watcher(make_context(engine)).run_once() == Watched(**{str(rule.to): 1})
    assert statuses(world) == {late: rule.to, **dict.fromkeys([*excepted, fine], str(rule.state))}
    row = world.jobs()[late]
    assert getattr(row, f"{rule.error.source}_error_code") == rule.error.code
    assert rule.text in getattr(row, f"{rule.error.source}_error_diag")
    charged = rule.to == "failed"
    assert (world.inputs()["in.2"].status, world.inputs()["in.2"].failed_attempts) == ("ready", int(charged))
    assert world.miscounted() == {}


def store(
    tx: sa.Connection, component: str, key: str, value: str, clock: ManualClock, app: str = "pandaserver"
) -> None:
    shared_settings.set_value(tx, component, key, app, value, kind="float", now=clock())


@pytest.mark.parametrize(
    "rule", [rule for rule in TIMEOUTS if rule.only in NOT_ITS], ids=lambda rule: f"{rule.state}, {rule.only}"
)
def test_a_rule_for_some_jobs_leaves_the_others(
    sqlite_url: str, open_database: Any, make_world: Any, make_context: Any, clock: ManualClock, rule: Timeout
) -> None:
    """The job that misses the condition stays where it is, until the rule for all in its state comes."""
    engine = open_database(sqlite_url)
    world = make_world(engine).start(1)
    (pandaid,) = world.generate(1)
    with engine.begin() as tx:
        grid.note_activity(tx, "Q", last_start_at=clock())
        leased = {"lease_until": clock() + timedelta(days=99) if rule.state in LEASED else None}
        values = {"status": rule.state, **leased, **NOT_ITS[rule.only]}
        tx.execute(sa.update(t.jobs).where(t.jobs.c.pandaid == pandaid).values(values))
        for other in {"TIMEOUT_ACTIVATED", "TIMEOUT_HOLDING", "TIMEOUT_TRANSFERRING"}:
            store(tx, "watcher", other, "200", clock)
        for urgent in ("HOLDING", "TRANSFERRING"):
            far = rule.only is not Only.URGENT
            store(tx, "watcher", f"TIMEOUT_{urgent}_URGENT", "200" if far else "3", clock)
        store(tx, "watcher", "HEARTBEAT_TIMEOUT_slow", "3", clock)
    clock.advance(hours=100)
    assert Watcher(make_context(engine)).run_once() == Watched()
    assert statuses(world) == {pandaid: str(rule.state)}


def test_the_database_has_the_last_word_on_a_limit(world: Any, make_context: Any, clock: ManualClock) -> None:
    world.start(2)
    world.generate(1)
    context = make_context(world.engine, timeouts={"activated": 10})
    clock.advance(hours=9)
    assert Watcher(context).run_once() == Watched()
    with world.engine.begin() as tx:
        store(tx, "watcher", "TIMEOUT_ACTIVATED", "20", clock)
    clock.advance(hours=10)
    assert Watcher(context).run_once() == Watched()
    with world.engine.begin() as tx:
        store(tx, "watcher", "TIMEOUT_ACTIVATED", "8", clock)
    assert Watcher(context).run_once() == Watched(closed=1)


def test_a_queue_may_give_its_own_time_for_transfers(world: Any, context: Context, clock: ManualClock) -> None:
    """`transtimehi` and `transtimelo` are days; what is no number is as if it were not there."""
    world.start(4)
    with world.engine.begin() as tx:
        queues.set_queue(tx, "SLOW", {"transtimehi": 5, "transtimelo": "7"}, now=clock())
        queues.set_queue(tx, "ODD", {"transtimehi": "soon"}, now=clock())
    managed = {"prod_source_label": "managed"}
    hi, lo = world.generate(1, queue="SLOW", **managed), world.generate(1, queue="SLOW", current_priority=10)
    odd = world.generate(1, queue="ODD", **managed)
    with world.engine.begin() as tx:
        tx.execute(sa.update(t.jobs).values(status="transferring"))
    ended: dict[int, int] = {}
    clock.advance(minutes=1)
    for day in range(1, 8):
        clock.advance(days=1)
        Watcher(context).run_once()
        for pandaid, status in statuses(world).items():
            if status == "failed":
                ended.setdefault(pandaid, day)
    assert ended == {odd[0]: 1, hi[0]: 5, lo[0]: 7}


def test_every_state_that_can_last_has_a_timeout() -> None:
    ruled = {rule.state for rule in TIMEOUTS}
    sent, merging = JobState.SENT, JobState.MERGING  # the lease is its timeout; the merge job has timeouts of its own
    assert ruled == set(JobState) - set(JOBS.final) - {sent, merging}
    assert all(JOBS.allows(rule.state, rule.to) for rule in TIMEOUTS)


def test_a_retry_plugin_that_fails_blocks_nobody(
    world: Any, make_context: Any, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "moody.py").write_text(
        "from bamboo.plugins.hookspecs import hookimpl\n"
        "class Moody:\n"
        "    @hookimpl\n"
        "    def retry_input(self, failure):\n"
        "        raise ValueError('in a mood')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "moody", raising=False)
    world.start(3)
    world.run(3)
    clock.advance(minutes=31)

    watcher = Watcher(make_context(world.engine, retry={"modConfig": "any:any:moody:Moody"}))
    assert watcher.run_once() == Watched(failed=3)
    assert {row.status for row in world.inputs().values()} == {"ready"}
    assert world.miscounted() == {}


def test_a_site_that_vanishes_costs_each_job_once(world: Any, context: Context, clock: ManualClock) -> None:
    """More jobs than a page lose their pilots at once; some pilots come back too late."""
    world.start(450)
    held = world.run(450)
    clock.advance(minutes=31)

    assert Watcher(context).run_once() == Watched(failed=450)
    assert world.move(held[:50], JobState.HOLDING) == []
    assert {row.failed_attempts for row in world.inputs().values()} == {1}
    assert world.miscounted() == {}


# Fast rebrokerage


@dataclass
class Count:
    """A row of `job_counts`."""

    queue: str
    gshare: str
    status: str
    n_jobs: int


#: 130 of the share wait at A, 40 run; 300 wait everywhere.
COUNTS = (
    Count("A", "reco", "activated", 100),
    Count("A", "reco", "starting", 20),
    Count("A", "reco", "assigned", 5),
    Count("A", "reco", "defined", 5),
    Count("A", "reco", "running", 40),
    Count("A", "simul", "running", 4000),
    Count("A", "reco", "holding", 4000),
    Count("B", "reco", "activated", 170),
    Count("B", "reco", "running", 100),
)


@pytest.mark.parametrize(
    ("ratio", "fraction", "least", "is_overfull"),
    [
        (3.0, 0.4, 100.0, True),  # 130/40 = 3.25 > 3; 130/300 = 0.433 > 0.4; 130 > 100
        (3.25, 0.4, 100.0, False),
        (3.0, 0.44, 100.0, False),
        (3.0, 0.4, 130.0, False),
        (3.0, 0.4, None, False),  # unless the share has a threshold, it is left alone
    ],
)
def test_fast_rebrokerage_needs_all_three_thresholds(
    ratio: float, fraction: float, least: float | None, is_overfull: bool
) -> None:
    prefix = ("jedi", "rebroker")
    changed: dict[tuple[str, str, str], float] = {
        (*prefix, "FAST_REBRO_THRESHOLD_NQNR_RATIO"): ratio,
        (*prefix, "FAST_REBRO_THRESHOLD_NQUEUE_FRAC"): fraction,
    }
    if least is not None:
        changed[*prefix, "FAST_REBRO_THRESHOLD_NQUEUE_reco"] = least
    found = overfull(COUNTS, Numbers(changed))
    assert found == ([Overfull("A", "reco", 130, 40, 300, 10)] if is_overfull else [])
    assert overfull(COUNTS, Numbers(changed), excepted={"A"}) == []


def crowded(world: Any, clock: ManualClock, **elsewhere: Any) -> list[int]:
    """Six jobs of a share at one queue, where two may wait, and a queue beside it; they have waited for an hour."""
    world.start(12)
    made = world.generate(6, gshare="reco")
    with world.engine.begin() as tx:
        queues.set_queue(tx, "Q", {"storage": "DISK"}, now=clock())
        queues.set_queue(tx, "OTHER", {"storage": "DISK", **elsewhere}, now=clock())
        store(tx, "rebroker", "FAST_REBRO_THRESHOLD_NQUEUE_reco", "2", clock, app="jedi")
    clock.advance(minutes=61)
    with world.engine.begin() as tx:
        counts.replace(tx, now=clock())
    return list(made)


def test_what_is_too_much_at_an_overfull_queue_is_given_back(world: Any, context: Context, clock: ManualClock) -> None:
    many = crowded(world, clock)
    (other,) = world.generate(1, gshare="simul")
    ahead = world.generate(3, gshare="reco", queue="AHEAD")
    with world.engine.begin() as tx:
        queues.set_queue(tx, "AHEAD", {"numSlots": 3}, now=clock())
        store(tx, "rebroker", "FAST_REBRO_THRESHOLD_NQUEUE_simul", "2", clock, app="jedi")
        counts.replace(tx, now=clock())
    assert Watcher(context).run_once() == Watched(closed=4)  # of 6: 2 may wait, which is 0.3 of 9 without the rest
    closed = {pandaid for pandaid, status in statuses(world).items() if status == "closed"}
    assert closed == set(many[2:])  # the newest
    assert {statuses(world)[pandaid] for pandaid in [other, *ahead]} == {"activated"}
    row = world.jobs()[many[5]]
    assert row.task_buffer_error_code == 105
    assert "6 jobs of the share reco wait at Q, 0 run there, and 9 wait everywhere" in row.task_buffer_error_diag
    assert {row.failed_attempts for row in world.inputs().values()} == {0}
    assert world.miscounted() == {}
    with world.engine.begin() as tx:
        counts.replace(tx, now=clock())
    assert Watcher(context).run_once() == Watched()


def test_jobs_that_come_to_an_overfull_queue_again_are_left_for_a_while(
    world: Any, context: Context, clock: ManualClock
) -> None:
    crowded(world, clock)
    assert Watcher(context).run_once() == Watched(closed=4)
    world.generate(4, gshare="reco")
    for closed in (0, 4):
        with world.engine.begin() as tx:
            counts.replace(tx, now=clock())
        assert Watcher(context).run_once() == Watched(closed=closed)
        clock.advance(minutes=61)


def test_jobs_that_no_other_queue_can_take_stay(world: Any, context: Context, clock: ManualClock) -> None:
    crowded(world, clock, status="offline")
    assert Watcher(context).run_once() == Watched()
