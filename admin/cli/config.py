"""`bamboo config`: what is configured, and whether it can be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel

from .options import config_option, read_settings


@click.group()
def config() -> None:
    """Check and show the configuration."""


@config.command()
@config_option
def check(config_files: tuple[Path, ...]) -> None:
    """Read files and environment and say everything that is wrong; exit status 8 if anything is."""
    from ...sql.retry_rules import of_file

    loaded = read_settings(config_files)
    of_file(loaded.settings.retry.rules_file)
    click.echo(f"the configuration can be used ({len(loaded.origins)} values differ from the defaults or repeat them)")


@config.command()
@config_option
@click.option("--origin", is_flag=True, help="Say where each value comes from.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def show(config_files: tuple[Path, ...], origin: bool, as_json: bool) -> None:
    """Show every setting in force. Passwords are not shown."""
    loaded = read_settings(config_files)
    values = _plain(loaded.settings.model_dump(mode="json"))
    if as_json:
        click.echo(json.dumps(values, indent=2))
        return
    for section, keys in values.items():
        click.echo(f"[{section}]")
        for key, value in keys.items():
            source = loaded.origins.get((section, key), "default")
            click.echo(f"{key} = {_text(value)}" + (f"    # {source}" if origin else ""))
        click.echo("")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return value
