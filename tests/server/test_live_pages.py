"""Pages that renew themselves, in a real browser: readers stay where they are, and what ends a task is asked about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from browser import browser
from cryptography.fernet import Fernet
from patience import PATIENCE_SECONDS
from playwright.sync_api import Dialog, Page, expect
from served import Served, served

from bamboo.core.clock import ManualClock, utc_now
from bamboo.sql import job_records
from bamboo.sql import tables as t
from bamboo.tests.server.conftest import World

NOTES_STREAMS = """
window.streams = [];
window.EventSource = class extends EventSource { constructor(url) { super(url); streams.push(this); } };
"""


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


def test_streams_end_while_nobody_sees_the_page(server: Served, world: World, engine: sa.Engine, page: Page) -> None:
    """And go on from the last event: no line of the output is missing, and none is there twice."""
    (job,) = world.jobs(1, task=world.task(user="alice"))
    output = ""

    def say(line: str) -> None:
        nonlocal output
        piece = job_records.Piece(len(output), line)
        output += line
        with engine.begin() as tx:
            job_records.add(tx, {job: [job_records.Told([], {"stdout": piece})]}, now=utc_now())

    say("one\n")
    page.add_init_script(NOTES_STREAMS)
    page.goto(_signed_in(server, job, "job"))
    log, errors = page.locator("#log"), page.locator("#log-of-errors")
    expect(log).to_have_text("one")
    with engine.begin() as tx:
        told = job_records.Told([], {"stderr": job_records.Piece(0, "oh")})
        job_records.add(tx, {job: [told]}, now=utc_now())
    expect(errors).to_have_text("oh", timeout=1000 * PATIENCE_SECONDS)
    _be_seen(page, False)
    assert _streams(page) == ["events over", "log over"]
    say("two\n")
    _be_seen(page, True)
    again = _streams(page)[2:]
    assert len(again) == 2 and "log goes on" in again
    say("three\n")
    expect(log).to_contain_text("three", timeout=1000 * PATIENCE_SECONDS)
    assert log.text_content() == "one\ntwo\nthree\n"


def _be_seen(page: Page, is_seen: bool) -> None:
    """Have the page believe that its tab is, or is not, the one that somebody looks at."""
    hidden = str(not is_seen).lower()
    page.evaluate(
        f"Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )


def _streams(page: Page) -> list[str]:
    """The streams that the page has opened."""
    found = page.evaluate("streams.map((one) => [one.url, one.readyState === EventSource.CLOSED])")
    names = []
    for url, is_over in found:
        name, goes_on = url.rpartition("/")[2].partition("?")[0], "last_event_id" in url
        names.append(name + " goes on" * goes_on + " over" * is_over)
    return sorted(names[:2]) + sorted(names[2:])


def _signed_in(server: Served, number: int, what: str = "task") -> str:
    """Where a browser signs in to the page of a task or job."""
    return f"{server.post('/api/v1/system/get_web_ticket', {}).json['data']['address']}&page=/{what}/{number}/"


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
