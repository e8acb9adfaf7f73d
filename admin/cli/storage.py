"""`bamboo storage`: where jobs of a site put their outputs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import click

from ...core.errors import Fault, Invalid
from .options import by_option, config_option, database_url, db_option, read_settings


@click.group()
def storage() -> None:
    """See and change the storages that queues name."""


@storage.command("set")
@config_option
@db_option
@by_option
@click.argument("name")
@click.option("--site", required=True, help="The site it belongs to.")
@click.option("--endpoint", default="file://localhost", show_default=True, metavar="URL", help="Protocol and host.")
@click.option("--path", required=True, help="The folder for outputs, as jobs see it.")
def set_storage(
    config_files: tuple[Path, ...], db_url: str | None, by: str, name: str, site: str, endpoint: str, path: str
) -> None:
    """Enter storage NAME or change where it is. A queue names it: `bamboo queue set QUEUE storage=NAME`."""
    from ...core.clock import utc_now
    from ...sql import audit, queues
    from ..database import opened, require_schema

    if faults := list(_faults(endpoint, path)):
        raise Invalid(f"storage {name}", faults)
    url = database_url(read_settings(config_files).settings, db_url)
    require_schema(url)
    with (
        opened(url) as engine,
        engine.begin() as tx,
        audit.recording(tx, queues.storage_things, actor=by, now=utc_now()),
    ):
        queues.set_storage(tx, name, site=site, endpoint=endpoint.rstrip("/"), path=path)
    click.echo(f"storage {name} is set")


@storage.command("list")
@config_option
@db_option
def list_storages(config_files: tuple[Path, ...], db_url: str | None) -> None:
    """List the storages with their sites and addresses."""
    from ...client.cli.output import Column, table
    from ...sql import queues
    from ...sql.engine import reading
    from ..database import opened, require_schema

    url = database_url(read_settings(config_files).settings, db_url)
    require_schema(url)
    with opened(url) as engine, reading(engine) as tx:
        found = queues.list_storages(tx)
    columns = (
        Column("STORAGE", lambda row: row.storage),
        Column("SITE", lambda row: row.site),
        Column("ADDRESS", lambda row: f"{row.endpoint}{row.path}"),
    )
    table(columns, found)


def _faults(endpoint: str, path: str) -> Iterator[Fault]:
    address = urlsplit(endpoint)
    if not address.scheme or not address.netloc or address.path.strip("/"):
        yield Fault("--endpoint", f"{endpoint!r} is no address", "such as file://localhost or root://host:1094")
    if not path.startswith("/") or any(letter.isspace() for letter in path):
        yield Fault("--path", f"{path!r} is no absolute path", "begin with / and use no blanks")
