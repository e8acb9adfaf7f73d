"""The daemon as it is run: real processes, real signals."""

from __future__ import annotations

import os
import random
import resource
import signal
import socket
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from patience import eventually

from bamboo.core.clock import utc_now
from bamboo.sql import service_rounds

Start = Callable[..., Any]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_chore_runs_once_a_period(start_daemon: Start) -> None:
    daemon = start_daemon({"often": ("idle", {"period": 0.2}), "seldom": ("idle", {"period": 600})})
    begun = daemon.wait_for(5, "often", "begin")

    assert len(begun) <= (begun[-1].at - begun[0].at) / 0.2 + 2
    assert len(daemon.notes("seldom", "begin")) == 1
    assert daemon.stop() == 0


def test_a_disabled_chore_does_not_run(start_daemon: Start) -> None:
    daemon = start_daemon({"on": ("idle", {"period": 0.1}), "off": ("idle", {"period": 0.1, "enable": False})})
    daemon.wait_for(3, "on")

    assert daemon.notes("off") == []


def test_runs_never_overlap_and_an_overrun_is_told(start_daemon: Start, tmp_path: Path) -> None:
    daemon = start_daemon({"slow": ("waits", {"period": 0.1}), "other": ("idle", {"period": 0.1})}, n_proc=3)
    daemon.wait_for(1, "slow", "begin")
    daemon.wait_for(8, "other", "begin")  # some periods go by

    assert len(daemon.notes("slow", "begin")) == 1
    eventually(lambda: "overrun slow" in daemon.log.read_text(), "the overrun to be told")
    assert daemon.log.read_text().count("overrun slow") == 1
    (tmp_path / "go").touch()
    daemon.wait_for(2, "slow", "begin")


def test_a_loop_runs_at_once_again_and_starves_nobody(start_daemon: Start) -> None:
    daemon = start_daemon({"looping": ("loops", {"period": 600, "loop": True}), "other": ("idle", {"period": 0.1})})
    daemon.wait_for(20, "looping", "begin")
    daemon.wait_for(3, "other", "begin")

    assert "overrun looping" not in daemon.log.read_text()


def test_a_synced_loop_runs_at_once_again(start_daemon: Start) -> None:
    daemon = start_daemon({"looping": ("loops", {"period": 600, "loop": True, "sync": True})})
    daemon.wait_for(10, "looping", "begin")


def test_a_run_that_hangs_is_killed(start_daemon: Start) -> None:
    daemon = start_daemon({"stuck": ("hangs", {"period": 0.05}), "good": ("idle", {"period": 0.05})}, round_seconds=1)
    stuck = daemon.wait_for(2, "stuck", "begin")

    assert len({note.pid for note in stuck}) == 2
    assert stuck[1].at - stuck[0].at > 1
    assert "run_hangs stuck" in daemon.log.read_text()
    assert daemon.notes("good", "end")


def test_a_failing_chore_waits_and_takes_nobody_down(start_daemon: Start) -> None:
    daemon = start_daemon({"bad": ("fails", {"period": 0.05}), "good": ("idle", {"period": 0.05})})
    bad = daemon.wait_for(3, "bad", "begin")

    assert bad[1].at - bad[0].at > 0.4
    assert bad[2].at - bad[1].at > 0.9
    assert len({note.pid for note in bad}) == 1  # an error costs no process
    daemon.wait_for(10, "good", "end")
    assert "RuntimeError: as told" in daemon.log.read_text()


def test_rounds_are_entered(start_daemon: Start, engine: sa.Engine, database_url: str) -> None:
    """By the machine's name; that of a chore which rests or runs elsewhere is not."""
    chores = {"bad": ("fails", {"period": 0.05}), "good": ("idle", {"period": 0.05, "sync": True})}
    daemon = start_daemon(chores, url=database_url)
    daemon.wait_for(2, "bad", "begin")
    daemon.wait_for(2, "good", "end")

    def entered() -> dict[str, Any]:
        with engine.connect() as tx:
            return {row.service: row for row in service_rounds.last_rounds(tx)}

    eventually(lambda: {"daemon/bad", "daemon/good"} <= entered().keys(), "both to be entered")
    bad, good = entered()["daemon/bad"], entered()["daemon/good"]
    assert (bad.failures, bad.error, bad.host) == (1, "RuntimeError: as told", socket.gethostname())
    assert (good.failures, good.error, good.worked_at, good.period_seconds) == (0, None, None, 0.05)


