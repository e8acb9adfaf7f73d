"""Options that all operators' commands share, and what they stand for."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import sqlalchemy as sa

from ...core import logs
from ...core.errors import BadSettings, Fault
from ...core.settings import Loaded, Settings, load

F = TypeVar("F", bound=Callable[..., Any])

#: Where files are looked for when none are named: those of the working folder, then the machine's.
USUAL_FILES = ("panda_common.cfg", "panda_server.cfg", "panda_jedi.cfg")
USUAL_FOLDERS = (Path(), Path("/etc/bamboo"))


def config_option(command: F) -> F:
    """`--config FILE`, which may be given several times; also BAMBOO_CONFIG with the paths joined by colons."""
    return click.option(
        "--config",
        "config_files",
        multiple=True,
        type=click.Path(path_type=Path, dir_okay=False),
        help="A cfg file; may be given several times. Default: BAMBOO_CONFIG, or panda_*.cfg here or in /etc/bamboo.",
    )(command)


def db_option(command: F) -> F:
    """`--db URL`."""
    return click.option("--db", "db_url", metavar="URL", help="SQLAlchemy URL of the database. Wins over the files.")(
        command
    )


def json_option(command: F) -> F:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="As JSON.")(command)


def by_option(command: F) -> F:
    """`--by NAME`: who is written down as having changed something."""
    return click.option("--by", default=_user, metavar="NAME", help="Who does it. Default: the user of this machine.")(
        command
    )


def _user() -> str:
    try:
        return getpass.getuser()[:128]
    except (OSError, KeyError):  # a user id without a name, as in some containers
        return f"uid {os.getuid()}"


def read_settings(config_files: tuple[Path, ...]) -> Loaded:
    """The settings of this process, from files and environment; raises `BadSettings`."""
    return load(config_files or tuple(usual_files()), os.environ)


def usual_files() -> list[Path]:
    """The cfg files of a process that was given none."""
    if os.environ.get("BAMBOO_CONFIG"):
        return [Path(name) for name in os.environ["BAMBOO_CONFIG"].split(":") if name]
    for folder in USUAL_FOLDERS:
        found = [folder / name for name in USUAL_FILES if (folder / name).is_file()]
        if found:
            return found
    return []


def database_url(settings: Settings, db_url: str | None) -> str:
    """The database to use; raises `BadSettings` when nothing names one or the name cannot be read."""
    url = db_url or settings.database.sqlalchemy_url()
    if not url:
        hint = "give --db URL, or set BAMBOO_DATABASE__URL as `bamboo up` prints it"
        fault = Fault("[database] url", "no database is named", hint)
        raise BadSettings("the configuration cannot be used", [fault])
    try:
        sa.make_url(url)
    except sa.exc.ArgumentError as error:
        fault = Fault("the database's URL", str(error), "it looks like postgresql://user@host/name or sqlite:////path")
        raise BadSettings("the configuration cannot be used", [fault]) from error
    return url


def settings_of(config_files: tuple[Path, ...], db_url: str | None) -> Settings:
    """The settings of a part, in which `database.url` names the database."""
    settings = read_settings(config_files).settings
    database = settings.database.model_copy(update={"url": database_url(settings, db_url)})
    return settings.model_copy(update={"database": database})


def start_logging(name: str, settings: Settings) -> None:
    """Set up the log of this process as the settings say."""
    common = settings.common
    logs.configure(name, level=common.log_level, style=common.log_format, folder=common.logdir)
