"""Kills each process of a system before and after each of its commits and sendings (`crash/sitecustomize`)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from crash import sitecustomize
from patience import eventually

from bamboo.admin.chaos import checker
from bamboo.admin.chaos.checker import Violation
from bamboo.admin.chaos.history import History, Step
from bamboo.admin.chaos.private import PrivateSystem
from bamboo.admin.database import opened

HOOK = Path(sitecustomize.__file__).parent
#: Longer than two periods of each chore or agent of such a flow, but for the archive with its ten minutes.
PERIOD_SECONDS = 25.0
N_INPUTS = 2
#: A client in a process of its own; prints the id of its task.
CLIENT = """
import sys
from pathlib import Path
from bamboo.admin.chaos.workload import new_client, register_inputs, task_spec
url, inputs, name, n_inputs, markers, skip_scout = sys.argv[1:]
client = new_client(url)
register_inputs(client, Path(inputs))
spec = task_spec(name, int(n_inputs), Path(markers), skip_scout=skip_scout == "True")
print(client.submit(spec).task_id)
"""


@dataclass
class CrashingSystem:
    """A system whose processes know the points, and clients that make it work."""

    folder: Path
    system: PrivateSystem
    engine: sa.Engine
    history: History
    _n_tasks: int = 0

    def points(self) -> list[str]:
        """All points that somebody came to so far, in order."""
        return sorted({*(self.folder / "seen").read_text().splitlines()})

    def flow(self, *, until: Callable[[], bool] = lambda: True) -> None:
        """Have a task with scouts and one without done, and then a period pass unless what is asked for has come."""
        for skip_scout in (True, False):
            eventually(partial(self._submit, skip_scout=skip_scout), "a submission to be acknowledged")
        eventually(self._is_at_rest, "everything to be over")
        deadline = time.monotonic() + PERIOD_SECONDS
        while not until() and time.monotonic() < deadline:
            self.system.revive()
            time.sleep(0.1)

    def power_cut(self) -> None:
        """Kill the supervisor, with which all parts go, and start it again."""
        if self.system.process is not None:
            self.system.process.kill()
            self.system.process.wait()
        eventually(self._is_up, "the system to be up again")

    def crash_at(self, points: Sequence[str]) -> set[str]:
        """Have processes killed at these points; returns those that somebody came to."""
        armed = {point: self.folder / "armed" / sitecustomize.name_of(point) for point in points}
        for file in armed.values():
            file.touch()

        def all_fired() -> bool:
            return not any(file.exists() for file in armed.values())

        self.flow()
        if not all_fired():  # some come only when a process starts, or once in a while
            self.power_cut()
            self.flow(until=all_fired)
        fired = {point for point, file in armed.items() if not file.exists()}
        for file in armed.values():
            file.unlink(missing_ok=True)
        eventually(self._is_at_rest, "everything to be over")
        return fired

    def violations(self) -> list[Violation]:
        """What is wrong of the books, at rest."""
        return checker.check(self.engine, list(self.history.lines()), self.folder / "markers")

    def _submit(self, *, skip_scout: bool) -> bool:
        self.system.revive()
        self._n_tasks += 1
        name = f"user.chaos.n{self._n_tasks}"
        self.history.note(Step.INVOKE, f"{name}/", N_INPUTS)
        folders = [str(self.folder / "inputs"), name, str(N_INPUTS), str(self.folder / "markers")]
        words = [self.system.clients.url, *folders, str(skip_scout)]
        done = subprocess.run(
            [sys.executable, "-P", "-c", CLIENT, *words],
            capture_output=True,
            text=True,
            env={**os.environ, **self.system.environ},
        )
        if done.returncode == 0:
            self.history.note(Step.OK, f"{name}/", N_INPUTS, task_id=int(done.stdout))
        else:
            self.history.note(Step.UNKNOWN, f"{name}/", N_INPUTS, told=done.stderr[-300:])
        return done.returncode == 0

    def _is_up(self) -> bool:
        self.system.revive()
        return self.system.is_ready()

    def _is_at_rest(self) -> bool:
        self.system.revive()
        with suppress(sa.exc.DBAPIError):
            return checker.at_rest(self.engine, list(self.history.lines()))
        return False


@contextmanager
def crashing_system(folder: Path, database_url: str) -> Iterator[CrashingSystem]:
    """Start one; `folder` has to be new."""
    for name in ("armed", "fired", "markers"):
        (folder / name).mkdir(parents=True)
    paths = os.pathsep.join([str(HOOK), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    system = PrivateSystem(folder, database_url, 2, {"CRASH_POINTS": str(folder), "PYTHONPATH": paths})
    try:
        system.start()
        with opened(database_url) as engine:
            history = History(folder / "history.jsonl")
            yield CrashingSystem(folder, system, engine, history)
            history.close()
    finally:
        system.stop()
        system.close()


@dataclass
class Matrix:
    """What was found: for each point whether somebody was killed there, and what was wrong afterwards."""

    fired: dict[str, bool] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """The matrix as a table of Markdown: a row for each place, with what became of the kills before and after."""
        words = {True: "killed", False: "not reached again", None: ""}
        yield "| process | where | before | after |"
        yield "|---|---|---|---|"
        for place in sorted({point.rpartition(": ")[0] for point in self.fired}):
            kind, _, what = place.partition(": ")
            told = [words[self.fired.get(f"{place}: {moment}")] for moment in ("before", "after")]
            yield f"| {kind} | {what} | {' | '.join(told)} |"
        yield ""
        yield f"{sum(self.fired.values())} kills, {len(self.violations)} violations."


def crash_everywhere(crashing: CrashingSystem, points: Iterable[str], at_a_time: int) -> Matrix:
    """Have processes killed at all these points, so many in each flow, and look at the books after each flow."""
    matrix, waiting = Matrix(), list(points)
    while waiting:
        some, waiting = waiting[:at_a_time], waiting[at_a_time:]
        fired = crashing.crash_at(some)
        matrix.fired |= {point: point in fired for point in some}
        found = crashing.violations()
        matrix.violations += [f"after {some}: {violation}" for violation in found]
        if found:
            break
    return matrix
