"""`bamboo pilot`: run a pilot here, or build the one file that runs anywhere."""

from __future__ import annotations

from pathlib import Path

import click

from ...pilot import build as pilot_build
from ...pilot.main import main as run_pilot
from .options import config_option, read_settings


class _PilotGroup(click.Group):
    """`bamboo pilot build` is a command of ours; everything else is for the pilot's own parser."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args[:1] == ["build"] or not args:
            return super().parse_args(ctx, args)
        raise SystemExit(run_pilot(args))


@click.group(cls=_PilotGroup, context_settings={"help_option_names": []}, invoke_without_command=True)
@click.pass_context
def pilot(ctx: click.Context) -> None:
    """Run a pilot (its options: `bamboo pilot --help`), or build one with `bamboo pilot build`."""
    if ctx.invoked_subcommand is None:
        raise SystemExit(run_pilot([]))


@pilot.command()
@config_option
@click.argument("target", default="pilot.pyz", type=click.Path(path_type=Path, dir_okay=False))
def build(config_files: tuple[Path, ...], target: Path) -> None:
    """Write the pilot to TARGET: one file for any machine with Python 3.9 or later."""
    from sqlalchemy import create_engine

    from ...core.clock import utc_now
    from ...plugins.manager import Plugins

    settings = read_settings(config_files).settings
    plugins = Plugins(settings, create_engine("sqlite://"), utc_now)
    copytools = []
    for plugin, answer in plugins.each("pilot_copytools"):
        if isinstance(answer, Exception):
            raise click.ClickException(f"{plugin} failed to name its copy tools: {answer}")
        copytools += list(answer)
    written = pilot_build.build(target, copytools)
    click.echo(f"{written} ({written.stat().st_size // 1024} kB): python3 {written} --help")
