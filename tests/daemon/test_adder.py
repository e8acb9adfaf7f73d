from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.core.states import JobState
from bamboo.daemon.chores.adder import Added, Adder
from bamboo.daemon.context import Context
from bamboo.sql import jobs
from bamboo.sql import tables as t


def test_a_finished_job_is_booked_once(world: Any, context: Context) -> None:
    world.start(3)
    (pandaid,) = world.hold(1)
    (running,) = world.run(1)

    assert Adder(context).run_once() == Added(finished=1)
    assert Adder(context).run_once() == Added()

    rows = world.jobs()
    assert (rows[pandaid].status, rows[running.pandaid].status) == ("finished", "running")
    assert {lfn: (row.status, row.pandaid) for lfn, row in world.inputs().items()} == {
        "in.0": ("finished", None),
        "in.1": ("running", running.pandaid),
        "in.2": ("ready", None),
    }
    assert world.catalogue() == ["log.1", "output.1"]
    assert world.miscounted() == {}
    assert world.task_status() == "running"


def test_the_last_job_completes_the_task(world: Any, context: Context) -> None:
    world.start(2)
    world.hold(2)

    assert Adder(context).run_once() == Added(finished=2, tasks_completed=1)
    assert world.task_status() == "prepared"


def test_a_failed_job_gives_its_input_back_until_the_attempts_are_over(world: Any, context: Context) -> None:
    world.start(1, max_attempt=2)
    for end in ("ready", "failed"):
        world.hold(1, "failed", exe_error_code=65, exe_error_diag="it broke")
        assert Adder(context).run_once().failed == 1
        assert world.inputs()["in.0"].status == end
        assert world.miscounted() == {}

    assert world.inputs()["in.0"].failed_attempts == 2
    assert world.catalogue() == ["log.1", "log.2"]  # what a failed job logged is there to be read
    assert world.task_status() == "prepared"


def test_outputs_that_are_not_there_fail_the_job(world: Any, context: Context) -> None:
    def lose(report: dict[str, Any]) -> None:
        del report["output.1"]

    world.start(1)
    (pandaid,) = world.hold(1, edit=lose)

    assert Adder(context).run_once() == Added(failed=1)
    row = world.jobs()[pandaid]
    assert (row.status, row.ddm_error_code) == ("failed", 200)
    assert row.ddm_error_diag == "an expected output is not in the pilot's report: output.1"
    assert world.inputs()["in.0"].status == "ready"
    assert world.catalogue() == ["log.1"]


def test_a_killed_job_is_cancelled_and_its_input_uncharged(world: Any, context: Context, clock: ManualClock) -> None:
    world.start(1)
    held = world.run(1)
    with world.engine.begin() as tx:
        jobs.order(tx, held, "tobekilled", now=clock())
    (pandaid,) = world.report(held, "failed", pilot_error_code=1144)

    assert Adder(context).run_once() == Added(cancelled=1)
    assert world.jobs()[pandaid].status == JobState.CANCELLED
    assert (world.inputs()["in.0"].status, world.inputs()["in.0"].failed_attempts) == ("ready", 0)


def edit_output(**changes: Any) -> Any:
    """Changes what the report says of the first job's output."""

    def edit(report: dict[str, Any]) -> None:
        if "output.1" in report:
            report["output.1"] = {
                key: value for key, value in (report["output.1"] | changes).items() if value is not None
            }

    return edit


@pytest.mark.parametrize(
    "changes",
    [
        {"fsize": None},
        {"fsize": -1},
        {"fsize": "much"},
        {"adler32": None},
        {"adler32": "nothexad"},
        {"adler32": "0123456789"},
    ],
)
def test_an_output_without_size_or_checksum_fails_the_job(
    sqlite_url: str, open_database: Any, make_world: Any, make_context: Any, changes: dict[str, Any]
) -> None:
    engine = open_database(sqlite_url)
    world = make_world(engine).start(1)
    (pandaid,) = world.hold(1, edit=edit_output(**changes))

    assert Adder(make_context(engine)).run_once() == Added(failed=1)
    assert world.jobs()[pandaid].ddm_error_code == 207
    assert "output.1" in world.jobs()[pandaid].ddm_error_diag


