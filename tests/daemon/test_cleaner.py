"""Intermediate files: they stay as long as a merge job may need them, and only they are ever removed."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.core.settings import Settings
from bamboo.core.tunables import Numbers
from bamboo.daemon.chores import archive, cleaner
from bamboo.daemon.chores.cleaner import Discarded
from bamboo.daemon.context import Context
from bamboo.plugins.contracts import PluginContext, StoredFile
from bamboo.plugins.generic.discarding import LocalDiscarder
from bamboo.plugins.manager import Plugins
from bamboo.sql import queues
from bamboo.sql import tables as t
from bamboo.tests.jedi.rounds import on_both_databases
from bamboo.tests.jedi.test_side_jobs import MERGE, Played


class Stored(Played):
    """A system whose pilots leave real files in the folder of a storage."""

    def __init__(self, engine: sa.Engine, clock: ManualClock, folder: Path) -> None:
        super().__init__(engine, clock, folder)
        self.disk = folder / "my disk"
        self.disk.mkdir()
        with engine.begin() as tx:
            queues.set_storage(tx, "DISK", site="S", endpoint="file://localhost", path=str(self.disk))

    def report(self, job: Any, state: str = "finished") -> None:
        lfns = [lfn for lfn in job["outFiles"].split(",") if lfn] if state == "finished" else []
        made = {}
        for lfn in lfns:
            (self.disk / lfn).write_text("abc")
            url = (self.disk / lfn).as_uri()
            made[lfn] = {"guid": f"g-{lfn}", "fsize": 3, "adler32": "00000002", "surl": url}
        body = {"job_id": job["PandaID"], "job_status": state, "attempt_nr": job["attemptNr"]}
        body |= {"job_output_report": json.dumps(made)} if made else {"pilot_error_code": 1305}
        assert self.post("pilot/update_job", body)["success"]

    @property
    def on_disk(self) -> list[str]:
        """The outputs, intermediate or not, without the logs."""
        return sorted(path.name for path in self.disk.iterdir() if path.suffix == ".txt")

    def clean(self, **retention: float) -> Discarded:
        settings = Settings(retention=retention)  # type: ignore[arg-type]
        plugins = Plugins(settings, self.engine, self.clock)
        context = Context(engine=self.engine, clock=self.clock, settings=settings, plugins=plugins)
        return cleaner.build(context).run_once()


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{getattr(request, 'param', 'sqlite')}_url"))


@pytest.fixture
def stored(engine: sa.Engine, clock: ManualClock, tmp_path: Path) -> Stored:
    return Stored(engine, clock, tmp_path)


def run_jobs(stored: Stored) -> int:
    """A task whose run jobs have left their intermediate files."""
    task = stored.submit(mergeOutput=True, mergeSpec=MERGE)
    stored.rounds()
    for job in stored.claim():
        stored.report(job)
    stored.rounds()
    return task


@on_both_databases
def test_intermediate_files_go_when_they_are_merged(stored: Stored) -> None:
    task = run_jobs(stored)
    intermediate = [f"panda.um.user.alice.{task}._{n:06d}.x.txt" for n in (1, 2, 3)]
    assert stored.on_disk == intermediate
    stored.clock.advance(hours=2)
    (merge,) = stored.claim()
    assert stored.clean() == Discarded()  # a merge job reads them
    stored.report(merge)
    stored.rounds()
    assert stored.status(task) == "done"
    assert stored.clean() == Discarded()  # not at once
    assert stored.lfns("panda.um.user.alice.t_x") == intermediate
    stored.clock.advance(hours=1, seconds=1)
    assert stored.clean() == Discarded(files=3)
    assert stored.on_disk == [f"user.alice.{task}._000004.x.txt"] == stored.lfns("user.alice.t_x")
    assert stored.lfns("panda.um.user.alice.t_x") == []
    assert stored.clean() == Discarded()
    assert stored.status(task) == "done"


@on_both_databases
def test_intermediate_files_of_archived_jobs_go_too(stored: Stored) -> None:
    """They were never looked at again when no plugin could remove them before their jobs were archived."""
    task = run_jobs(stored)
    assert stored.post("task/kill", {"task_id": task})["success"]
    stored.rounds()
    stored.clock.advance(days=4)
    context = Context(
        engine=stored.engine,
        clock=stored.clock,
        settings=Settings(),
        plugins=Plugins(Settings(), stored.engine, stored.clock),
    )
    archived = archive.build(context).run_once().archived
    with stored.engine.connect() as tx:
        assert tx.scalar(sa.select(sa.func.count()).select_from(t.archived_jobs)) == archived > 0
    assert stored.clean() == Discarded(files=3)
    assert stored.on_disk == []


def test_intermediate_files_that_will_not_be_merged_go_too(stored: Stored) -> None:
    task = run_jobs(stored)
    assert stored.post("task/kill", {"task_id": task})["success"]
    stored.rounds()
    assert stored.status(task) == "aborted"
    stored.clock.advance(hours=2)
    assert stored.clean(premerged=1) == Discarded()
    assert stored.clean() == Discarded(files=3)
    assert stored.on_disk == []


def test_files_are_handed_over_page_by_page(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a storage that is not there now does not keep the others from their turn."""
    monkeypatch.setattr(cleaner, "PAGE", 2)
    task = run_jobs(stored)
    assert stored.post("task/kill", {"task_id": task})["success"]
    stored.rounds()
    stored.clock.advance(hours=2)
    with stored.engine.begin() as tx:
        first = tx.execute(sa.select(t.job_files.c.row_id).where(t.job_files.c.type == "tmpl_output")).scalars().first()
        elsewhere = sa.update(t.job_files).where(t.job_files.c.row_id == first)
        tx.execute(elsewhere.values(url="https://far/panda.um.x"))
    assert stored.clean() == Discarded(files=2, left=1)
    assert stored.clean() == Discarded(left=1)
    assert len(stored.on_disk) == 1


