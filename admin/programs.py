"""The programs of the parts, loaded once and forked: memory that nobody writes to is there once for all of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import sqlalchemy as sa

from ..core.process import share_memory
from .cli import COMMANDS

MODULES = (
    "bamboo.admin.cli.parts",
    "bamboo.daemon.defaults",
    "bamboo.daemon.master",
    "bamboo.jedi.master",
    "bamboo.server.serve",
    "granian",
)


def load_programs(database_url: str) -> None:
    """Import what the parts need and would else import after they were forked, each for itself."""
    for module in MODULES:
        importlib.import_module(module)
    sa.make_url(database_url).get_dialect().import_dbapi()
    share_memory()


def program(name: str) -> Callable[[], int]:
    """`bamboo <name>` as something to call in a process of its own; gives its exit status."""

    def run() -> int:
        from ..client.cli.exits import guarded

        module, _, attribute = COMMANDS[name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        return guarded(lambda: command.main(args=[], prog_name=f"bamboo {name}", standalone_mode=False))

    return run
