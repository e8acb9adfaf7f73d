"""Each measurement still works, at the smallest size that goes through all of it; what it finds says nothing here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from patience import PATIENCE_SECONDS
from world import World

from bamboo.benchmarks.doubles import doubles
from bamboo.benchmarks.load import percentile
from bamboo.benchmarks.report import Report, Run, remember, table
from bamboo.core.clock import ManualClock
from bamboo.sql import jobs
from bamboo.sql import tables as t

#: Words of the command line, for those on a PostgreSQL server and those on SQLite.
ON_POSTGRES = {
    "dispatch": "--jobs 600 --queues 4 --seconds 0.3 --connections 2",
    "atlas": "--atlas 0.05 --running-jobs 2000 --queues 4 --seconds 0.5 --connections 4",
    "finish": "--jobs 600 --jobs-per-task 200",
    "many": "--jobs 600 --files 20 --queues 4 --seconds 0.3 --connections 2 --rounds 1",
}
ON_SQLITE = {
    "costs": "--requests 2 --jobs 100 --queues 2",
    "generate": "--files 20 --queues 1 --period 0.2",
    "views": "--jobs 200 --tasks 5 --queues 2 --seconds 0.05",
    "turnaround": "--jobs 1 --tasks 1",
    "brokerage": "--queues 5 --rounds 1",
    "soak": "--minutes 0.01 --window-seconds 0.3 --load 0.05 --running-jobs 2000 --queues 4 --connections 4",
}


def run(folder: Path, name: str, *words: str) -> dict[str, Any]:
    """The run that the command has kept."""
    command = [sys.executable, "-m", "bamboo.benchmarks", name, "--quick", "--results", str(folder), *words]
    told = subprocess.run(command, capture_output=True, text=True, timeout=4 * PATIENCE_SECONDS)
    assert told.returncode == 0, told.stdout + told.stderr
    (kept,) = folder.glob(f"{name}-*.json")
    found: dict[str, Any] = json.loads(kept.read_text())
    assert found["seed"]
    assert found["machine"]["processors"]
    assert found["report"]["rows"]
    return found


@pytest.mark.parametrize("name", ON_POSTGRES)
def test_on_postgres(name: str, postgres_server: sa.URL, tmp_path: Path) -> None:
    url = postgres_server.render_as_string(hide_password=False)
    found = run(tmp_path, name, "--db", url, *ON_POSTGRES[name].split())
    assert found["database"]["kind"] == "postgresql"


@pytest.mark.parametrize("name", ON_SQLITE)
def test_on_sqlite(name: str, tmp_path: Path) -> None:
    found = run(tmp_path, name, "--db", "sqlite", *ON_SQLITE[name].split())
    assert found["database"]["kind"] == "sqlite"


def _run(per_second: float) -> dict[str, Any]:
    report = Report(watched={"per s": 1})
    report.add("claims", {"per s": per_second, "p99 ms": 1.0})
    machine = {"processor": "p", "processors": 2, "load": "0", "python": "3", "commit": "c"}
    return Run("dispatch", "now", False, 1, {"jobs": 1}, machine, {"kind": "sqlite"}, report).history_line()


def test_history_points_at_what_got_slower(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    assert "first" in remember(history, _run(1000.0))[0]
    assert not any("WORSE" in line for line in remember(history, _run(900.0)))
    (told,) = [line for line in remember(history, _run(600.0)) if "WORSE" in line]
    assert "claims, per s" in told
    assert "0.67" in told
    assert len(history.read_text().splitlines()) == 3


def test_table_has_a_column_for_each_figure() -> None:
    report = Report(notes=["a note"])
    report.add("one", {"per s": 12_345.6})
    report.add("two", {"p99 ms": 0.01234})
    assert table(report).splitlines() == ["      per s  p99 ms", "one  12 346", "two          0.0123", "a note"]


def test_what_is_there_twice_is_counted(engine: sa.Engine, clock: ManualClock) -> None:
    world = World(engine, clock).start(n_inputs=3)
    world.hold(3)
    world.book([jobs.ref(row) for row in world.jobs().values()])
    assert doubles(engine) == {}
    double(engine, t.job_events)
    double(engine, t.job_files)
    assert doubles(engine) == {
        "claims of an attempt": 1,
        "ends of a job": 1,
        "jobs of an attempt of an input": 1,
        "names of an output": 2,
    }


def double(engine: sa.Engine, rows_of: sa.Table) -> None:
    """Enter the rows of the first job once more; inputs as running, for none can be finished twice."""
    columns = {column.name: column for column in rows_of.c if not column.primary_key}
    chosen: dict[str, sa.ColumnElement[object]] = dict(columns)
    if rows_of is t.job_files:
        chosen["status"] = sa.case((rows_of.c.type == "input", "running"), else_=rows_of.c.status)
    first = sa.select(sa.func.min(rows_of.c.pandaid)).scalar_subquery()
    with engine.begin() as tx:
        rows = sa.select(*chosen.values()).where(rows_of.c.pandaid == first).order_by(*rows_of.primary_key)
        tx.execute(sa.insert(rows_of).from_select(list(columns), rows))


def test_percentiles() -> None:
    assert percentile([], 99) == 0
    assert [percentile(range(1, 101), percent) for percent in (0, 50, 99, 100)] == [1, 51, 100, 100]
