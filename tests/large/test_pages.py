"""Every page over more than a million jobs and a hundred thousand tasks, in a real browser.

At desktop and phone width, with and without scripts: nothing is wider than the window, no script complains, axe finds
no serious fault, and what a page loads is small.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from axe_playwright_python.sync_playwright import Axe
from browser import browser
from playwright.sync_api import Browser, Page
from served import Served, served

from bamboo.core.clock import utc_now
from bamboo.server.views.assets import FILES
from bamboo.sql import history
from bamboo.sql import tables as t
from bamboo.tests.large.conftest import Large

#: What hostile people call things.
HOSTILE = "<img src=x onerror=document.title='hacked'>\u202e{{7*7}}"
#: Faults that keep somebody from reading or using a page.
GRAVE = {"serious", "critical"}
#: What all styles and scripts of a page may weigh, packed.
MOST_BYTES = 60_000
PATHS = (
    *("/", "/tasks/", "/jobs/?hours=20000", "/errors/", "/queues/", "/queue/Q1/", "/sites/", "/workers/"),
    *(
        "/globalshares/",
        "/users/",
        "/user/Bench%20User/",
        "/datasets/",
        "/decisions/",
        "/agents/",
        "/settings/",
        "/api/",
    ),
    *("/search?q=bench", "/tasks/?taskname=*7*&status=running", "/task/{task}/", "/job/{job}/", "/task/1/"),
    "/task/{hostile}/",
)


@pytest.fixture(scope="module")
def server(large: Large, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(large.url, tmp_path_factory.mktemp("pages") / "cache", workers=1, requests_per_minute=0) as running:
        yield running


@pytest.fixture(scope="module")
def paths(large: Large) -> list[str]:
    """The pages, of things that are there; one task has a hostile name, and jobs have a past."""
    with large.engine.begin() as tx:
        _tell_history(tx)
        hostile = large.population.first_task + 9
        mine = t.tasks.c.jeditaskid == hostile
        tx.execute(sa.update(t.tasks).where(mine).values(task_name=HOSTILE, error_dialog=HOSTILE, user_name=HOSTILE))
    ids = {"task": large.task, "job": large.running[0], "hostile": hostile}
    return [path.format(**ids) for path in PATHS]


def _tell_history(tx: sa.Connection) -> None:
    """Half a day of endings and samples."""
    last = history.step_of(utc_now())
    for number in range(72):
        at = last - number * history.STEP
        ended = {"finished": ("", 500 + 7 * number), "failed": ("pilot:1305", 3 * number)}
        going = {"running": 4000 + 50 * number, "activated": 9000 - 100 * number}
        for dimension, value in (("", ""), ("queue", "Q1"), ("gshare", "Leaf1"), ("user_name", "Bench User")):
            common = {"dimension": dimension, "value": value, "at": at}
            for status, (cause, n) in ended.items():
                row = {**common, "status": status, "cause": cause, "n_jobs": n, "core_seconds": 60 * n}
                tx.execute(sa.insert(t.job_endings).values(row))
            for status, n in going.items():
                tx.execute(sa.insert(t.job_samples).values(**common, status=status, n_jobs=n, n_cores=n))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.mark.parametrize("width", [1280, 390], ids=["desktop", "phone"])
@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_every_page(
    chromium: Browser, server: Served, paths: list[str], tmp_path: Path, width: int, scripts: bool
) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 900}, java_script_enabled=scripts)
    page = context.new_page()
    faults: list[str] = []
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    for path in paths:
        answer = page.goto(server.address + path, wait_until="load")
        assert answer is not None
        expected = 404 if path == "/task/1/" else 200
        faults += [f"{path}: status {answer.status}"] if answer.status != expected else []
        faults += [f"{path}: {fault}" for fault in _faults(page, scripts)]
        faults += [f"{path}: a script says {one}" for one in complaints if "404" not in one]
        complaints.clear()
    context.close()
    assert not faults, "\n".join(faults)


def _faults(page: Page, scripts: bool) -> Iterator[str]:
    if "hacked" in page.title() or page.locator("img").count():
        yield "a name became part of the page"
    if page.locator("h1").count() != 1:
        yield "not one heading"
    widest = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if widest > 1:
        yield f"{widest} pixels wider than the window"
    if scripts:
        for found in Axe().run(page).response["violations"]:
            if found["impact"] in GRAVE:
                yield f"axe: {found['id']}: {[node['target'] for node in found['nodes'][:3]]}"


def test_scripts_draw_charts_with_a_cursor(chromium: Browser, server: Served, paths: list[str]) -> None:
    page = chromium.new_page()
    page.goto(f"{server.address}/")
    page.wait_for_selector("figure[data-drawn] canvas")
    assert page.locator("figure[data-drawn]").count() == 2
    page.keyboard.press("/")
    page.keyboard.type("Q17")
    page.keyboard.press("Enter")
    page.wait_for_url("**/queue/Q17/")
    page.close()


def test_what_a_page_loads_is_small() -> None:
    assert sum(len(gzip.compress(path.read_bytes(), mtime=0)) for path in FILES.values()) < MOST_BYTES


def test_a_facet_narrows_down(chromium: Browser, server: Served, paths: list[str]) -> None:
    page = chromium.new_page()
    page.goto(f"{server.address}/tasks/?username=Bench*")
    page.click("details >> text=running")
    page.wait_for_url("**status=running**")
    assert page.locator("tbody tr").count() > 0
    assert set(page.locator("tbody .state").all_inner_texts()) == {"running"}
    page.close()


def test_the_vendored_files_are_those_that_are_named() -> None:
    folder = FILES["bamboo.css"].parent / "vendor"
    told = (folder / "README.md").read_text()
    for path in (one for one in folder.iterdir() if one.suffix in (".js", ".css")):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in told, path.name
