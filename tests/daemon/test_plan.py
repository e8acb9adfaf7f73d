"""Which chores a configuration asks for, and when each is due."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from patience import PATIENCE_SECONDS

from bamboo.core.errors import BadSettings
from bamboo.core.settings import DaemonSection, Settings, load
from bamboo.daemon.chore import Chore, plan
from bamboo.daemon.defaults import COUNTERPARTS, DEFAULT_ENTRIES, NOT_PROVIDED
from bamboo.daemon.master import run_daemon
from bamboo.daemon.messages import Order, Outcome, Result
from bamboo.daemon.schedule import Planned, due
from bamboo.daemon.worker import Worker
from bamboo.sql import tables as t

#: The example of the manual, ch. 11.1.2.
DOCUMENTED = """
[daemon]
# whether to run daemons for PanDA
enable = True
# user and group name to run daemons
uname = atlpan
gname = zp
# package path of script modules to run in daemon
package = pandaserver.daemons.scripts
# number of worker processes to run daemons
n_proc = 4
# when exceeding lifetime, worker process will be respawned
proc_lifetime = 14400
# configuration in json about daemons
# of the form {"daemon_name": {"module": <module_name>, "period": <period>, ...}, ...}
config = {
    "dummy_test": {
        "enable": true, "period": 120},
    "add_main": {
        "enable": true, "period": 240, "loop": true},
    "add_sub": {
        "enable": true, "period": 240},
    "evpPD2P": {
        "enable": true, "period": 600},
    "copyArchive": {
        "enable": true, "period": 2400, "sync": true},
    "datasetManager": {
        "enable": true, "period": 2400, "sync": true},
    "proxyCache": {
        "module": "panda_activeusers_query", "enable": true, "period": 600},
    "pilot_streaming": {
        "module": "pilotStreaming", "enable": true, "period": 300},
    "configurator": {
        "enable": true, "module": "configurator", "period": 200, "sync": true},
    "network_configurator": {
        "enable": true, "module": "configurator", "arguments": ["--network"], "period": 400, "sync": true},
    "schedconfig_json": {
        "enable": true, "module": "configurator", "arguments": ["--json_dump"], "period": 200, "sync": true}
    }
