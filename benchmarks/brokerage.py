"""A round of production brokerage over many queues.

One task over so many queues, each with software, links, storages, activity and jobs: milliseconds of CPU for a round,
the best and the median, from the snapshot to the recorded reasons; once with all queues passing every gate, and once
with gates that refuse a part of them.
"""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from bamboo.core.tagging import ResourceType
from bamboo.plugins.contracts import QueueView, StorageView, TaskView
from bamboo.plugins.grid import Activity, Amount, Grid, Inputs, Link
from bamboo.plugins.production import ProductionJobBroker

from .measuring import Setting
from .report import Report


@dataclass(frozen=True)
class Sizes:
    queues: int = 1000
    rounds: int = 20


QUICK = Sizes(queues=50, rounds=2)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
GB = 1 << 30
TASK = TaskView(
    jeditaskid=10_000_000,
    task_name="bench",
    user_name="bench",
    vo="bamboo",
    prod_source_label="managed",
    status="ready",
    processing_type="reco",
    working_group=None,
    current_priority=700,
    gshare="Undefined",
    resource_type="MCORE",
    site=None,
    nucleus="DISK0",
    container_name=None,
    core_count=8,
    ram_count_mb=16_000,
    work_disk_count_mb=1000,
    max_walltime_seconds=0,
    max_attempt=3,
    split_rule={
        "nEventsPerJob": 100,
        "cpuTime": 1000,
        "baseTime": 600,
        "ioIntensity": 300,
        "diskIO": 2000,
        "ipConnectivity": "http#",
        "transHome": "Athena-21.0.38",
    },
    architecture="x86_64-slc6-gcc62-opt#x86_64",
)
SOFTWARE = {
    "cvmfs": ["atlas"],
    "cmtconfigs": ["x86_64-slc6-gcc62-opt", "x86_64-centos7-gcc8-opt"],
    "architectures": [{"type": "cpu", "arch": ["x86_64"], "instr": ["avx2"]}],
}


def queue(number: int, dice: random.Random, *, mixed: bool) -> QueueView:
    def pick(good: int, bad: int) -> int:
        return bad if mixed and dice.random() < 0.1 else good

    return QueueView(
        queue=f"Q{number}",
        site=f"S{number}",
        vo="bamboo",
        status=("online", "offline")[pick(0, 1)],
        state="ACTIVE",
        type="unified",
        core_count=pick(8, 1),
        max_rss_mb=pick(20_000, 8_000),
        max_wdir_mb=pick(100_000, 500),
        max_time_seconds=pick(200_000, 3000),
        storage=f"DISK{number}",
        attributes={
            "releases": "AUTO",
            "wnconnectivity": "full#",
            "corepower": "12.5",
            "maxDiskIO": "3000",
            "fairsharepolicy": "type=evgen|simul:50%",
            "minrss": 0,
            "capability": "ucore",
            "catchall": "loadbalance,setdebugmode",
        },
        jobs={"running": 100 + dice.randrange(900), "activated": dice.randrange(100), "starting": dice.randrange(50)},
    )


def grid(n_queues: int, dice: random.Random) -> Grid:
    names = range(n_queues)
    return Grid(
        now=NOW,
        resource_types=[ResourceType("Undefined"), ResourceType("MCORE", 2, None, 0, 2000)],
        links={
            (f"S{n}", "S0"): Link(source=f"S{n}", destination="S0", closeness=dice.randrange(12), queued_files=n % 10)
            for n in names
        },
        storages={
            f"DISK{n}": StorageView(storage=f"DISK{n}", site=f"S{n}", state="ACTIVE", free_bytes=999 * GB)
            for n in names
        },
        activity={
            f"Q{n}": Activity(last_pilot_at=NOW, last_start_at=NOW - timedelta(hours=1), disk_io_kbps_per_core=10)
            for n in names
        },
        software={f"Q{n}": SOFTWARE for n in names},
        inputs=Inputs(
            total=Amount(40, 8 * GB), n_events=4000, at_sites={f"S{n}": Amount(20, 4 * GB) for n in names if n % 2}
        ),
    )


def cpu_ms(queues: list[QueueView], snapshot: Grid, rounds: int) -> tuple[list[float], int]:
    broker, times, passed = ProductionJobBroker(), [], 0
    for _ in range(rounds):
        fresh = replace(snapshot)  # nothing worked out before is kept
        began = time.process_time()
        choice = broker.choose_queue(TASK, queues, fresh)
        if choice is None:
            raise SystemExit("the broker gave no answer")
        choice.why()
        times.append(1000 * (time.process_time() - began))
        passed = len(queues) - sum(len(names) for names in choice.rejected.values())
    return times, passed


def run(setting: Setting, sizes: Sizes) -> Report:
    """Once with all queues passing every gate, once with a part of them refused."""
    report = Report(watched={"least CPU ms": -1})
    for what, mixed in (("all pass", False), ("some are refused", True)):
        dice = random.Random(setting.seed)
        queues = [queue(number, dice, mixed=mixed) for number in range(sizes.queues)]
        times, passed = cpu_ms(queues, grid(sizes.queues, dice), sizes.rounds)
        figures = {"queues": sizes.queues, "passed": passed, "least CPU ms": min(times)}
        report.add(what, {**figures, "median CPU ms": statistics.median(times), "rounds": sizes.rounds})
    return report
