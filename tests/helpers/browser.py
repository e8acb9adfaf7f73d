"""Debian's Chromium, driven by Playwright, for tests that look at pages as people do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = "there is no Chromium here, so that no page is looked at: apt-get install chromium"


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser; without one the test is skipped, and fails where CI should have it."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])  # CI is root in a container
        yield running
        running.close()
