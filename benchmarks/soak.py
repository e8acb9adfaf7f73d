"""Half of what is carried, for half an hour: memory, open files, connections, tables and times have to stay flat.

The load is that of `atlas`, over a server, a daemon that books what ends, and a JEDI. Each minute is a row; the last
row has the last third of the time beside the first.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import sqlalchemy as sa

from bamboo.sql.engine import open_engine, reading

from . import atlas
from .measuring import Setting, named
from .population import Population
from .processes import read_all
from .report import Report
from .server import running_daemon, running_jedi, running_server
from .sources import RUNNING_JOBS

MIB = 1 << 20
#: Figures that have grown by more than this factor are pointed at.
FLAT = 1.25
#: What grows with every job that is done, and may.
GROWS = ("database MiB",)


@dataclass(frozen=True)
class Sizes:
    minutes: float = 30.0
    window_seconds: float = 60.0
    load: float = 0.0  #: in ATLAS; 0: half of the largest that is carried, which is found first
    running_jobs: int = RUNNING_JOBS  #: for each ATLAS
    queues: int = 200
    workers: int = 2
    connections: int = 64


QUICK = Sizes(minutes=0.1, window_seconds=2.0, load=0.1, running_jobs=5000, queues=20, connections=16)


def run(setting: Setting, sizes: Sizes) -> Report:
    """The windows, then how flat they were."""
    report = Report(watched={"p99 ms": -1, "server MiB": -1, "daemon MiB": -1, "errors": -1})
    load = sizes.load or _half(setting, sizes, report)
    n_windows = max(3, round(sizes.minutes * 60 / sizes.window_seconds))
    with ExitStack() as stack:
        url = stack.enter_context(setting.databases.new())
        population = Population.start(url, seed=setting.seed, n_queues=sizes.queues, n_tasks=1000)
        stack.callback(population.close)
        folder = setting.databases.folder / "soak"
        server = stack.enter_context(running_server(url, folder, workers=sizes.workers))
        trial = atlas.Trial(setting, _atlas_sizes(sizes), population, url, server, report)
        ending = trial.fill(load, n_windows * sizes.window_seconds)
        daemon = stack.enter_context(running_daemon(server.settings, folder))
        jedi = stack.enter_context(running_jedi(server.settings, folder))
        parts = {"server": server.pid, "daemon": daemon.pid, "jedi": jedi.pid}
        windows: list[Mapping[str, float]] = []
        for number in range(n_windows):
            mine = ending[number * len(ending) // n_windows : (number + 1) * len(ending) // n_windows]
            got = trial.put(load, mine, sizes.window_seconds, setting.seed + 100 * number)
            windows.append({**got.figures(got.tally.rate()), **_held(parts), **_tables(url)})
            report.add(f"{number + 1}", windows[-1])
    report.notes.append(f"load: {load:g} ATLAS, {named(jobs=int(load * sizes.running_jobs))}")
    _tell_flatness(report, windows)
    return report


def _half(setting: Setting, sizes: Sizes, report: Report) -> float:
    """Half of the largest load that is carried, with the daemon at work."""
    found = atlas.run(setting, _atlas_sizes(sizes))
    report.notes.append(f"carried: {found.rows[-1].figures['ATLAS']:g} ATLAS")
    return found.rows[-1].figures["ATLAS"] / 2 or 0.1


def _atlas_sizes(sizes: Sizes) -> atlas.Sizes:
    return atlas.Sizes(
        running_jobs=sizes.running_jobs,
        queues=sizes.queues,
        workers=sizes.workers,
        connections=sizes.connections,
        daemon=True,
    )


def _held(parts: Mapping[str, int]) -> dict[str, float]:
    """What the processes of each part hold now."""
    figures: dict[str, float] = {}
    for name, pid in parts.items():
        readings = read_all([pid]).values()
        figures[f"{name} MiB"] = sum(one.pss_kb for one in readings) / 1024
        figures[f"{name} files"] = sum(one.n_files for one in readings)
    return figures


def _tables(url: str) -> dict[str, float]:
    """How large the database has become, and how many connections it has (PostgreSQL only)."""
    engine = open_engine(url, pool_size=1)
    try:
        with reading(engine) as tx:
            if tx.dialect.name != "postgresql":
                pages = tx.exec_driver_sql("PRAGMA page_count").scalar_one()
                return {"database MiB": pages * tx.exec_driver_sql("PRAGMA page_size").scalar_one() / MIB}
            asked = {
                "database MiB": "pg_database_size(current_database())",
                "jobs MiB": "pg_table_size('jobs')",
                "jobs indexes MiB": "pg_indexes_size('jobs')",
                "claim index MiB": "pg_relation_size('ix_jobs_claim_share')",
            }
            figures = {name: tx.exec_driver_sql(f"SELECT {sql}").scalar_one() / MIB for name, sql in asked.items()}
            counted = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            figures["connections"] = tx.execute(sa.text(counted)).scalar_one()
            return figures
    finally:
        engine.dispose()


def _tell_flatness(report: Report, windows: Sequence[Mapping[str, float]]) -> None:
    """Enter the last third beside the first, and say what has grown."""
    third = len(windows) // 3
    ratios: dict[str, float] = {}
    for name in windows[0]:
        early = statistics.mean(one[name] for one in windows[:third])
        late = statistics.mean(one[name] for one in windows[-third:])
        if early:
            ratios[name] = late / early
    report.add("last third / first third", ratios)
    grown = [name for name, ratio in ratios.items() if ratio > FLAT and name not in GROWS]
    report.notes.append(f"not flat: {', '.join(grown)}" if grown else "flat")
