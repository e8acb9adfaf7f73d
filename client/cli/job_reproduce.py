"""`bamboo job reproduce`: the payload of a job, to be run here."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import connected, formatted
from .output import Output, note, say

if TYPE_CHECKING:
    from ..api import Client


@click.command()
@click.argument("job_id", metavar="JOB", type=int)
@click.option(
    "--dest",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Make the folder job-ID there instead of here.",
)
@click.option("--no-inputs", is_flag=True, help="Leave inputs at their addresses.")
@click.option("--archive", is_flag=True, help="Pack the folder into job-ID.tar.gz, too.")
@click.option("--run", "at_once", is_flag=True, help="Run it; the exit code is the payload's.")
@formatted
@connected
def reproduce(
    client: Client, out: Output, job_id: int, dest: Path, no_inputs: bool, archive: bool, at_once: bool
) -> None:
    """Make a folder that runs the payload of a job of yours here: same wrapper, sandbox, inputs and variables.

    README.txt in it says in what a run here differs. Outputs are compared with those of the job by their checksums.
    """
    from ..reproduce import make_bundle

    bundle = make_bundle(client, job_id, dest, with_inputs=not no_inputs)
    packed = bundle.pack() if archive else None
    for line in bundle.missing:
        note(f"missing: {line}")
    if out.as_json:
        out.json({"folder": str(bundle.folder), "archive": packed and str(packed), "missing": bundle.missing})
    else:
        say(packed or bundle.folder)
    if at_once:
        click.get_current_context().exit(subprocess.run(bundle.command, check=False).returncode)
    note(f"next: python3 {bundle.folder}/run.py")
