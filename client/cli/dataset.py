"""`bamboo dataset`: make datasets of files, list them, fetch them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from ..text import bytes_text, count_text
from .files import FILES, copy
from .lazy import LazyGroup
from .options import connected, formatted, listed
from .output import Column, Output, first, say

if TYPE_CHECKING:
    from ..api import Client

COLUMNS = (
    Column("NAME", lambda dataset: dataset.name),
    Column("STATUS", lambda dataset: dataset.status),
    Column("FILES", lambda dataset: dataset.n_files, right=True),
    Column("SIZE", lambda dataset: bytes_text(dataset.size_bytes), right=True),
    Column("CREATED (UTC)", lambda dataset: dataset.created),
)


@click.group(cls=LazyGroup, lazy={})
def dataset() -> None:
    """Make datasets of files, see them, fetch them."""


@dataset.command()
@click.argument("name")
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option(
    "--manifest", type=click.File(), help="JSON lines with url, lfn, size_bytes, adler32, n_events; - for stdin."
)
@formatted
@connected
def add(client: Client, out: Output, name: str, paths: tuple[str, ...], manifest: TextIO | None) -> None:
    """Register files in dataset NAME, which is made if there is none: local files, globs, folders, or a manifest.

    Files stay where they are. Registering a file again changes nothing; one whose content has
    changed needs another name.
    """
    from ..catalogue import check_names, entries, expand, read_manifest

    if not paths and manifest is None:
        raise click.UsageError("give files, or a --manifest")
    listed_files = read_manifest(manifest) if manifest is not None else []
    files = [*entries(expand(paths)), *listed_files]
    check_names([file.lfn for file in files])
    done = client.add_files(name, files)
    if out.as_json:
        out.json({"dataset": name, "added": done.added, "known": done.known})
    elif out.quiet:
        say(name)
    else:
        known = f", {done.known} were there already" if done.known else ""
        say(f"{name}: {count_text(done.added, 'file')} added{known}")


@dataset.command("list")
@click.argument("pattern", required=False)
@listed
@connected
def list_datasets(client: Client, out: Output, pattern: str | None, limit: int) -> None:
    """List datasets, or those that match PATTERN (with *)."""
    out.rows(first(client.datasets(pattern, limit=limit + 1), limit), COLUMNS, id_key="name")


@dataset.command()
@click.argument("name")
@listed
@connected
def files(client: Client, out: Output, name: str, limit: int) -> None:
    """List the files of a dataset."""
    out.rows(first(client.files(name, limit=limit + 1), limit), FILES, id_key="lfn")


@dataset.command()
@click.argument("name")
@click.option(
    "--dest", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="Where to [default: here]."
)
@formatted
@connected
def get(client: Client, out: Output, name: str, dest: Path) -> None:
    """Copy the files of a dataset here and verify size and checksum. What is there already is not copied again."""
    copy(client.files(name), dest, out)
