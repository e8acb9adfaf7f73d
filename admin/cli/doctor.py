"""`bamboo doctor`: what is wrong with an installation, and what to do."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ...client.cli.lazy import LazyGroup
from ...client.cli.output import Output, say
from ..state import StateFolder
from .options import config_option, db_option, json_option, usual_files

MARKS = {"ok": "ok     ", "warning": "warning", "fault": "FAULT  "}


@click.group(
    invoke_without_command=True,
    cls=LazyGroup,
    lazy={
        "chaos": ("bamboo.admin.cli.chaos:chaos", "Kill, stop and cut off the parts of a private system, and check it.")
    },
)
@config_option
@db_option
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    envvar="BAMBOO_STATE",
    help="The folder of `bamboo up`, to look at its keys, its server and, unless another is named, its database.",
)
@json_option
@click.option("--all", "show_all", is_flag=True, help="Show what is right, too.")
@click.pass_context
def doctor(
    ctx: click.Context,
    config_files: tuple[Path, ...],
    db_url: str | None,
    state: Path | None,
    as_json: bool,
    show_all: bool,
) -> None:
    """Look at configuration, database, clocks, disks, permissions, plugins, tokens and servers; change nothing.

    Exit status 1 if something does not work, 0 otherwise, also with warnings.
    """
    if ctx.invoked_subcommand is not None:
        return
    from ..doctor.examination import examine
    from ..doctor.findings import Verdict, worst

    files = config_files or tuple(usual_files())
    folder = StateFolder(state.resolve()) if state else None
    findings = examine(files, os.environ, db_url=db_url, state=folder)
    if as_json:
        Output.json([finding.row for finding in findings])
    else:
        for finding in findings:
            if show_all or finding.verdict is not Verdict.OK:
                say(f"{MARKS[finding.verdict]}  {finding.check}: {finding.where}: {finding.what}")
                if finding.do:
                    say(f"         -> {finding.do}")
        n = {verdict: sum(finding.verdict is verdict for finding in findings) for verdict in Verdict}
        told = [f"{n[one]} {one}{'s' if n[one] != 1 else ''}" for one in (Verdict.FAULT, Verdict.WARNING)]
        say(f"{len(findings)} checks: {', '.join(told)}")
    if worst(findings) is Verdict.FAULT:
        raise SystemExit(1)
