"""SIGKILL of anything at any time: every input counts once, nothing runs twice at once, nothing is left behind."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from patience import PATIENCE_SECONDS, eventually
from systems import KINDS, RunningSystem

from bamboo.client import Task
from bamboo.core.states import JOBS, JobState
from bamboo.sql import datasets
from bamboo.sql import tables as t

N_INPUTS = 60
#: Holds a lock on its input while it works: the kernel frees it with the process, so that a busy lock is a double run.
PAYLOAD = """
import fcntl, pathlib, sys, time
name = sys.argv[1]
lock = open(sys.argv[2] + "/" + name + ".lock", "w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    pathlib.Path(sys.argv[2], name + ".overlap").touch()
time.sleep(0.4)
pathlib.Path("n.txt").write_text(str(len(pathlib.Path(name).read_text())))
"""


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "inputs"
    folder.mkdir()
    for number in range(N_INPUTS):
        (folder / f"in{number:02d}.txt").write_text("x" * number)
    return folder


def submit(system: RunningSystem, inputs: Path, locks: Path) -> int:
    locks.mkdir(exist_ok=True)
    sandbox = system.folder / "sandbox"
    sandbox.mkdir(exist_ok=True)
    (sandbox / "work.py").write_text(PAYLOAD)
    task = system.client.run(
        f"python3 work.py %IN {locks}",
        work_dir=sandbox,
        in_files=[str(inputs)],
        outputs=("n.txt",),
        n_files_per_job=1,
        max_attempt=50,
    )
    return task.task_id


def n_finished(engine: sa.Engine) -> int:
    with engine.connect() as tx:
        statement = sa.select(t.datasets.c.n_files_finished).where(t.datasets.c.is_master)
        return int(tx.scalars(statement).one_or_none() or 0)


def check_books(engine: sa.Engine, task: int, locks: Path) -> None:
    """What must hold when all is over."""
    counted_once = sa.select(t.job_files.c.fileid).where(
        t.job_files.c.type == "input", t.job_files.c.status == "finished"
    )
    made = sa.select(t.catalogue_files.c.url).where(t.catalogue_files.c.pandaid.is_not(None))
    with engine.connect() as tx:
        counted = tx.scalars(counted_once).all()
        states = Counter(tx.scalars(sa.select(t.jobs.c.status)).all())
        registered = tx.scalars(made).all()
        assert datasets.recount(tx, task) == {}
    assert len(counted) == len(set(counted)) == N_INPUTS
    assert states[JobState.FINISHED] == N_INPUTS
    assert set(states) <= JOBS.final
    files = [Path(url.removeprefix("file://localhost")) for url in registered]
    sizes = sorted(int(path.read_text()) for path in files if path.name.endswith("n.txt"))
    assert sizes == list(range(N_INPUTS))
    assert not list(locks.glob("*.overlap"))


@pytest.mark.slow
def test_the_books_are_right_whatever_is_killed(
    database_url: str,
    open_database: Callable[[str], sa.Engine],
    start_system: Callable[..., RunningSystem],
    inputs: Path,
    tmp_path: Path,
) -> None:
    rng = random.Random(int(os.environ.get("BAMBOO_TEST_SEED", "1")))
    engine = open_database(database_url)
    system = start_system("--pilots", "3", "--db", database_url)
    task = submit(system, inputs, tmp_path / "locks")
    killed: Counter[str] = Counter()

    def time_for_the_next(done: int) -> bool:
        """When things have moved, or not yet, so that kills hit all stages of the work."""
        return n_finished(engine) != done or rng.random() < 0.1

    victims = [*KINDS, *rng.choices(list(KINDS), k=5)]
    rng.shuffle(victims)
    for kind in victims:
        done = n_finished(engine)
        if done == N_INPUTS:
            break
        eventually(partial(system.kill_one, kind, rng), f"a {kind} to kill")
        killed[kind] += 1
        eventually(partial(time_for_the_next, done), "progress")
    info = Task(system.client, task).wait(timeout_seconds=PATIENCE_SECONDS)
    assert info.status == "done", (info, killed)
    assert set(killed) == set(KINDS)
    check_books(engine, task, tmp_path / "locks")
    assert system.stop() == 0
    assert system.left_behind() == []


@pytest.mark.slow
def test_after_the_power_was_cut_everything_goes_on(
    database_url: str,
    open_database: Callable[[str], sa.Engine],
    start_system: Callable[..., RunningSystem],
    inputs: Path,
    tmp_path: Path,
) -> None:
    """The supervisor dies and takes everything with it; started again, the system finishes the task by itself."""
    system = start_system("--pilots", "3", "--db", database_url)
    task = submit(system, inputs, tmp_path / "locks")
    eventually(lambda: system.client.task_info(task).n_files_finished >= 3, "some progress")
    system.process.send_signal(signal.SIGKILL)
    system.process.wait()
    eventually(lambda: not system.left_behind(), "all processes to be gone")
    system.start()
    info = Task(system.client, task).wait(timeout_seconds=PATIENCE_SECONDS)
    assert info.status == "done", info
    check_books(open_database(database_url), task, tmp_path / "locks")
    assert system.stop() == 0
