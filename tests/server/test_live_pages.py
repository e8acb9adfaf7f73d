"""Pages that renew themselves, in a real browser: readers stay where they are, and what ends a task is asked about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from browser import browser
from cryptography.fernet import Fernet
from playwright.sync_api import Dialog, Page
from served import Served, served

from bamboo.core.clock import ManualClock, utc_now
from bamboo.sql import tables as t
from bamboo.tests.server.conftest import World


@pytest.fixture
def server(sqlite_url: str, tmp_path: Path) -> Iterator[Served]:
    key = tmp_path / "key"
    key.write_bytes(Fernet.generate_key())
    with served(sqlite_url, tmp_path / "cache", workers=1, secrets_key=f"file:{key}") as running:
        yield running


@pytest.fixture
def engine(sqlite_url: str, open_database: Callable[[str], sa.Engine]) -> sa.Engine:
    return open_database(sqlite_url)


@pytest.fixture
def world(engine: sa.Engine) -> World:
    made = World(engine, ManualClock(utc_now()))
    made.queue()
    return made


@pytest.fixture
def page() -> Iterator[Page]:
    with browser() as chromium:
        yield chromium.new_page(viewport={"width": 390, "height": 600})


def test_a_reader_stays_where_they_are(server: Served, world: World, engine: sa.Engine, page: Page) -> None:
    task = world.task()
    page.goto(_signed_in(server, task))
    page.click("summary")
    page.evaluate("document.querySelector('[aria-label=Datasets]').scrollLeft = 40")
    before = _place(page)
    assert (before["is_open"], before["focused"]) == (True, "SUMMARY")
    assert before["top"] > 0 and before["left"] > 0
    with engine.begin() as tx:
        tx.execute(sa.update(t.tasks).where(t.tasks.c.jeditaskid == task).values(error_dialog="something is new"))
    page.evaluate("document.getElementById('main').dataset.live = 0")
    page.wait_for_selector("text=something is new")
    assert _place(page) == before


def _signed_in(server: Served, task: int) -> str:
    """Where a browser signs in to the page of a task."""
    return f"{server.post('/api/v1/system/get_web_ticket', {}).json['data']['address']}&page=/task/{task}/"


def _place(page: Page) -> Any:
    return page.evaluate(
        """({
          is_open: document.querySelector("details").open, focused: document.activeElement.tagName, top: scrollY,
          left: document.querySelector("[aria-label=Datasets]").scrollLeft,
        })"""
    )


def test_an_end_is_asked_about(server: Served, world: World, page: Page) -> None:
    task = world.task(user="alice")
    world.jobs(1, task=task)
    page.goto(_signed_in(server, task))
    questions: list[str] = []

    def say_no(dialog: Dialog) -> None:
        questions.append(dialog.message)
        dialog.dismiss()

    page.once("dialog", say_no)
    page.click("button:text-is('kill')")
    assert [question.split(":")[0] for question in questions] == ["kill"]
    assert page.locator("text=kill, queued").count() == 0
    page.once("dialog", lambda dialog: dialog.accept())
    page.click("button:text-is('kill')")
    page.wait_for_selector("text=kill, queued")
