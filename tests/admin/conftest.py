"""Operators' commands, in this process and on a database of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from click.testing import CliRunner

from bamboo.__main__ import main


@dataclass(frozen=True)
class Said:
    """What a command printed, and the error of ours that it raised."""

    out: str
    error: BaseException | None

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """SQLite: operators' commands know no SQL."""
    return str(request.getfixturevalue(f"{getattr(request, 'param', 'sqlite')}_url"))


@pytest.fixture
def operator(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Runs `bamboo` with the words given, on the test's database."""
    monkeypatch.setenv("BAMBOO_DATABASE__URL", database_url)

    def _operator(*words: object) -> Said:
        result = CliRunner().invoke(main, [str(word) for word in words], standalone_mode=False)
        if result.exception is not None and not isinstance(result.exception, Exception):
            raise result.exception
        return Said(result.output, result.exception)

    return _operator
