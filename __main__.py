"""The command `bamboo`: users' nouns from the client, operators' from admin, none imported before it is used."""

from __future__ import annotations

import click

from . import __version__
from .admin.cli import COMMANDS as ADMIN_COMMANDS
from .client.cli import COMMANDS as CLIENT_COMMANDS
from .client.cli.lazy import LazyGroup


@click.group(
    cls=LazyGroup,
    lazy={**CLIENT_COMMANDS, **ADMIN_COMMANDS},
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__, prog_name="bamboo")
def main() -> None:
    """Bamboo, a workload management system: tasks in, jobs on any machine, every input accounted for once."""


if __name__ == "__main__":
    main(prog_name="bamboo")