@pytest.mark.parametrize("guid", ["", "NULL"])
def test_an_output_whose_guid_is_left_to_us_gets_one(world: Any, context: Context, guid: str) -> None:
    """As PanDA's pilot does it (pilot protocol 18.5)."""
    world.start(1)
    world.hold(1, edit=edit_output(guid=guid))

    assert Adder(context).run_once().finished == 1
    with world.engine.connect() as tx:
        guids = dict(tx.execute(sa.select(t.catalogue_files.c.lfn, t.catalogue_files.c.guid)).all())
    assert uuid.UUID(guids["output.1"])


def test_a_report_of_a_strangers_file_fails_the_job(world: Any, context: Context) -> None:
    def steal(report: dict[str, Any]) -> None:
        report["output.2"] = report["output.1"]

    world.start(2)
    held = world.run(2)
    (pandaid,) = world.report(held[:1], edit=steal)

    assert Adder(context).run_once() == Added(failed=1)
    assert world.jobs()[pandaid].ddm_error_code == 208
    assert world.catalogue() == ["log.1"]
    assert world.miscounted() == {}


def test_an_output_that_may_be_missing_may_be_missing(world: Any, context: Context) -> None:
    def lose(report: dict[str, Any]) -> None:
        del report["output.1"]

    world.start(1)
    held = world.run(1)
    with world.engine.begin() as tx:
        tx.execute(sa.update(t.job_files).where(t.job_files.c.type == "output").values(may_be_missing=True))
    world.report(held, edit=lose)

    assert Adder(context).run_once() == Added(finished=1, tasks_completed=1)
    assert world.catalogue() == ["log.1"]


def test_a_failure_without_a_reason_gets_one(world: Any, context: Context) -> None:
    world.start(1)
    (pandaid,) = world.hold(1, "failed", trans_exit_code=7)
    Adder(context).run_once()

    row = world.jobs()[pandaid]
    assert (row.sup_error_code, row.sup_error_diag) == (
        300,
        "the pilot reported a failure without a reason (exit code 7)",
    )


def test_a_hopeless_failure_is_not_tried_again(world: Any, context: Context) -> None:
    """The built-in retry plugin knows that wrong arguments stay wrong."""
    world.start(1)
    world.hold(1, "failed", exe_error_code=10, exe_error_diag="ERROR: runGen: wrong")

    assert Adder(context).run_once() == Added(failed=1, tasks_completed=1)
    assert world.inputs()["in.0"].status == "failed"


def test_more_jobs_than_a_page(world: Any, context: Context) -> None:
    world.start(450)
    world.hold(450)

    assert Adder(context).run_once() == Added(finished=450, tasks_completed=1)
    assert len(world.catalogue()) == 900
    assert world.miscounted() == {}


ADDER_PROCESS = """
import sys
from datetime import datetime
from bamboo.core.clock import ManualClock
from bamboo.core.settings import Settings
from bamboo.daemon.chores.adder import Adder
from bamboo.daemon.context import Context
from bamboo.plugins.manager import Plugins
from bamboo.sql.engine import open_engine
import sqlalchemy as sa

url, now, mod_config, manner = sys.argv[1:]
engine, clock = open_engine(url), ManualClock(datetime.fromisoformat(now))
settings = Settings(adder={"modConfig": mod_config})
context = Context(engine=engine, clock=clock, settings=settings, plugins=Plugins(settings, engine, clock),
                  after_crash=manner == "after_crash")
if manner == "stop_before_commit":
    @sa.event.listens_for(engine, "commit")
    def hold(connection):
        print("about to commit", flush=True)
        sys.stdin.read()
print("ready", flush=True)
if manner == "race":
    sys.stdin.readline()
report = Adder(context).run_once()
print(report.finished, report.failed, flush=True)
"""


@pytest.fixture
def start_adder(
    database_url: str, clock: ManualClock, tmp_path: Path
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def _start(manner: str = "", mod_config: str = "") -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", ADDER_PROCESS, database_url, clock().isoformat(), mod_config, manner],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(tmp_path)},
            )
        )
        return started[-1]

    yield _start
    for process in started:
        process.kill()
        process.communicate()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_two_adders_book_each_job_once(world: Any, start_adder: Any) -> None:
    world.start(600)
    world.hold(300)
    world.hold(300, "failed", exe_error_code=1)
    adders = [start_adder("race") for _ in range(2)]
    assert [read_line(adder) for adder in adders] == ["ready", "ready"]
    for adder in adders:
        adder.stdin.write("go\n")
        adder.stdin.flush()
    booked = [[int(word) for word in read_line(adder).split()] for adder in adders]

    assert [sum(counts) for counts in zip(*booked, strict=True)] == [300, 300]
    assert len(world.catalogue()) == 900
    assert {row.failed_attempts for row in world.inputs().values()} == {0, 1}
    assert sum(row.failed_attempts for row in world.inputs().values()) == 300
    assert world.miscounted() == {}


