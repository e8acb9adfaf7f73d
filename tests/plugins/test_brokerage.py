"""Production brokerage: the formulas worked by hand, and what must hold of any grid."""

from __future__ import annotations

from typing import Any

import pytest
from grid_scenarios import edited, snapshot
from hypothesis import HealthCheck, settings
from hypothesis import given as of_any
from hypothesis import strategies as st
from sizes import task_view

from bamboo.core.tunables import Numbers, known
from bamboo.plugins.contracts import StorageView
from bamboo.plugins.grid import Amount, Grid, Inputs, Link
from bamboo.plugins.production import ProductionTaskBroker, task_broker, weights
from bamboo.plugins.production.architecture import Architecture, unmet
from bamboo.plugins.production.gates_grid import shares_of
from bamboo.plugins.production.job_broker import Brokered, broker
from bamboo.plugins.production.needs import Needs
from bamboo.plugins.production.situation import Remedy, to_number
from bamboo.plugins.production.software import Release

GB = 1 << 30
SITES = ("A", "B", "C", "D", "E", "F")


@pytest.mark.parametrize(
    ("assigned", "activated", "expected"),
    [(0, 0, 1), (5, 0, 2), (0, 10, 1), (5, 10, 1), (15, 10, 1.5), (30, 10, 2)],  # max(1, min(2, assigned/activated))
)
def test_many_assigned(assigned: int, activated: int, expected: float) -> None:
    assert weights.many_assigned(assigned, activated) == expected


@pytest.mark.parametrize(
    ("available", "missing", "expected"),
    [
        (Amount(200, 100 * GB), Amount(), 2.0),  # (100 + 100) / (100 * (0/100 + 1))
        (Amount(100, 50 * GB), Amount(100, 50 * GB), 0.75),  # (50 + 100) / (100 * (100/100 + 1))
        (Amount(), Amount(200, 100 * GB), 1 / 3),  # (0 + 100) / (100 * (200/100 + 1))
    ],
)
def test_data_availability(available: Amount, missing: Amount, expected: float) -> None:
    assert weights.data_availability(Amount(200, 100 * GB), available, missing) == pytest.approx(expected)
    assert weights.data_availability(Amount(3, 0), Amount(), Amount(3, 0)) == 1


@pytest.mark.parametrize(
    ("link", "queued", "throughput"),
    [
        (None, 2.0, 1.0),
        (Link(source="A", destination="B"), 2.0, 1.0),
        (Link(source="A", destination="B", closeness=0), 2.0, 2.0),
        (Link(source="A", destination="B", closeness=11), 2.0, 1.0),
        (Link(source="A", destination="B", closeness=4, queued_files=25), 1.75, 1 + 7 / 11),  # 2 - 25/100
        (Link(source="A", destination="B", closeness=0, mbps=250.0, queued_files=900), 1.0, 1.25),  # 1 + 250/1000
        (Link(source="A", destination="B", mbps=40_000.0), 2.0, 2.0),
    ],
)
def test_the_pieces_of_the_network_weight(link: Link | None, queued: float, throughput: float) -> None:
    assert weights.queued_weight(link, Numbers()) == queued
    assert weights.throughput_weight(link, Numbers()) == pytest.approx(throughput)


@pytest.mark.parametrize(
    ("text", "platform", "base", "hosts"),
    [
        (None, "", "", {}),
        ("x86_64-slc6-gcc62-opt", "x86_64-slc6-gcc62-opt", "", {}),
        ("sw@base", "sw", "base", {}),
        ("sw#x86_64-Intel-avx2", "sw", "", {"cpu": {"arch": "x86_64", "vendor": "intel", "instr": "avx2"}}),
        (
            "sw@base#arm64&nvidia-a100-80",
            "sw",
            "base",
            {"cpu": {"arch": "arm64"}, "gpu": {"vendor": "nvidia", "model": "a100-80"}},
        ),
        ("&nvidia", "", "", {"gpu": {"vendor": "nvidia"}}),
    ],
)
def test_the_parts_of_an_architecture(text: str | None, platform: str, base: str, hosts: dict[str, Any]) -> None:
    assert Architecture.parse(text) == Architecture(platform, base, hosts)


def test_exclusive_hardware_is_for_those_who_ask_for_it() -> None:
    offered = [{"type": "cpu", "arch": ["x86_64"], "vendor": ["intel", "excl"]}]
    assert unmet(Architecture.parse("sw#x86_64-intel"), offered) is None
    assert unmet(Architecture.parse("sw#x86_64"), offered) == ("cpu", "vendor", "")
    assert unmet(Architecture.parse("sw"), offered) == ("cpu", "vendor", "")
    assert unmet(Architecture.parse("sw#x86_64-amd"), offered) == ("cpu", "vendor", "amd")