"""


def test_the_documented_example_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "panda_server.cfg"
    path.write_text(DOCUMENTED)
    found = plan(load([path]).settings.daemon)

    ours = "bamboo.daemon.chores."
    assert found.chores == (
        Chore("add_main", ours + "adder", 240, loop=True),
        Chore("add_sub.activator", ours + "activator", 240),
        Chore("add_sub.aggregates", ours + "aggregates", 240),
        Chore("copyArchive.watcher", ours + "watcher", 2400, sync=True),
        Chore("copyArchive.archive", ours + "archive", 2400, sync=True),
        Chore("datasetManager.closer", ours + "closer", 2400, sync=True),
        Chore("datasetManager.cleaner", ours + "cleaner", 2400, sync=True),
        Chore("configurator", ours + "configurator", 200, sync=True),
        Chore("network_configurator", ours + "configurator", 400, sync=True, arguments=("--network",)),
        Chore("schedconfig_json", ours + "configurator", 200, sync=True, arguments=("--json_dump",)),
    )
    assert set(found.not_provided) == {
        "dummy_test",
        "evpPD2P",
        "proxyCache",
        "pilot_streaming",
    }


def test_what_runs_when_nothing_is_configured() -> None:
    assert {chore.name for chore in plan(DaemonSection()).chores} == set(DEFAULT_ENTRIES)


def test_no_script_is_both_there_and_not_there() -> None:
    assert not set(COUNTERPARTS) & set(NOT_PROVIDED)


def test_all_faults_are_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "strange_scripts"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "good.py").write_text("def build(context, arguments): ...")
    (package / "broken.py").write_text("import no_such_library")
    (package / "unbuildable.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    config = {name: {"period": 1} for name in ("good", "goood", "broken", "unbuildable")}

    with pytest.raises(BadSettings) as caught:
        plan(DaemonSection(package="strange_scripts", config=config))
    faults = {fault.where: f"{fault.what}; {fault.do}" for fault in caught.value.faults}
    assert faults == {
        "[daemon] config goood": "there is no module strange_scripts.goood; did you mean 'good'?",
        "[daemon] config broken": (
            "cannot import strange_scripts.broken: No module named 'no_such_library';"
            " correct `package`, or the module itself"
        ),
        "[daemon] config unbuildable": (
            "strange_scripts.unbuildable has no build(context, arguments); see docs/daemon.md"
        ),
    }


@pytest.mark.parametrize(
    ("package", "module", "said"),
    [
        ("bamboo.daemon.chores", "addr", "did you mean 'adder'?"),
        ("bamboo.daemon.chores", "dummy_test", "there is no module bamboo.daemon.chores.dummy_test"),
        ("pandaserver.daemons.scripts", "add_mian", "did you mean 'add_main'?"),
        ("no_such_package", "adder", "No module named 'no_such_package'"),
    ],
)
def test_an_unknown_module_is_an_error(package: str, module: str, said: str) -> None:
    with pytest.raises(BadSettings) as caught:
        plan(DaemonSection(package=package, config={"a": {"period": 1, "module": module}}))
    assert said in str(caught.value)


def test_our_chores_take_no_arguments() -> None:
    with pytest.raises(BadSettings, match="takes no arguments"):
        plan(DaemonSection(config={"adder": {"period": 1, "arguments": ["-n", 3]}}))


def test_a_chore_of_ours_takes_the_arguments_that_it_knows() -> None:
    def _plan(*words: str) -> Chore:
        entry = {"period": 1, "arguments": list(words)}
        return plan(DaemonSection(config={"configurator": entry})).chores[0]

    assert _plan("--network", "--json_dump").arguments == ("--network", "--json_dump")
    with pytest.raises(BadSettings, match=r"takes no argument --netwrk \(did you mean '--network'\?\)"):
        _plan("--netwrk")


def test_a_daemon_that_is_not_enabled_does_not_start() -> None:
    with pytest.raises(BadSettings, match="enable = True"):
        run_daemon(Settings(), "sqlite://")


def planned(*, period: float = 10, loop: bool = False) -> Planned:
    return Planned(Chore("a", "m", period, loop=loop), due_at=100)


def half() -> float:
    return 0.5


@pytest.mark.parametrize(
    ("loop", "result", "ended_at", "due_at"),
    [
        (False, Result.IDLE, 103, 110),
        (False, Result.WORKED, 103, 110),
        (False, Result.WORKED, 125, 125),  # late: at once, not twice
        (True, Result.WORKED, 103, 103),
        (True, Result.IDLE, 103, 110),
    ],
)
def test_when_a_run_is_due_again(loop: bool, result: Result, ended_at: float, due_at: float) -> None:
    one = planned(loop=loop)
    one.begin(100)
    one.end(Outcome("a", result), ended_at, half)
    assert one.due_at == due_at
    assert one.continues == (loop and result is Result.WORKED)


def test_failures_make_the_pauses_longer_up_to_a_bound() -> None:
    one, pauses = planned(), []
    for _ in range(9):
        one.begin(100)
        one.end(Outcome("a", Result.FAILED), 100, half)
        pauses.append(one.due_at - 100)
    assert pauses == [0.75, 1.5, 3, 6, 12, 24, 45, 45, 45]

    one.begin(100)
    one.end(Outcome("a", Result.IDLE), 100, half)
    assert (one.failures, one.due_at) == (0, 110)


def test_who_waited_longest_is_first() -> None:
    early, late, running, future = planned(), planned(), planned(), planned()
    late.due_at, future.due_at = 101, 200
    running.begin(100)
    assert [id(one) for one in due([future, late, running, early], 150)] == [id(early), id(late)]


def test_an_overrun_is_told_once_and_never_of_a_loop() -> None:
    one, looping = planned(), planned(loop=True)
    for each in (one, looping):
        each.begin(100)
    assert not one.overruns(109)
    assert one.overruns(110)
    one.overrun_told = True
    assert not one.overruns(111)
    assert not looping.overruns(1000)


def test_what_is_not_provided_is_said_once(tmp_path: Path, sqlite_url: str) -> None:
    """The documented example as it stands, in a real daemon."""
    path = tmp_path / "panda_server.cfg"
    path.write_text(DOCUMENTED)
    script = (
        "import logging, os, signal, sys\n"
        "from pathlib import Path\n"
        "from bamboo.core.settings import load\n"
        "from bamboo.daemon.master import run_daemon\n"
        "logging.basicConfig(level='INFO')\n"
        "class Stop(logging.Handler):\n"
        "    def emit(self, record):\n"
        "        if getattr(record, 'event', '') == 'daemon_started': signal.alarm(2)\n"
        "logging.getLogger().addHandler(Stop())\n"
        "signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGTERM))\n"
        "sys.exit(run_daemon(load([Path(sys.argv[1])]).settings, sys.argv[2]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), sqlite_url], capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )

    assert done.returncode == 0
    assert done.stderr.count("there is no such chore here") == 1
    assert "evpPD2P: data are not placed by their popularity" in done.stderr
    assert "Traceback" not in done.stderr


THIEF = """
from datetime import timedelta
import sqlalchemy as sa
from bamboo.sql import leases, settings
from bamboo.sql.tables import leases as table

class Thief:
    name = "thief"
    def __init__(self, context):
        self.context = context
    def write(self, key):
        with self.context.begin() as tx:
            settings.set_value(tx, "test", key, "test", "1", kind="int", now=self.context.clock())
    def run_once(self):
        self.write("before")
        later = self.context.clock() + timedelta(hours=1)
        with self.context.engine.begin() as tx:  # the lease runs out, and another machine takes it
            assert leases.acquire(tx, "daemon/thief", "another", until=later, now=later) is not None
        self.write("after")

def build(context, arguments):
    return Thief(context)
"""


def test_a_run_whose_lease_was_lost_writes_no_more(
    engine: Any, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "thief_of_leases.py").write_text(THIEF)
    monkeypatch.syspath_prepend(tmp_path)
    worker = Worker({"thief": Chore("thief", "thief_of_leases", 1, sync=True)}, Settings(), database_url, "me")
    assert worker._execute(Order("thief")).result is Result.ELSEWHERE
    worker.tools.engine.dispose()

    with engine.connect() as tx:
        assert list(tx.scalars(sa.select(t.settings.c.key))) == ["before"]
        assert tx.execute(sa.select(t.leases.c.owner)).scalar_one() == "another"