def test_an_adder_killed_before_the_commit_has_done_nothing(world: Any, context: Context, start_adder: Any) -> None:
    world.start(3)
    world.hold(2)
    world.hold(1, "failed", exe_error_code=1)
    doomed = start_adder("stop_before_commit")
    assert [read_line(doomed) for _ in range(2)] == ["ready", "about to commit"]
    doomed.send_signal(signal.SIGKILL)
    doomed.wait()

    assert {row.status for row in world.jobs().values()} == {"holding"}
    assert Adder(context).run_once() == Added(finished=2, failed=1)
    assert len(world.catalogue()) == 5
    assert world.miscounted() == {}


POISON = """
import os
from bamboo.plugins.hookspecs import hookimpl
from bamboo.core.errors import Retriable
from bamboo.sql import catalogue

class Poison:
    lfn = "output.2"

    def hurt(self):
        raise ValueError("bad file")

    @hookimpl
    def register_outputs(self, tx, made, user_name, now):
        for file in made:
            dataset = catalogue.ensure_dataset(tx, file.dataset_name, user_name=user_name, now=now)
            entry = {"lfn": file.lfn, "url": file.url, "size_bytes": 1, "adler32": "00"}
            catalogue.add_files(tx, dataset, [entry], now=now)
            if file.lfn == self.lfn:
                self.hurt()
        return len(made)

class Deadly(Poison):
    def hurt(self):
        os._exit(9)

class Later(Poison):
    def hurt(self):
        raise Retriable("the catalogue is away")
"""


@pytest.fixture
def poison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "poison.py").write_text(POISON)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "poison", raising=False)


def test_a_poison_job_blocks_nobody_and_fails_in_the_end(
    world: Any, make_context: Any, poison: None, clock: ManualClock
) -> None:
    world.start(3)
    ids = world.hold(3)
    adder = Adder(make_context(world.engine, adder={"modConfig": "any:any:poison:Poison"}))

    assert adder.run_once() == Added(finished=2, put_off=1)
    assert adder.run_once() == Added()  # it is left alone for a while
    clock.advance(seconds=10)
    assert adder.run_once() == Added(put_off=1)
    clock.advance(minutes=9)
    assert adder.run_once() == Added()
    clock.advance(minutes=1)
    assert adder.run_once() == Added(failed=1)

    row = world.jobs()[ids[1]]
    assert (row.status, row.substatus, row.sup_error_code) == ("failed", None, 301)
    assert "bad file" in row.sup_error_diag
    assert world.inputs()["in.1"].status == "ready"
    assert world.catalogue() == ["log.1", "log.3", "output.1", "output.3"]
    assert world.miscounted() == {}


def test_a_job_that_kills_its_adder_blocks_nobody_and_fails_in_the_end(
    world: Any, start_adder: Any, poison: None, clock: ManualClock
) -> None:
    def run() -> tuple[int, str]:
        process = start_adder("after_crash", "any:any:poison:Deadly")
        return process.wait(), process.stdout.read().split("\n", 1)[1].strip()

    world.start(3)
    ids = world.hold(3)
    for minutes in (0, 1, 10):
        clock.advance(minutes=minutes)
        assert run() == (9, "")
    clock.advance(minutes=10)
    assert run() == (0, "0 1")  # the third job was booked before the second was tried again

    assert [world.jobs()[pandaid].status for pandaid in ids] == ["finished", "failed", "finished"]
    assert "died" in world.jobs()[ids[1]].sup_error_diag
    assert world.miscounted() == {}


def test_a_plugin_that_asks_for_later_is_asked_again_without_end(
    world: Any, make_context: Any, poison: None, clock: ManualClock
) -> None:
    world.start(3)
    ids = world.hold(3)
    adder = Adder(make_context(world.engine, adder={"modConfig": "any:any:poison:Later"}))

    assert adder.run_once() == Added(finished=2)
    for _ in range(5):
        clock.advance(minutes=20)
        assert adder.run_once() == Added()
    assert world.jobs()[ids[1]].status == "holding"