@pytest.mark.parametrize(
    ("home", "uses", "release", "tag"),
    [
        ("AthDerivation-21.2.2.0", "Atlas-21.2.2", Release("AthDerivation", "21.2.2.0"), "atlas"),
        ("", "Atlas-21.0.38", Release("Atlas", "21.0.38"), "atlas"),
        ("Athena-2021-05-12T2101", "", Release("Athena", "2021-05-12T2101"), "nightlies"),
    ],
)
def test_the_release_of_a_task(home: str, uses: str, release: Release, tag: str) -> None:
    assert Release.parse(home, uses) == release
    assert release.cvmfs_tag == tag
    assert Release.parse("AnalysisTransforms-Atlas", "no") is None


@pytest.mark.parametrize(
    ("policy", "kind", "has"),
    [
        ("type=evgen|simul:100%", "evgen", True),
        ("type=evgen|simul:100%", "evgensimul", False),
        ("type=evgen:0%", "evgen", False),
        ("type=evgen:0%", "reco", True),
        ("type=evgen:60%,type=any:0%", "reco", False),
        ("type=evgen&group=x:40%,type=any:60%", "reco", True),
    ],
)
def test_fair_shares(policy: str, kind: str, has: bool) -> None:
    assert shares_of(policy, kind, "Undefined") == has


def test_a_number_that_is_none_is_the_default() -> None:
    given: list[Any] = ["12.5", 3, None, "much", []]
    assert [to_number(value, 7) for value in given] == [12.5, 3, 7, 7, 7]


def test_every_setting_says_what_it_is() -> None:
    ours = [one for one in known() if one.component in ("jobbroker", "taskbroker")]
    assert len(ours) >= 25
    assert all(one.unit and one.source for one in ours)


# Any grid

amounts = st.integers(0, 60)
queues = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["online", "online", "test", "offline"]),
        "state": st.sampled_from(["ACTIVE", "ACTIVE", "INACTIVE"]),
        "type": st.sampled_from(["unified", "production"]),
        "corecount": st.sampled_from([1, 4, 8]),
        "maxrss": st.integers(0, 20_000),
        "minrss": st.integers(0, 4_000),
        "maxwdir": st.integers(0, 20_000),
        "maxtime": st.integers(0, 200_000),
        "transferringlimit": st.integers(1, 50),
        "maxDiskIO": st.integers(1, 500),
        "wnconnectivity": st.sampled_from(["full", "http#IPv6", "none"]),
        "jobseed": st.sampled_from(["es", "std", "all"]),
        "numSlots": st.integers(-1, 40),
        "direct_access_lan": st.booleans(),
        "batch_workers": amounts,
        "last_pilot_hours_ago": st.integers(0, 6),
        "last_start_hours_ago": st.integers(0, 6),
        "disk_io_kbps_per_core": st.integers(0, 1000),
        "jobs": st.fixed_dictionaries(
            {},
            optional=dict.fromkeys(
                ("defined", "assigned", "activated", "starting", "running", "transferring"), amounts
            ),
        ),
        "storage": st.sampled_from(["S1", "S2"]),
    },
)
tasks = st.fixed_dictionaries(
    {},
    optional={
        "priority": st.sampled_from([100, 800, 1000]),
        "coreCount": st.sampled_from([1, 4, 8]),
        "memory_mb": st.integers(0, 16_000),
        "workDiskCount_mb": st.integers(0, 5_000),
        "maxWalltime_seconds": st.integers(0, 200_000),
        "cpuTime": st.integers(0, 100_000),
        "ioIntensity": st.integers(0, 500),
        "diskIO": st.integers(0, 4_000),
        "ipConnectivity": st.sampled_from(["full", "http#IPv6", "none"]),
        "allowInputLAN": st.just("only"),
        "eventService": st.booleans(),
        "nucleus": st.just("S1"),
        "t1Weight": st.just(-1),
    },
)
links = st.dictionaries(
    st.sampled_from([f"{site} -> A" for site in SITES[1:]]),
    st.fixed_dictionaries(
        {},
        optional={
            "closeness": st.integers(0, 11),
            "mbps": st.floats(0, 2000),
            "queued_files": st.integers(0, 5000),
            "blocked": st.just("down"),
        },
    ),
)
grids = st.fixed_dictionaries(
    {
        "task": tasks,
        "queues": st.dictionaries(st.sampled_from(SITES), queues, min_size=1),
        "links": links,
        "storages": st.just({"S1": {"site": "A", "free_gb": 500}, "S2": {"free_gb": 100}}),
        "work": st.sampled_from(["run", "run", "scout", "merge"]),
    },
    optional={
        "inputs": st.fixed_dictionaries({"files": st.just(60), "gb": st.just(30)}),
        "preassigned": st.just(["A", "B"]),
    },
)
on_any_grid = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def brokered(data: dict[str, Any]) -> Brokered:
    return broker(*snapshot(data))


@on_any_grid
@of_any(grids)
def test_every_queue_is_chosen_or_refused_with_a_change(data: dict[str, Any]) -> None:
    found = brokered(data)
    refused = found.passage.refused
    assert {name for name, _ in found.ranked} | refused.keys() == data["queues"].keys()
    assert {name for name, _ in found.ranked}.isdisjoint(refused)
    assert all(refusal.change and refusal.distance > 0 for _, refusal in refused.values())
    assert all(weight > 0 for _, weight in found.ranked)


