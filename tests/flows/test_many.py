"""Two machines of everything over one database: nothing is doubled, whichever of their processes dies."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Barrier

import pytest
import sqlalchemy as sa
from patience import PATIENCE_SECONDS, eventually
from stand_ins import StandIns
from systems import Operator, descendants, processes

from bamboo.benchmarks.doubles import doubles
from bamboo.benchmarks.generate import parameters
from bamboo.benchmarks.population import Population
from bamboo.client import Task, connect
from bamboo.client.errors import Refused
from bamboo.core.clock import utc_now
from bamboo.core.states import JobState
from bamboo.jedi.agents import JobGenerator
from bamboo.sql import counts, datasets, leases, queues
from bamboo.sql import tables as t
from bamboo.sql.engine import reading

QUEUES = ("Q0", "Q1")
#: Who submits through which machine: one user through both, and users of their own.
SUBMITTERS = (("alice", 0), ("alice", 1), ("bob", 0), ("carol", 1))
N_INPUTS = 40
#: Beside them one task that two ask for.
N_TASKS = len(SUBMITTERS) + 1
N_JOBS = N_INPUTS * N_TASKS
#: Chores that look often, so that there is a moment at which one is killed, and short leases, to see them end.
CHORES = {
    "adder": {"period": 0.2},
    **{name: {"period": 0.2, "sync": True} for name in ("watcher", "activator", "closer", "aggregates")},
}
FILES = {
    "panda_common.cfg": "[common]\nlogdir = {folder}/logs\n",
    "panda_server.cfg": """
[server]
cache_dir = {folder}/cache
workers = 2
[daemon]
enable = true
n_proc = 2
lease_seconds = 5
config = {chores}
""",
    "panda_jedi.cfg": """