@pytest.mark.parametrize(
    "url",
    [
        "file://{disk}/precious",  # another name than the intermediate file's
        "file://{outside}/panda.um.a",  # outside the storage
        "file://{disk}/../outside/panda.um.a",
        "file://{disk}/link/panda.um.a",  # a folder that leads outside
        "file://elsewhere{disk}/panda.um.a",  # another machine's
        "https://h{disk}/panda.um.a",
        "file://{disk}/gone/panda.um.a",  # perhaps a disk that is not mounted
    ],
)
def test_what_a_pilot_says_is_not_believed(engine: sa.Engine, clock: ManualClock, tmp_path: Path, url: str) -> None:
    disk, outside = tmp_path / "disk", tmp_path / "outside"
    for folder in (disk, outside):
        folder.mkdir()
        (folder / "panda.um.a").write_text("abc")
    (disk / "precious").write_text("abc")
    (disk / "link").symlink_to(outside)
    with engine.begin() as tx:
        queues.set_storage(tx, "DISK", site="S", endpoint="file://localhost", path=str(disk))
        queues.set_storage(tx, "FAR", site="S", endpoint="https://h", path="/")
    file = StoredFile(1, "panda.um.t", "panda.um.a", url.format(disk=disk, outside=outside))
    discarder = LocalDiscarder(PluginContext(engine, clock, Settings(), lambda vo: Numbers()))
    assert discarder.discard_files([file]) == []
    assert all((folder / "panda.um.a").exists() for folder in (disk, outside))
    assert (disk / "precious").exists()
    good = StoredFile(2, "panda.um.t", "panda.um.a", f"file://localhost{disk}/panda.um.a")
    assert discarder.discard_files([file, good]) == [2]
    assert discarder.discard_files([good]) == [2]  # it is gone already
    assert timedelta(days=Settings().retention.premerged) == timedelta(hours=1)
