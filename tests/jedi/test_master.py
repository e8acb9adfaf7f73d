"""The master and its agents, as real processes that die, hang and are told to stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from patience import PATIENCE_SECONDS, eventually
from systems import descendants, processes

from bamboo.core.clock import utc_now
from bamboo.sql import counts, queues, service_rounds, tasks
from bamboo.tests.jedi.rounds import OUTPUT

RUNNER = """
import sys
from pathlib import Path
from bamboo.core import logs
from bamboo.core.settings import load
from bamboo.jedi.master import run_jedi
logs.configure("jedi", style="json")
sys.exit(run_jedi(load([Path(sys.argv[1])]).settings))
"""

#: A refiner that notes each call, and hangs in the first one.
HANGS_ONCE = """
import time
from pathlib import Path
from bamboo.plugins.hookspecs import hookimpl

class Refiner:
    @hookimpl
    def refine_task(self, parameters, user_name):
        notes = Path(__file__).with_name("notes")
        with notes.open("a") as out:
            out.write("called\\n")
        if notes.read_text().count("called") == 1:
            time.sleep(600)
"""


@dataclass
class RunningMaster:
    """A master in a process of its own, with one process for each section unless told otherwise."""

    folder: Path
    url: str
    sections: dict[str, dict[str, Any]]
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        lines = ["[database]", f"url = {self.url}"]
        given = {**self.sections, "master": {"period_seconds": 0.2, **self.sections.get("master", {})}}
        for section, values in given.items():
            lines += [f"[{section}]", *(f"{key} = {value}" for key, value in values.items())]
        config = self.folder / "panda_jedi.cfg"
        config.write_text("\n".join(lines))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", RUNNER, str(config)],
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(self.folder)},
            )

    @property
    def log(self) -> Path:
        return self.folder / "jedi.log"

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [event for event in map(json.loads, lines) if event.get("event") == kind]

    def agents(self) -> set[int]:
        return {process.pid for process in descendants(self.process.pid)}

    def wait_for_agents(self, n: int) -> set[int]:
        found: set[int] = eventually(lambda: agents if len(agents := self.agents()) == n else None, f"{n} agents")
        return found

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Ask it to stop, see that it does with status 0, and say how many seconds it took."""
        started = time.monotonic()
        self.process.send_signal(number)
        assert self.process.wait(PATIENCE_SECONDS) == 0, self.log.read_text()
        return time.monotonic() - started

    def clean_up(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def start_master(tmp_path: Path, database_url: str) -> Iterator[Callable[..., RunningMaster]]:
    started: list[RunningMaster] = []

    def _start(**sections: dict[str, Any]) -> RunningMaster:
        started.append(RunningMaster(tmp_path, database_url, sections))
        return started[-1]

    yield _start
    for master in started:
        master.clean_up()


def submit(engine: sa.Engine) -> int:
    parameters = {
        "taskName": "user.alice.a",
        "vo": "wlcg",
        "prodSourceLabel": "user",
        "noInput": True,
        "nEvents": 3,
        "nEventsPerJob": 1,
        "jobParameters": [OUTPUT],
    }
    with engine.begin() as tx:
        return tasks.insert_task(
            tx,
            parameters,
            actor="alice",
            now=utc_now(),
            request_id=None,
            task_name="user.alice.a",
            user_name="alice",
            vo="wlcg",
            prod_source_label="user",
            split_rule={},
        )


def status(engine: sa.Engine, task: int) -> str:
    with engine.connect() as tx:
        return str(tasks.get_task(tx, task).status)


def gone(pids: set[int]) -> bool:
    return pids.isdisjoint(processes())


def entered(engine: sa.Engine) -> set[tuple[str, str]]:
    """The agents that have entered a round, with their places."""
    with engine.connect() as tx:
        return {(row.service, row.host) for row in service_rounds.last_rounds(tx)}


def test_agents_run_as_configured_and_stop_when_told(
    start_master: Callable[..., RunningMaster], engine: sa.Engine
) -> None:
    """One process for each agent, or as many as `procConfig` says."""
    master = start_master(jobgen={"procConfig": "::3"}, confeeder={"procConfig": "wlcg::1, atlas:user:1"})
    agents = master.wait_for_agents(7 + 2 * 3 + 2)
    eventually(lambda: master.events("master_started"), "the master to be up")
    eventually(lambda: len(entered(engine)) == 7 + 2 * 3 + 2, "each agent to enter a round")
    host = socket.gethostname()
    assert {
        ("jedi/task_refiner", host),
        ("jedi/job_generator", host),
        ("jedi/job_generator", f"{host} (3)"),
    } <= entered(engine)
    assert master.stop() < 60
    assert gone(agents)
    assert master.events("agent_died") == []


def test_a_section_may_have_no_agents(start_master: Callable[..., RunningMaster]) -> None:
    none = {section: {"procConfig": "::0"} for section in ("taskrefine", "confeeder", "taskbroker", "tcommando")}
    master = start_master(**none)
    master.wait_for_agents(6)
    assert master.stop(signal.SIGINT) < 60


def test_a_signal_at_the_very_beginning_is_heard(start_master: Callable[..., RunningMaster]) -> None:
    """Agents that have just been made stop as quickly as others."""
    master = start_master()
    eventually(master.agents, "the first agent")
    assert master.stop() < 60
    assert master.agents() == set()


def test_the_dead_are_replaced_and_work_goes_on(start_master: Callable[..., RunningMaster], engine: sa.Engine) -> None:
    with engine.begin() as tx:
        queues.set_queue(tx, "Q", {"storage": "DISK"}, now=utc_now())
    master = start_master()
    agents = master.wait_for_agents(10)
    for pid in agents:
        os.kill(pid, signal.SIGKILL)
    others = eventually(lambda: new if len(new := master.agents() - agents) == 10 else None, "new agents")
    assert others.isdisjoint(agents)
    assert Counter(event["exit"] for event in master.events("agent_died")) == {-signal.SIGKILL: 10}
    task = submit(engine)
    eventually(lambda: status(engine, task) == "running", "the task to run")
    with engine.connect() as tx:
        assert counts.by_queue_now(tx) == {"Q": {"activated": 3}}
    master.stop()


def test_no_agent_outlives_its_master(start_master: Callable[..., RunningMaster]) -> None:
    master = start_master()
    agents = master.wait_for_agents(10)
    master.process.kill()
    master.process.wait()
    eventually(lambda: gone(agents), "the agents to be gone")


def test_an_agent_that_hangs_is_replaced(
    start_master: Callable[..., RunningMaster], engine: sa.Engine, tmp_path: Path
) -> None:
    """Its task goes on when the lease has run out; agents that only wait are left alone."""
    (tmp_path / "hanging.py").write_text(HANGS_ONCE)
    task = submit(engine)
    master = start_master(
        master={"round_seconds": 1.5, "lease_seconds": 2, "period_seconds": 0.2},
        taskrefine={"modConfig": "::hanging:Refiner, other:user:bamboo.plugins.generic.refiner:GenericTaskRefiner"},
        watchdog={"procConfig": "::1::60"},
    )
    eventually(lambda: master.events("agent_hangs"), "the hanging agent to be noticed")
    eventually(lambda: (tmp_path / "notes").read_text().count("called") >= 2, "another one to try")
    eventually(lambda: status(engine, task) == "pending", "the answer of the plugin to be noted")
    with engine.connect() as tx:
        assert "no plugin answers refine_task" in str(tasks.get_task(tx, task).error_dialog)
    assert {event["agent"] for event in master.events("agent_hangs")} == {"task_refiner"}
    assert {event["agent"] for event in master.events("agent_died")} == {"task_refiner"}
    assert len(master.events("agent_hangs")) == 1
    master.stop()


def test_a_round_is_ended_before_the_agent_stops(
    start_master: Callable[..., RunningMaster], engine: sa.Engine, tmp_path: Path
) -> None:
    """No task is left under a lease when everything was told to stop."""
    (tmp_path / "slow.py").write_text(
        "import time\nfrom pathlib import Path\nfrom bamboo.plugins.hookspecs import hookimpl\n"
        "class Refiner:\n    @hookimpl\n    def refine_task(self, parameters, user_name):\n"
        "        Path(__file__).with_name('notes').touch()\n        time.sleep(1)\n"
    )
    task = submit(engine)
    master = start_master(taskrefine={"modConfig": "::slow:Refiner"})
    eventually((tmp_path / "notes").exists, "the round to begin")
    assert master.stop() < 60
    with engine.connect() as tx:
        row = tasks.get_task(tx, task)
    assert (row.status, row.lease_owner) == ("pending", None)
    assert row.next_round_at > utc_now() - timedelta(seconds=10)
