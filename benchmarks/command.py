"""`python -m bamboo.benchmarks NAME`: one command for each measurement.

Prints a table and keeps the run as JSON in benchmarks/results and as a line in benchmarks/history.jsonl, beside the
ratios to the last run of the same kind on such a machine. `--quick` only tries whether the measurement works: its
figures mean nothing and do not enter the history.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bamboo.admin.interrupt import interruptible

from .database import databases
from .machine import facts
from .measuring import Setting
from .report import Report, Run, remember, table

HERE = Path(__file__).parent
#: What there is to measure, and the databases that it is measured on when none is named.
MEASUREMENTS = {
    "dispatch": "postgres",
    "atlas": "postgres",
    "costs": "postgres",
    "generate": "postgres",
    "finish": "postgres",
    "many": "postgres",
    "turnaround": "sqlite",
    "tiny_jobs": "sqlite",
    "views": "postgres",
    "sqlite": "sqlite",
    "idle": "sqlite",
    "brokerage": "sqlite",
    "wsgi_servers": "sqlite",
    "soak": "postgres",
}
SEED = 20_260_101


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line names; the status is 1 when a measurement had errors."""
    given = _parser().parse_args(arguments)
    names = list(MEASUREMENTS) if given.name == "all" else [given.name]
    with interruptible():
        return max([_run(name, given) for name in names])


def _run(name: str, given: argparse.Namespace) -> int:
    module = importlib.import_module(f".{name}", __package__)
    sizes = module.QUICK if given.quick else module.Sizes()
    changed = {one.name: getattr(given, one.name, None) for one in fields(sizes)}
    sizes = replace(sizes, **{option: value for option, value in changed.items() if value is not None})
    machine = facts()
    root = Path(tempfile.mkdtemp(prefix="bamboo-bench-", dir=given.folder))
    root.chmod(0o755)  # PostgreSQL may run as a user of its own
    try:
        with databases(given.db or MEASUREMENTS[name], root) as places:
            report: Report = module.run(Setting(places, given.seed, given.quick), sizes)
            database = places.facts()
    finally:
        shutil.rmtree(root, ignore_errors=True)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    run = Run(name, at, given.quick, given.seed, asdict(sizes), machine, database, report)
    _tell(run, given)
    return 1 if any(row.figures.get("errors") for row in report.rows) else 0


def _tell(run: Run, given: argparse.Namespace) -> None:
    words = [f"{name} {value}" for part in (run.machine, run.database) for name, value in part.items() if value]
    print(f"== {run.benchmark}, seed {run.seed}: {', '.join(words)}")
    print(", ".join(f"{name} {value}" for name, value in run.sizes.items()))
    print(table(run.report))
    results: Path = given.results
    results.mkdir(parents=True, exist_ok=True)
    kept = results / f"{run.benchmark}-{run.at.replace(':', '')}{'-quick' if run.quick else ''}.json"
    kept.write_text(run.as_json())
    print(f"kept in {kept}")
    if not run.quick:
        print("\n".join(remember(given.history, run.history_line())))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bamboo.benchmarks", description=__doc__)
    names = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name in MEASUREMENTS:
        module = importlib.import_module(f".{name}", __package__)
        one = names.add_parser(name, help=(module.__doc__ or "").strip().partition("\n")[0], description=module.__doc__)
        _common(one)
        for size in fields(module.Sizes):
            _size_option(one, size.name, size.default)
    _common(names.add_parser("all", help="all of them, one after the other"))
    return parser


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="seconds only: to see that it works, not how fast")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--db", help="`postgres` (a server of its own), `sqlite`, or the URL of a server")
    parser.add_argument("--folder", type=Path, help="where databases and logs lie meanwhile; default: the system's")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder for the JSON of each run")
    parser.add_argument("--history", type=Path, default=HERE / "history.jsonl", help="file that grows by a line a run")


def _size_option(parser: argparse.ArgumentParser, name: str, default: Any) -> None:
    option = f"--{name.replace('_', '-')}"
    if isinstance(default, bool):
        parser.add_argument(option, action=argparse.BooleanOptionalAction, default=None, help=f"default: {default}")
    elif isinstance(default, tuple):
        shown = " ".join(map(str, default))
        parser.add_argument(option, type=type(default[0]), nargs="+", default=None, help=f"default: {shown}")
    else:
        parser.add_argument(option, type=type(default), default=None, help=f"default: {default}")
