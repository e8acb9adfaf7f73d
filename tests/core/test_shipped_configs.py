"""The cfg files that are shipped can be used as they are, and say what the defaults are."""

from __future__ import annotations

from pathlib import Path

import bamboo
from bamboo.core.settings import load
from bamboo.daemon.chore import plan
from bamboo.daemon.defaults import DEFAULT_ENTRIES

CONFIGS = Path(bamboo.__file__).parent / "configs"
FILES = [CONFIGS / f"panda_{name}.cfg" for name in ("common", "server", "jedi")]


def test_they_are_accepted() -> None:
    settings = load(FILES).settings
    assert settings.database.sqlalchemy_url() == "postgresql://bamboo@localhost/bamboo"
    assert settings.jobgen.procConfig[0].n_processes == 2


def test_their_chores_are_the_default_ones() -> None:
    settings = load(FILES).settings
    assert dict(settings.daemon.config) == DEFAULT_ENTRIES
    assert not plan(settings.daemon).not_provided


def test_the_units_run_commands_that_exist() -> None:
    from bamboo.admin.cli import COMMANDS

    for unit in CONFIGS.glob("*.service"):
        command = next(line for line in unit.read_text().splitlines() if line.startswith("ExecStart="))
        assert command.split()[-1] in COMMANDS
