"""A campaign: a private system at work, a nemesis for as long as it takes, and a verdict when all is at rest."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from ...core.errors import BadState, BambooError
from ...sql import books, migrate
from ...sql.engine import reading
from ..database import opened
from ..tokens import key_folder
from . import checker
from .checker import Violation
from .history import History, Line, Step
from .nemesis import Nemesis, plan
from .postgres import OwnPostgres, own_postgres
from .private import PrivateSystem
from .victims import left_behind
from .workload import USER, Submitter, halt_all, new_client, register_inputs

LOOK_SECONDS = 0.5
WATCH_SECONDS = 1.0
#: How many times the limit is waited for what is late: late and never are different findings.
PATIENCE = 2.0


@dataclass(frozen=True)
class Setting:
    """What to do. `limit_seconds` is how long everything may take after the last fault."""

    folder: Path
    seed: int
    n_kills: int = 300
    pace_seconds: float = 0.3
    limit_seconds: float = 60.0
    n_pilots: int = 3
    n_clients: int = 3
    database_url: str | None = None
    with_postgres: bool = False


@dataclass
class Outcome:
    """What was done and found."""

    setting: Setting
    database: str = ""
    done: Counter[tuple[str, str]] = field(default_factory=Counter)
    submissions: Counter[Step] = field(default_factory=Counter)
    n_tasks: int = 0
    n_inputs: int = 0
    job_ends: dict[str, int] = field(default_factory=dict)
    n_runs: int = 0
    n_whole_runs: int = 0
    storm_seconds: float = 0.0
    rest_seconds: float | None = None  #: from the last fault until all was over; None: never
    violations: list[Violation] = field(default_factory=list)

    @property
    def n_kills(self) -> int:
        return sum(n for (deed, _), n in self.done.items() if deed == "kill")


def run_campaign(setting: Setting, told: Callable[[str], None]) -> Outcome:
    """Run one; raises `BadState` for a database that is not empty, `Unavailable` when the system does not start."""
    outcome = Outcome(setting)
    setting.folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        postgres = stack.enter_context(own_postgres(setting.folder / "postgres")) if setting.with_postgres else None
        url = postgres.url if postgres else setting.database_url
        _must_be_new(url)
        system = PrivateSystem(setting.folder, url, setting.n_pilots)
        stack.callback(system.close)
        system.start()
        engine = stack.enter_context(opened(system.engine_url))
        outcome.database = engine.dialect.name
        canary = _set_secret(system)
        history = History(setting.folder / "history.jsonl")
        stack.callback(history.close)
        watch = Watch(engine, history, setting.folder / "markers")
        mended_at = _storm(system, postgres, watch, outcome, told)
        if outcome.violations:
            told("a promise is broken: the rest is left as it is")
        else:
            told("all faults are over: waiting for the rest")
            outcome.rest_seconds = _rest(engine, system, history, mended_at, setting.limit_seconds)
            _judge(engine, system, list(history.lines()), canary, outcome)
        _sum_up(engine, history, outcome)
    return outcome


class Watch(threading.Thread):
    """Looks over and over, in the middle of the faults, whether what must hold at any moment holds."""

    def __init__(self, engine: sa.Engine, history: History, markers: Path) -> None:
        super().__init__(name="watch", daemon=True)
        self.history = history
        self.found: list[Violation] = []
        self._engine = engine
        self._markers = markers
        self._halt = threading.Event()

    def halt(self) -> None:
        self._halt.set()
        self.join()

    def jobs(self) -> dict[str, int]:
        """How many jobs there are, by state; none while the database is away."""
        with suppress(sa.exc.DBAPIError), reading(self._engine) as tx:
            return books.live_jobs(tx)
        return {}

    def run(self) -> None:
        while not self.found and not self._halt.wait(WATCH_SECONDS):
            with suppress(sa.exc.DBAPIError):  # the database may be away
                self.found = checker.check_now(self._engine, list(self.history.lines()), self._markers)


def _must_be_new(url: str | None) -> None:
    """Raise `BadState` for a database with tables of ours: a campaign is no guest in a system that is used."""
    if url is None:
        return
    with opened(url) as engine:
        if migrate.current(engine) is None:
            return
        with reading(engine) as tx:
            if not books.is_unused(tx):
                hint = "give it an empty database, which it may fill"
                raise BadState(
                    "there are tasks in this database: a campaign never works on one that is used", hint=hint
                )


def _set_secret(system: PrivateSystem) -> list[bytes]:
    """Give the system a secret of a user, and say which texts must be found nowhere."""
    canary = secrets.token_hex(24)
    new_client(system.clients.url).set_secret("CANARY", canary)
    return [canary.encode(), key_folder(system.state).secrets_key.read_bytes().strip()]


def _storm(
    system: PrivateSystem,
    postgres: OwnPostgres | None,
    watch: Watch,
    outcome: Outcome,
    told: Callable[[str], None],
) -> float:
    """Work and faults at once, until enough were killed or a promise is broken; when all was mended, by the monotonic
    clock."""
    setting = outcome.setting
    markers = setting.folder / "markers"
    markers.mkdir(exist_ok=True)
    register_inputs(new_client(system.clients.url), setting.folder / "inputs")
    submitters = [
        Submitter(number, system.clients.url, markers, watch.history, setting.seed)
        for number in range(setting.n_clients)
    ]
    for thread in (*submitters, watch):
        thread.start()
    nemesis = Nemesis(system, postgres, outcome.done, watch.jobs)
    faults = plan(
        setting.seed, setting.pace_seconds, networks=list(system.networks), with_database=postgres is not None
    )
    began, last = time.monotonic(), 0

    def is_over() -> bool:
        nonlocal last
        if nemesis.n_kills // 50 > last:
            last = nemesis.n_kills // 50
            told(f"{nemesis.n_kills} kills after {time.monotonic() - began:.0f} s")
        return nemesis.n_kills >= setting.n_kills or bool(watch.found)

    try:
        nemesis.run(faults, is_over)
        mended_at = time.monotonic()
        outcome.storm_seconds = mended_at - began
    finally:
        watch.halt()
        halt_all(submitters)
    outcome.violations += watch.found
    return mended_at


def _rest(
    engine: sa.Engine, system: PrivateSystem, history: History, began: float, limit_seconds: float
) -> float | None:
    """Wait until all is over; how long it took since it began, or None if it never was."""
    while time.monotonic() < began + PATIENCE * limit_seconds:
        system.revive()
        with suppress(sa.exc.DBAPIError):
            if checker.at_rest(engine, list(history.lines())):
                return time.monotonic() - began
        time.sleep(LOOK_SECONDS)
    return None


def _judge(engine: sa.Engine, system: PrivateSystem, lines: list[Line], canary: list[bytes], outcome: Outcome) -> None:
    setting, found = outcome.setting, outcome.violations
    markers = setting.folder / "markers"
    if outcome.rest_seconds is None:
        found.append(Violation("I8", f"not over {PATIENCE * setting.limit_seconds:.0f} s after the last fault"))
    elif outcome.rest_seconds > setting.limit_seconds:
        found.append(Violation("I8", f"it took {outcome.rest_seconds:.0f} s, not {setting.limit_seconds:.0f} s"))
    found += checker.check(engine, lines, markers)
    status = system.stop()
    if status:
        found.append(Violation("I7", f"`bamboo up` ended with status {status} when it was asked to stop"))
    found += [Violation("I7", f"left behind: {one.command}") for one in left_behind(system.state.root)]
    found += checker.leaks(setting.folder, canary)


def _sum_up(engine: sa.Engine, history: History, outcome: Outcome) -> None:
    last = {line.task_name: line.step for line in history.lines()}
    outcome.submissions = Counter(last.values())
    outcome.n_runs, outcome.n_whole_runs = checker.n_runs(outcome.setting.folder / "markers")
    with suppress(BambooError), reading(engine) as tx:
        seen = books.tasks_of(tx, USER)
        outcome.n_tasks, outcome.n_inputs = len(seen), sum(task.n_finished for task in seen)
        outcome.job_ends = books.job_ends(tx)
