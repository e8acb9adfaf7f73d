"""Many rows in one statement: what goes to the database as lists is what comes out of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.states import JobState
from bamboo.sql import bulk, catalogue
from bamboo.sql import tables as t

AWKWARD = ['"', "\\", '\\"', "a,b", "{a}", "NULL", "null", "", " ", "a\nb\tc", "'", "%s", ":x", "ü€𝄞", '","', "\\N"]
MOMENT = datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC)


@pytest.fixture
def given_back(postgres_url: str, open_database: Any) -> Any:
    """What PostgreSQL makes of values for a column that come as a list."""
    engine = open_database(postgres_url)

    def _given_back(column: sa.Column[Any], values: list[Any]) -> list[Any]:
        statement = sa.select(bulk.given([column]).c[column.name])
        with engine.connect() as tx:
            return list(tx.scalars(statement, bulk.as_lists([{column.name: value} for value in values])))

    return _given_back


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (t.job_files.c.lfn, ["plain", "words.1"]),
        (t.job_files.c.lfn, AWKWARD),
        *((t.job_files.c.lfn, [one]) for one in AWKWARD),
        (t.job_files.c.lfn, [None, "", None]),
        (t.job_files.c.lfn, [None]),
        (t.jobs.c.status, [JobState.HOLDING, "failed"]),
        (t.jobs.c.pandaid, [0, -1, 2**63 - 1]),
        (t.jobs.c.max_rss_kb, [None, 5]),
        (t.jobs.c.cpu_consumption_seconds, [0.1, 1e300, None, 7.0]),
        (t.jobs.c.is_scout, [True, False, True]),
        (t.jobs.c.started_at, [MOMENT, None, MOMENT.astimezone(timezone(timedelta(hours=-5)))]),
        (t.job_reports.c.output_report, [{"a": ['"', None, {"b": 1.5}]}, None, {}]),
    ],
)
def test_lists_come_out_as_they_went_in(given_back: Any, column: sa.Column[Any], values: list[Any]) -> None:
    assert given_back(column, values) == values


def test_a_column_is_looked_up_among_awkward_words(engine: sa.Engine) -> None:
    moment = {"created_at": MOMENT, "user_name": "alice"}
    with engine.begin() as tx:
        tx.execute(sa.insert(t.catalogue_datasets), [{"name": name, **moment} for name in [*AWKWARD, "other"]])
        for wanted in (AWKWARD, AWKWARD[3:4], []):
            names = tx.scalars(
                sa.select(t.catalogue_datasets.c.name).where(bulk.among(tx, t.catalogue_datasets.c.name, wanted))
            )
            assert sorted(names) == sorted(wanted)


def test_rows_are_new_once(engine: sa.Engine) -> None:
    """Those that others have entered, and those that are given twice, are left as they were first."""
    with engine.begin() as tx:
        dataset = catalogue.ensure_dataset(tx, "d", user_name="alice", now=MOMENT)

    def enter(*rows: tuple[str, int]) -> int:
        common = {"dataset_id": dataset, "guid": "g", "url": "u", "adler32": "00000001", "created_at": MOMENT}
        with engine.begin() as tx:
            made = [{**common, "lfn": lfn, "size_bytes": size_bytes} for lfn, size_bytes in rows]
            return bulk.insert_new(tx, t.catalogue_files, ("dataset_id", "lfn"), made)

    assert enter() == 0
    assert enter(("a", 1), ("b", 2)) == 2
    assert enter(("b", 3), ("c", 4), ("c", 5)) == 1
    assert enter(("a", 6)) == 0
    with engine.connect() as tx:
        found = tx.execute(sa.select(t.catalogue_files.c.lfn, t.catalogue_files.c.size_bytes).order_by("lfn")).all()
    assert [tuple(row) for row in found] == [("a", 1), ("b", 2), ("c", 4)]
