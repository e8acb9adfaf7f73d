"""Pages of tasks and jobs: what they make of what is on record."""

from __future__ import annotations

import re
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from bamboo.core.clock import ManualClock
from bamboo.sql import decisions
from bamboo.sql import tables as t


def test_numbers_have_an_expected_end_too(
    pages: FlaskClient, world: Any, engine: sa.Engine, clock: ManualClock
) -> None:
    """Jobs of a task without files do not say how many inputs they have."""
    task = world.task()
    jobs = world.jobs(4, task=task)
    with engine.begin() as tx:
        counts = {"n_files": 20, "n_files_finished": 8, "is_master": True}
        tx.execute(sa.update(t.datasets).where(t.datasets.c.type == "output").values(**counts))
    for job in jobs:
        clock.advance(minutes=1)
        with engine.begin() as tx:
            ended = {"status": "finished", "modified_at": clock(), "n_input_files": 0, "kind": "run"}
            tx.execute(sa.update(t.jobs).where(t.jobs.c.pandaid == job).values(**ended))
    clock.advance(minutes=1)
    found: Any = pages.get(f"/task/{task}/?json").json
    assert found["forecast"]["per_hour"] == 90  # two with each of the last three jobs, in four minutes


def test_what_scouts_measured_is_told_with_units(
    pages: FlaskClient, world: Any, engine: sa.Engine, clock: ManualClock
) -> None:
    task = world.task()
    kept = {"old": 300, "kept": "the measured value is not more", "measured": 1.5, "job": 7, "jobs": 5}
    figures = {
        "ram_count_mb": {"old": 0, "new": 550, "measured": 501.0, "job": 8, "jobs": 5},
        "work_disk_count_mb": kept,
    }
    with engine.begin() as tx:
        why = {"done": 5, "made": 10, "faults": {}, "figures": figures}
        common = {"actor": "scout_evaluator", "now": clock(), "jeditaskid": task}
        decisions.record(tx, what="figures of the scouts", why=why, **common)
    text = re.sub(r"<[^>]*>|\s", " ", pages.get(f"/task/{task}/").text)
    told = " ".join(text.partition("What its scouts measured")[2].split())
    assert "memory of a job (MB) 0 550 501 job 8 5" in told
    assert "work directory of a job (MB) 300 300 1.5 job 7 5 the measured value is not more" in told


def test_a_family_is_a_tree(pages: FlaskClient, world: Any, engine: sa.Engine) -> None:
    first, second, third = (world.task(f"user.alice.{n}/") for n in range(3))
    with engine.begin() as tx:
        for child, parent in ((second, first), (third, second)):
            tx.execute(sa.update(t.tasks).where(t.tasks.c.jeditaskid == child).values(parent_tid=parent))
    shown = pages.get(f"/task/{second}/").text.partition("<h2>Family</h2>")[2].partition("</section>")[0]
    order = re.findall(rf"<ul|</ul|{first}/|<b>{second}|{third}/", shown)
    assert order == ["<ul", f"{first}/", "<ul", f"<b>{second}", "<ul", f"{third}/", "</ul", "</ul", "</ul"]


def test_what_is_over_waits_for_nobody(pages: FlaskClient, world: Any, engine: sa.Engine) -> None:
    (job,) = world.jobs(1)
    path, alice = f"/job/{job}/why/", {"X-Bamboo-User": "alice"}
    assert "It is over" not in pages.get(path, headers=alice).text
    with engine.begin() as tx:
        tx.execute(sa.update(t.jobs).where(t.jobs.c.pandaid == job).values(status="failed"))
    text = pages.get(path, headers=alice).text
    assert "It is over" in text and "It waits for" not in text


@pytest.mark.parametrize(("exit_code", "who"), [(143, "nobody"), (137, "nobody"), (3, "user")])
def test_how_the_pilot_ended_a_payload_is_nobodys_fault(
    pages: FlaskClient, world: Any, engine: sa.Engine, exit_code: int, who: str
) -> None:
    (job,) = world.jobs(1)
    with engine.begin() as tx:
        codes = {"status": "failed", "pilot_error_code": 1235, "trans_exit_code": exit_code}
        tx.execute(sa.update(t.jobs).where(t.jobs.c.pandaid == job).values(**codes))
    found: Any = pages.get(f"/job/{job}/?json").json
    told = {error["source"]: error for error in found["errors"]}
    assert (told["pilot"]["who"], told["trans"]["who"]) == ("user", who)
    assert "sandbox" not in told["trans"]["meaning"]
