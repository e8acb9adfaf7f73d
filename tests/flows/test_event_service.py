"""Event ranges by real pilots: what is finished when a pilot is killed is not processed again, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from patience import PATIENCE_SECONDS, eventually
from werkzeug.serving import make_server

from bamboo.core.checksums import adler32
from bamboo.core.clock import ManualClock
from bamboo.core.settings import Settings
from bamboo.server.app import create_app
from bamboo.sql import catalogue, queues
from bamboo.sql import tables as t
from bamboo.tests.jedi.rounds import on_both_databases
from bamboo.tests.jedi.test_event_service import Events

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
N_EVENTS, PER_RANGE = 10, 3
#: Copies its events. Hangs where it finds a file of that name, fails where it finds another, and notes what it did.
PAYLOAD = """#!/bin/bash
notes=$1 skip=$2 wanted=$3 input=$4 output=$5
echo "$skip" >> "$notes/begun"
[ "$EVENT_RANGE_FIRST" = "$((skip + 1))" ] || exit 9
if [ -e "$notes/hang$skip" ]; then echo $$ > "$notes/hanging"; fi
while [ -e "$notes/hang$skip" ]; do sleep 0.05; done
if [ -e "$notes/fail$skip" ]; then echo "no luck with $skip"; rm "$notes/fail$skip"; exit 3; fi
tail -n +$((skip + 1)) "$input" | head -n "$wanted" > "$output"
"""
MERGE = """#!/bin/bash
files=${1%%:*}
cat ${files//,/ } > "${1##*:}"
"""


class Site(Events):
    """A server that real pilots can reach, its agents and chores going round by round."""

    def __init__(self, engine: sa.Engine, clock: ManualClock, folder: Path) -> None:
        super().__init__(engine, clock, folder / "cache")
        self.folder, self.pilots = folder, 0
        for name in ("cache", "storage", "notes"):
            (folder / name).mkdir()
        self.http = make_server(
            "127.0.0.1", 0, create_app(Settings(server={"cache_dir": folder / "cache"}), engine, clock)
        )
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        with engine.begin() as tx:
            queues.set_storage(tx, "DISK", site="S", endpoint="file://localhost", path=str(folder / "storage"))
        for name, script in (("payload.sh", PAYLOAD), ("merge.sh", MERGE)):
            (folder / name).write_text(script)
        self.input = "".join(f"event {number}\n" for number in range(1, N_EVENTS + 1))
        (folder / "f").write_text(self.input)

    def submit_task(self) -> int:
        self.store_input()
        pieces = [
            {
                "type": "constant",
                "value": f"{self.folder}/payload.sh {self.folder}/notes ${{SKIPEVENTS}} ${{MAXEVENTS}}",
            },
            {"type": "template", "param_type": "input", "value": "${IN}", "dataset": "user.alice.in"},
            {
                "type": "template",
                "param_type": "output",
                "value": "$JEDITASKID.${SN/P}.x.txt",
                "dataset": "user.alice.t_x/",
            },
        ]
        merge = {
            "transPath": "bash",
            "jobParameters": f"{self.folder}/merge.sh ${{TRN_OUTPUT:OUTPUT}} ${{TRN_LOG:LOG}}",
        }
        task = self.task(jobParameters=pieces, transPath="bash", mergeSpec=merge, nEventsPerWorker=PER_RANGE)
        self.rounds()
        return task

    def store_input(self) -> None:
        path = self.folder / "f"
        row = {"lfn": "f", "url": f"file://localhost{path}", "size_bytes": len(self.input), "n_events": N_EVENTS}
        with self.engine.begin() as tx:
            dataset = catalogue.ensure_dataset(tx, "user.alice.in", user_name="alice", now=self.clock())
            catalogue.add_files(tx, dataset, [{**row, "adler32": adler32(path)}], now=self.clock())

    def log(self) -> str:
        """What the last pilot has written."""
        return (self.folder / f"pilot{self.pilots}.err").read_text()

    def pilot(self) -> subprocess.Popen[str]:
        """Start a pilot that takes one job."""
        self.pilots += 1
        work = self.folder / f"work{self.pilots}"
        options = [
            "--url",
            self.url,
            "-q",
            "Q",
            "-a",
            str(work),
            "-j",
            "user",
            "-v",
            "1",
            "--max-jobs",
            "1",
            "--heartbeat-seconds",
            "1",
        ]
        with (self.folder / f"pilot{self.pilots}.err").open("w") as log:
            return subprocess.Popen([sys.executable, "-m", "bamboo.pilot", *options], stderr=log, text=True)

    def run_pilot(self) -> None:
        pilot = self.pilot()
        assert pilot.wait(PATIENCE_SECONDS) == 0, self.log()
        self.rounds()

    def begun(self) -> list[int]:
        """The first event, less one, of each range that was begun, in that order."""
        return [int(line) for line in (self.folder / "notes" / "begun").read_text().split()]

    def merged(self) -> list[str]:
        """The contents of the merged outputs."""
        with self.engine.connect() as tx:
            made = sa.select(t.catalogue_files.c.url).where(t.catalogue_files.c.lfn.like("%.x.txt"))
            urls = tx.scalars(made.where(t.catalogue_files.c.lfn.not_like("panda.um.%"))).all()
        return [Path(url.removeprefix("file://localhost")).read_text() for url in urls]


@pytest.fixture
def site(engine: sa.Engine, clock: ManualClock, tmp_path: Path) -> Iterator[Site]:
    site = Site(engine, clock, tmp_path)
    yield site
    site.http.shutdown()
    site.http.server_close()


@on_both_databases
def test_after_sigkill_only_unfinished_ranges_are_processed_again(site: Site) -> None:
    task = site.submit_task()
    notes = site.folder / "notes"
    (notes / "hang3").touch()
    pilot = site.pilot()
    eventually((notes / "hanging").exists, "the second range")
    os.kill(pilot.pid, signal.SIGKILL)
    pilot.wait()
    (notes / "hang3").unlink()
    site.rounds(3, seconds=3600)
    assert site.states(task) == {"done": 1, "ready": 3}
    site.run_pilot()
    assert site.begun() == [0, 3, 3, 6, 9]
    assert site.states(task) == {"done": 4}
    site.run_pilot()
    assert (site.status(task), site.states(task)) == ("done", {"merged": 4})
    assert site.merged() == [site.input]


@on_sqlite
def test_a_range_that_fails_is_left_for_the_next_job(site: Site) -> None:
    task = site.submit_task()
    (site.folder / "notes" / "fail3").touch()
    site.run_pilot()
    assert site.begun() == [0, 3, 6, 9]
    assert site.states(task) == {"done": 3, "ready": 1}
    site.run_pilot()
    assert site.begun() == [0, 3, 6, 9, 3]
    site.run_pilot()
    assert (site.status(task), site.merged()) == ("done", [site.input])


@on_sqlite
def test_a_machine_on_which_everything_fails_does_not_use_up_all_ranges(site: Site) -> None:
    task = site.submit_task()
    for skip in (0, 3, 6, 9):
        (site.folder / "notes" / f"fail{skip}").touch()
    site.run_pilot()
    assert site.begun() == [0, 3, 6]
    with site.engine.connect() as tx:
        job = tx.execute(sa.select(t.jobs).order_by(t.jobs.c.pandaid)).first()
        diags = Counter(tx.scalars(sa.select(t.events.c.error_diag)))
    assert job is not None
    assert (job.status, job.pilot_error_code) == ("failed", 1305)
    assert "3 event ranges failed in a row" in job.pilot_error_diag
    assert diags == Counter({"payload ended with exit code 3": 3, None: 1})
    assert site.states(task) == {"ready": 4}


@on_sqlite
def test_a_pilot_that_is_asked_to_stop_softly_finishes_the_range_in_hand(site: Site) -> None:
    task = site.submit_task()
    notes = site.folder / "notes"
    (notes / "hang0").touch()
    pilot = site.pilot()
    eventually((notes / "hanging").exists, "the first range")
    with site.engine.begin() as tx:
        tx.execute(sa.update(t.jobs).values(command_to_pilot="softkill"))
    eventually(lambda: "no more event ranges" in site.log(), "the pilot to hear of it")
    (notes / "hang0").unlink()
    assert pilot.wait(PATIENCE_SECONDS) == 0, site.log()
    site.rounds()
    assert site.begun() == [0]
    assert site.states(task) == {"done": 1, "ready": 3}
