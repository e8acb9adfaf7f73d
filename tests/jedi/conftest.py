"""Agents on a real database, with settings and plugins as a test wants them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.core.settings import Settings
from bamboo.tests.jedi.rounds import Jedi


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """SQLite, for agents know no SQL; what they do most runs on both (`rounds.on_both_databases`)."""
    return str(request.getfixturevalue(f"{getattr(request, 'param', 'sqlite')}_url"))


@pytest.fixture
def make_jedi(engine: sa.Engine, clock: ManualClock) -> Callable[..., Jedi]:
    """Makes the agents with the given sections of settings."""
    return lambda **sections: Jedi(engine, clock, settings=Settings(**sections))


@pytest.fixture
def jedi(make_jedi: Callable[..., Jedi]) -> Jedi:
    return make_jedi()


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> Callable[[type], str]:
    """Puts a plugin class into a module of its own, and gives the `module:Class` of it."""

    def _strangers(plugin: type) -> str:
        monkeypatch.setitem(sys.modules, "a_strangers_plugin", SimpleNamespace(Plugin=plugin))  # type: ignore[arg-type]
        return "a_strangers_plugin:Plugin"

    return _strangers
