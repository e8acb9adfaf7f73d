"""docs/client.md says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from bamboo.client.cli import COMMANDS
from bamboo.client.cli.exits import Exit
from bamboo.client.cli.lazy import LazyGroup

TEXT = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
ROOT = LazyGroup("bamboo", lazy=COMMANDS)


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        found += commands(command, (*path, name)) if isinstance(command, click.Group) else [(*path, name)]
    return found


def test_every_exit_code_is_listed() -> None:
    listed = [int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.M)]
    assert listed == [int(code) for code in Exit]


@pytest.mark.parametrize("path", commands(ROOT), ids=" ".join)
def test_every_command_is_listed(path: tuple[str, ...]) -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith(f"| `bamboo {path[0]}")]
    assert any(re.search(rf"\b{path[-1]}\b", row) for row in rows)


def test_every_option_of_run_in_the_docs_exists() -> None:
    section = TEXT[TEXT.index("### `bamboo run`") : TEXT.index("### Waiting")]
    command = ROOT.get_command(click.Context(ROOT), "run")
    assert command is not None
    known = {option for parameter in command.params for option in parameter.opts}
    written = set(re.findall(r"(--[A-Za-z-]+)", section))
    assert written <= known


def test_the_help_of_each_group_is_that_of_its_commands() -> None:
    """The lines that help shows without importing a command must not promise another one."""
    for path in commands(ROOT):
        group: click.Command | None = ROOT
        for name in path:
            assert isinstance(group, click.Group)
            group = group.get_command(click.Context(group), name)
        assert group is not None
        assert group.name == path[-1]
