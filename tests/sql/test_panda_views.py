"""Views with PanDA's names: each has its columns, and the rows that it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sqlalchemy as sa
from world import World

import bamboo
from bamboo.core.states import JobState
from bamboo.sql import tables as t
from bamboo.sql.panda_views import VIEWS

DOCS = Path(str(bamboo.__file__)).parent / "docs" / "views.md"


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_has_the_columns_that_it_says(engine: sa.Engine, name: str) -> None:
    assert {column["name"] for column in sa.inspect(engine).get_columns(name)} == set(VIEWS[name].columns)


def test_live_and_archived_jobs_are_apart(world: World) -> None:
    world.start(4)
    over = world.generate(1, status=JobState.ACTIVATED)
    live = world.generate(2, status=JobState.ACTIVATED)
    with world.engine.begin() as tx:
        tx.execute(sa.update(t.jobs).where(t.jobs.c.pandaid == over[0]).values(status="finished"))
        active = tx.execute(sa.text("SELECT pandaid, jobstatus, computingsite, jeditaskid FROM jobsactive4")).all()
        archived = tx.execute(sa.text("SELECT pandaid, jobstatus FROM jobsarchived4")).all()
        task = tx.execute(sa.text("SELECT taskname, status, username FROM jedi_tasks")).one()
        files = tx.scalar(sa.text("SELECT count(*) FROM jedi_dataset_contents WHERE status = 'ready'"))
    assert {row.pandaid for row in active} == set(live)
    assert {row.jobstatus for row in active} == {"activated"}
    assert [tuple(row) for row in archived] == [(over[0], "finished")]
    assert task.taskname and task.status == "running"
    assert files == 1


def test_the_page_lists_them() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", DOCS.read_text(), re.MULTILINE)) >= set(VIEWS)