def test_a_dying_chore_takes_nobody_down(start_daemon: Start) -> None:
    daemon = start_daemon({"bad": ("dies", {"period": 0.05}), "good": ("idle", {"period": 0.05})}, n_proc=2)
    bad = daemon.wait_for(3, "bad", "begin")

    assert len({note.pid for note in bad}) == 3
    daemon.wait_for(5, "good", "end")


def test_a_master_without_file_descriptors_recovers(start_daemon: Start) -> None:
    daemon = start_daemon({"a": ("idle", {"period": 0.1})})
    (first, *_) = daemon.wait_for(1, "a", "end")
    limits = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    os.kill(first.pid, signal.SIGKILL)
    eventually(lambda: "no_worker" in daemon.log.read_text(), "the fault to be told")
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, limits)

    eventually(lambda: any(note.pid != first.pid for note in daemon.notes("a", "end")), "another worker")


def test_workers_are_replaced_after_their_lifetime(start_daemon: Start) -> None:
    daemon = start_daemon({"a": ("idle", {"period": 0.05})}, proc_lifetime=0.5)
    eventually(lambda: len({note.pid for note in daemon.notes()}) >= 3, "three workers")

    assert "worker_died" not in daemon.log.read_text()
    eventually(lambda: len(daemon.children()) == 1, "the old ones to be gone")


def test_a_worker_ends_its_run_before_it_is_replaced(start_daemon: Start, tmp_path: Path) -> None:
    daemon = start_daemon({"slow": ("waits", {"period": 600})}, proc_lifetime=0.3)
    (begun,) = daemon.wait_for(1, "slow", "begin")
    time.sleep(0.5)  # past the lifetime
    (tmp_path / "go").touch()

    (ended,) = daemon.wait_for(1, "slow", "end")
    assert ended.pid == begun.pid
    eventually(lambda: not alive(begun.pid), "the run to be gone")


def test_a_killed_worker_is_replaced_and_its_chore_is_due_again(start_daemon: Start, tmp_path: Path) -> None:
    daemon = start_daemon({"slow": ("waits", {"period": 600})})
    (begun,) = daemon.wait_for(1, "slow", "begin")
    os.kill(begun.pid, signal.SIGKILL)
    (tmp_path / "go").touch()

    (ended,) = daemon.wait_for(1, "slow", "end")
    assert ended.pid != begun.pid


@pytest.mark.parametrize("sync", [False, True])
def test_a_chore_learns_that_it_died_before(start_daemon: Start, sync: bool) -> None:
    daemon = start_daemon({"once": ("crash_once", {"period": 600, "sync": sync})})

    (ended,) = daemon.wait_for(1, "once", "end")
    (dying,) = daemon.notes("once", "dying")
    assert ended.at - dying.at < 300  # the lease and the period of the dead run hold nobody up


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_within_seconds_and_leaves_no_process(start_daemon: Start, number: int) -> None:
    daemon = start_daemon({"slow": ("waits", {"period": 600}), "a": ("idle", {"period": 600})}, n_proc=3)
    daemon.wait_for(1, "slow", "begin")
    workers = daemon.children()

    assert daemon.stop(number) == 0
    assert "worker_killed" not in daemon.log.read_text()  # which is what a worker gets that takes seconds
    assert len(workers) == 3
    assert [pid for pid in workers if alive(pid)] == []


def test_a_worker_that_does_not_end_is_killed(start_daemon: Start) -> None:
    daemon = start_daemon({"stuck": ("hangs", {"period": 600})})
    (begun,) = daemon.wait_for(1, "stuck", "begin")
    before = time.monotonic()

    assert daemon.stop() == 0
    assert time.monotonic() - before > 4
    assert not alive(begun.pid)