[master]
period_seconds = 0.3
lease_seconds = 5
[jobgen]
tasks_per_round = 1
jobs_per_transaction = 5
""",
}


@dataclass
class Machine(Operator):
    """A machine with a name, a folder and a configuration of its own; the network and the database are shared."""

    name: str = ""
    url: str = ""

    def set_up(self, database_url: str) -> None:
        (self.folder / "logs").mkdir(parents=True)
        for name, text in FILES.items():
            (self.folder / name).write_text(text.format(folder=self.folder, chores=json.dumps(CHORES)))
        self.environ["BAMBOO_DATABASE__URL"] = database_url

    def start_part(self, part: str, *options: str) -> None:
        """Start a part in a namespace in which the machine has its name; the process started becomes the part."""
        words = ["unshare", *([] if os.geteuid() == 0 else ["-U", "-r"]), "-u", "sh", "-c", 'hostname "$0"; exec "$@"']
        command = [sys.executable, "-m", "bamboo", part, *options]
        self.start_program(part, *words, self.name, *command)

    def start_all(self) -> None:
        self.start_part("server", "--port", "0")
        self.environ["BAMBOO_URL"] = self.url = self.wait_for("server", "serving at ")
        eventually(lambda: self.command("queue", "list").returncode == 0, "the server")
        for part in ("jedi", "daemon"):
            self.start_part(part)

    def freeze(self, part: str) -> None:
        """Stop all processes of a part where they are."""
        root = self.running[part].pid
        for pid in (root, *(process.pid for process in descendants(root))):
            os.kill(pid, signal.SIGSTOP)

    def kill(self, part: str) -> None:
        """SIGKILL a part; what it has started ends with it."""
        below = {process.pid for process in descendants(self.running[part].pid)}
        assert below
        self.stop(part, signal.SIGKILL)
        eventually(lambda: not below & set(processes()), f"the processes of {part} to be gone")


@pytest.fixture
def engine(postgres_url: str, open_database: Callable[[str], sa.Engine]) -> sa.Engine:
    """The database of both machines, with storage, queues and a dataset for each task."""
    engine = open_database(postgres_url)
    with engine.begin() as tx:
        queues.set_storage(tx, "DISK", site="S", endpoint="file://localhost", path="/storage")
        for queue in QUEUES:
            queues.set_queue(tx, queue, {"site": "S", "storage": "DISK"}, now=utc_now())
    for number in range(N_TASKS):
        Population(engine, seed=1).add_dataset(dataset(number), N_INPUTS)
    return engine


@pytest.fixture
def machines(engine: sa.Engine, postgres_url: str, tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    pair = Machine(tmp_path / "m0", name="machine0"), Machine(tmp_path / "m1", name="machine1")
    try:
        for machine in pair:
            machine.set_up(postgres_url)
            machine.start_all()
        yield pair
    finally:
        for machine in pair:
            machine.clean_up()


@pytest.mark.slow
def test_each_thing_is_made_once_whatever_dies(engine: sa.Engine, machines: tuple[Machine, Machine]) -> None:
    with held_up(engine, t.jobs):
        tasks = submit_at_once(machines)
        tasks_held = kill_a_holder([machines[1]], "jedi", lambda: generated_by(engine))
    with StandIns([machine.url for machine in machines], QUEUES, n_pilots=6) as pilots:
        pilots.allow(N_JOBS // 4)
        eventually(lambda: n_jobs(engine, JobState.FINISHED), "jobs to be booked")
        n_lost = kill_server_with_requests(machines[0], pilots)
        with held_up(engine, t.job_counts):
            chores_held = kill_a_holder(machines, "daemon", lambda: chore_holders(engine, "aggregates"))
        pilots.allow(N_JOBS)
        client = connect(machines[1].url, user="alice")
        for task in tasks:
            info = Task(client, task).wait(timeout_seconds=PATIENCE_SECONDS)
            assert (info.status, info.n_files_finished) == ("done", N_INPUTS), info
    assert pilots.refused == []
    assert pilots.unanswered[machines[0].url] >= n_lost
    assert not pilots.unanswered[machines[1].url]
    check_jobs(engine, pilots)
    check_counters(engine, tasks)
    check_locks(engine, tasks_held, chores_held)
    assert [machine.stop(part) for machine in machines for part in list(machine.running)] == [0, 0, 0]
    told = [path for machine in machines for path in machine.folder.rglob("*") if path.suffix in (".log", ".out")]
    assert told
    assert not [path for path in told if "Traceback" in path.read_text()]


def submit_at_once(machines: tuple[Machine, Machine]) -> list[int]:
    """All tasks at one moment, through both servers; one of a name that may be there once, through both too."""
    ready = Barrier(len(SUBMITTERS) + 2)

    def submit(number: int, user: str, at: int, **more: object) -> int | None:
        name = f"user.{user}.many{number}"
        client = connect(machines[at].url, user=user)
        ready.wait(PATIENCE_SECONDS)
        try:
            return client.submit_parameters({**parameters(name, dataset(number)), **more})
        except Refused as refusal:
            assert "of that name is in" in str(refusal)
            return None

    with ThreadPoolExecutor(len(SUBMITTERS) + 2) as pool:
        plain = [pool.submit(submit, number, user, at) for number, (user, at) in enumerate(SUBMITTERS)]
        unique = [pool.submit(submit, len(SUBMITTERS), "dora", at, uniqueTaskName=True) for at in (0, 1)]
        tasks = [one.result() for one in (*plain, *unique)]
    entered = [task for task in tasks if task is not None]
    assert len(entered) == len(set(entered)) == N_TASKS, tasks
    return entered


def dataset(number: int) -> str:
    return f"user.many.in{number}"


def n_jobs(engine: sa.Engine, *states: JobState) -> int:
    """How many jobs there are, in these states or in any."""
    wanted = [t.jobs.c.status.in_(states)] if states else []
    with reading(engine) as tx:
        return tx.scalar(sa.select(sa.func.count()).select_from(t.jobs).where(*wanted)) or 0


@contextmanager
def held_up(engine: sa.Engine, table: sa.Table) -> Iterator[None]:
    """Let nobody write to a table meanwhile: whoever wants to waits in a transaction, with what he holds."""
    with engine.begin() as tx:
        tx.exec_driver_sql(f"LOCK TABLE {table.name} IN SHARE MODE")
        yield


Holders = Mapping[int | str, str]  #: owner by what it holds, without the name of the agent


def generated_by(engine: sa.Engine) -> Holders:
    """The Job Generators that hold tasks."""
    generators = t.tasks.c.lease_owner.startswith(f"{JobGenerator.name}@")
    with reading(engine) as tx:
        held = tx.execute(sa.select(t.tasks.c.jeditaskid, t.tasks.c.lease_owner).where(generators))
        return {row.jeditaskid: row.lease_owner.partition("@")[2] for row in held}


def chore_holders(engine: sa.Engine, *chores: str) -> Holders:
    """The workers of daemons that do these chores."""
    names = t.leases.c.name.in_([f"daemon/{chore}" for chore in chores])
    with reading(engine) as tx:
        held = tx.execute(sa.select(t.leases.c.name, t.leases.c.owner).where(names, t.leases.c.owner.is_not(None)))
        return {row.name: row.owner for row in held}


def kill_a_holder(machines: Sequence[Machine], part: str, look: Callable[[], Holders]) -> Holders:
    """Kill that part of the first machine on which it holds something; returns what."""

    def killed() -> Holders:
        found = look()
        for machine in machines:
            held = {what: owner for what, owner in found.items() if owner.startswith(f"{machine.name}:")}
            if held:
                machine.kill(part)
                return held
        return {}

    return dict(eventually(killed, f"a {part} that holds something"))


def kill_server_with_requests(machine: Machine, pilots: StandIns) -> int:
    """Kill a server to which pilots have sent what it will never answer; returns how many such requests."""
    machine.freeze("server")
    pilots.allow(N_JOBS // 4)
    n_lost = int(eventually(lambda: pilots.waiting[machine.url] > 1 and pilots.waiting[machine.url], "requests"))
    machine.kill("server")
    return n_lost


def check_jobs(engine: sa.Engine, pilots: StandIns) -> None:
    """One job for each input, one claim and one end for each job, and outputs of names of their own."""
    assert doubles(engine) == {}
    assert len(pilots.taken) == len(set(pilots.taken)) == N_JOBS
    is_input = t.job_files.c.type == "input"
    with reading(engine) as tx:
        states = Counter(tx.scalars(sa.select(t.jobs.c.status)))
        counted = tx.scalars(sa.select(t.job_files.c.fileid).where(is_input, t.job_files.c.status == "finished")).all()
        inputs = tx.scalars(sa.select(t.files.c.fileid)).all()
        made = tx.scalars(sa.select(t.job_files.c.lfn).where(~is_input)).all()
        registered = tx.scalars(sa.select(t.catalogue_files.c.lfn).where(t.catalogue_files.c.pandaid.is_not(None)))
        assert sorted(registered) == sorted(made)
    assert states == {JobState.FINISHED: N_JOBS}
    assert sorted(counted) == sorted(inputs)
    assert len(made) == len(inputs) == N_JOBS


def check_counters(engine: sa.Engine, tasks: list[int]) -> None:
    with reading(engine) as tx:
        assert {task: datasets.recount(tx, task) for task in tasks} == {task: {} for task in tasks}

    def kept() -> Counter[str]:
        with reading(engine) as tx:
            rows = counts.by_queue(tx)
        return sum((Counter(some) for some in rows.values()), Counter())

    eventually(lambda: kept() == {JobState.FINISHED: N_JOBS}, "the kept counts to be those of the jobs")


def check_locks(engine: sa.Engine, tasks_held: Holders, chores_held: Holders) -> None:
    """Nothing belongs to the dead: their tasks are over, and others have done their chores since."""
    with reading(engine) as tx:
        tasks = tx.execute(
            sa.select(t.tasks.c.status, t.tasks.c.lease_owner).where(t.tasks.c.jeditaskid.in_(tasks_held))
        )
        assert {(row.status, row.lease_owner) for row in tasks} == {("done", None)}
    names = [str(name) for name in chores_held]

    def last_runs() -> dict[str, datetime]:
        with reading(engine) as tx:
            return leases.last_runs(tx, names)

    before = last_runs()
    eventually(lambda: all(last_runs()[name] > before[name] for name in names), "the chores of the dead to be done")
    assert not set(chore_holders(engine, *CHORES).values()) & set(chores_held.values())