@on_any_grid
@of_any(grids, st.randoms(use_true_random=False))
def test_the_order_of_the_queues_does_not_matter(data: dict[str, Any], dice: Any) -> None:
    names = list(data["queues"])
    dice.shuffle(names)
    shuffled = {**data, "queues": {name: data["queues"][name] for name in names}}
    assert brokered(shuffled).ranked == brokered(data).ranked
    assert brokered(shuffled).passage.counts == brokered(data).passage.counts


@on_any_grid
@of_any(grids)
def test_without_a_queue_that_is_not_chosen_the_choice_is_the_same(data: dict[str, Any]) -> None:
    whole = brokered(data)
    for name in whole.passage.refused:
        rest = {**data, "queues": {other: part for other, part in data["queues"].items() if other != name}}
        assert brokered(rest).ranked == whole.ranked


@on_any_grid
@of_any(grids)
def test_the_change_that_is_named_lets_a_queue_through_its_gate(data: dict[str, Any]) -> None:
    for name, (gate, refusal) in brokered(data).passage.refused.items():
        assert isinstance(refusal, Remedy)
        if refusal.edits:
            again = brokered(edited(data, name, refusal.edits)).passage.refused.get(name)
            assert again is None or again[0] != gate, (name, gate, refusal)


# The nucleus


def storage(name: str, free_gb: float | None, **attributes: Any) -> StorageView:
    free = None if free_gb is None else int(free_gb * GB)
    return StorageView(storage=name, site=f"{name}_SITE", state="ACTIVE", free_bytes=free, attributes=attributes)


def test_the_weight_of_a_nucleus() -> None:
    _, _, empty = snapshot({"queues": {}})
    inputs = Inputs(total=Amount(10, 100 * GB), at_sites={"NEAR_SITE": Amount(5, 50 * GB)})
    grid = Grid(now=empty.now, inputs=inputs, backlog_files={"NEAR": 5_000})
    # (50 + 100) / 100 * 400 / (1 + 5000/10000) = 400
    assert task_broker.weight(grid, storage("NEAR", 400)) == pytest.approx(400)
    assert task_broker.weight(grid, storage("FAR", 500)) == pytest.approx(500)
    assert task_broker.weight(grid, storage("UNKNOWN", None)) == pytest.approx(1)


def test_the_nucleus_is_the_best_of_those_that_can_take_the_outputs() -> None:
    task, _, empty = snapshot({"queues": {}, "task": {"outDiskCount_kb": 10 << 20}})
    grid = Grid(
        now=empty.now,
        inputs=Inputs(total=Amount(30, 0), are_anywhere=True),  # 30 files of 10 GB each to come
        backlog_files={"SWAMPED": 1_000_001},
    )
    storages = [
        storage("SMALL", 229),
        storage("ENOUGH", 501),
        storage("TIGHT", 500),
        storage("BIG", 900),
        storage("SWAMPED", 900),
        storage("BAD", 900, blacklisted="lost files"),
        storage("SCRATCH", 900, nucleus=False),
    ]
    choice = ProductionTaskBroker().choose_nucleus(task, storages, grid)
    assert choice is not None
    assert list(choice.chosen) == ["BIG", "ENOUGH"]
    assert choice.rejected == {
        "nucleus": ["SCRATCH"],
        "blacklisted": ["BAD"],
        "space": ["SMALL", "TIGHT"],
        "backlog": ["SWAMPED"],
    }
    assert choice.why()["rejected"]["blacklisted"]["change"] == "take it off the blacklist: lost files"
    assert choice.why()["rejected"]["backlog"]["change"].startswith("1 fewer inputs")


def test_a_task_with_ranges_of_events_is_one_of_the_event_service() -> None:
    """It was not, as the brokerage looked for a key that no task has."""
    assert Needs.of(task_view(split_rule={"nEventsPerWorker": 10}), Inputs(), Numbers()).event_service
    assert not Needs.of(task_view(split_rule={"nEventsPerJob": 10}), Inputs(), Numbers()).event_service


def test_what_scouts_measured_counts_more_than_what_the_user_said() -> None:
    said = {"cpuTime": 5, "cpuTimeUnit": "HS06sPerEvent", "ioIntensity": 7, "diskIO": 8, "nEventsPerJob": 10}
    measured = {"cpu_time": 2000.0, "cpu_time_unit": "mHS06sPerEvent", "io_intensity": 70, "disk_io": 80}
    before = Needs.of(task_view(split_rule=said), Inputs(), Numbers())
    after = Needs.of(task_view(split_rule=said, **measured), Inputs(), Numbers())
    assert (before.cpu_hs06s, before.io_intensity, before.disk_io_per_core) == (50.0, 7.0, 8.0)
    assert (after.cpu_hs06s, after.io_intensity, after.disk_io_per_core) == (20.0, 70, 80.0)