def test_no_worker_outlives_a_killed_master(start_daemon: Start) -> None:
    daemon = start_daemon({"stuck": ("hangs", {"period": 600}), "a": ("idle", {"period": 600})}, n_proc=2)
    daemon.wait_for(1, "stuck", "begin")
    workers = daemon.children()
    daemon.stop(signal.SIGKILL)

    eventually(lambda: not any(alive(pid) for pid in workers), "the workers to be gone")


def test_the_default_chores_bring_a_task_to_its_end(
    engine: Any, database_url: str, make_world: Any, start_daemon: Start
) -> None:
    """The daemon as it is shipped: it books what pilots have reported, and completes the task."""
    world = make_world(engine, utc_now).start(20)
    world.hold(20)
    daemon = start_daemon({}, database_url, package="bamboo.daemon.chores")

    eventually(lambda: world.task_status() == "prepared", "the task to be prepared")
    assert daemon.stop() == 0
    assert {row.status for row in world.jobs().values()} == {"finished"}
    assert len(world.catalogue()) == 40
    assert world.miscounted() == {}
    log = daemon.log.read_text()
    assert "Traceback" not in log
    assert "WARNING" not in log


@pytest.mark.slow
def test_killing_workers_loses_and_doubles_nothing(
    engine: Any, database_url: str, make_world: Any, start_daemon: Start
) -> None:
    """Two daemons with two adders each, whose workers are killed at random while jobs come in."""
    world = make_world(engine, utc_now).start(600)
    entry = {"module": "adder", "arguments": [], "period": 0.2, "loop": True}
    adders = dict.fromkeys(("one", "two"), ("", entry))
    daemons = [start_daemon(adders, database_url, package="bamboo.daemon.chores", n_proc=2) for _ in range(2)]
    dice = random.Random(20)
    for n in range(12):
        eventually(daemons[n % 2].children, "workers")
        world.hold(50, "failed" if n % 4 == 3 else "finished")
        for pid in dice.sample(daemons[n % 2].children(), k=1):
            os.kill(pid, signal.SIGKILL)

    # A job over which an adder was killed twice is left alone for a while.
    eventually(lambda: "holding" not in {row.status for row in world.jobs().values()}, "no job to be held")
    assert [row.status for row in world.jobs().values()].count("finished") == 450
    assert len(world.catalogue()) == 2 * 450 + 150
    assert sum(row.failed_attempts for row in world.inputs().values()) == 150
    assert world.miscounted() == {}
    assert sum(daemon.log.read_text().count("worker_died") for daemon in daemons) == 12


def test_synced_chores_run_on_one_machine_at_a_time(start_daemon: Start) -> None:
    entry = {"period": 0.5, "sync": True}
    daemons = [start_daemon({"one": ("idle", entry), "own": ("idle", {"period": 0.2})}) for _ in range(2)]
    notes = daemons[0].wait_for(16, "one")

    assert [note.what for note in notes[:16]] == ["begin", "end"] * 8
    begun = [note.at for note in notes if note.what == "begin"]
    assert min(later - earlier for earlier, later in pairwise(begun)) > 0.4
    assert len({note.pid for note in daemons[0].notes("own")}) == 2


def test_a_master_takes_over_from_one_that_is_gone(start_daemon: Start, tmp_path: Path) -> None:
    """Its workers are killed in the middle of a run, and the lease stands in the database."""
    first = start_daemon({"one": ("waits", {"period": 0.2, "sync": True})})
    (begun,) = first.wait_for(1, "one", "begin")
    second = start_daemon({"one": ("waits", {"period": 0.2, "sync": True}), "own": ("idle", {"period": 0.1})})
    second.wait_for(5, "own")
    assert len(second.notes("one", "begin")) == 1

    (tmp_path / "go").touch()
    first.wait_for(1, "one", "end")
    first.stop()
    assert len(second.wait_for(4, "one", "begin")) >= 4
    assert begun.pid not in {note.pid for note in second.notes("one", "begin")[-1:]}
