"""How inputs are cut into jobs (manual ch. 13): golden cases worked by hand, and rules that always hold."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sizes import input_file, queue_view, task_view

from bamboo.core.errors import Invalid
from bamboo.core.tunables import Numbers
from bamboo.jedi.event_parts import in_parts
from bamboo.plugins.capacity import CORE_POWER, GB, KB, MB, MIN_OUTPUT_MB, Capacity
from bamboo.plugins.contracts import InputFile
from bamboo.plugins.generic.splitter import GenericSplitter, Limits, block_of, fill, in_order
from bamboo.plugins.grid import Beside

HOUR = 3600


def cut(files: list[InputFile], queue: dict[str, Any] | None = None, **task: Any) -> list[list[InputFile]]:
    jobs = GenericSplitter().split_inputs(task_view(**task), files, queue_view(**(queue or {})), True)
    assert jobs is not None
    return [list(job) for job in jobs]


def sizes(files: list[InputFile], queue: dict[str, Any] | None = None, **task: Any) -> list[int]:
    return [len(job) for job in cut(files, queue, **task)]


def of_events(n: int, n_events: int | None = 100, size_bytes: int = GB) -> list[InputFile]:
    return [input_file(at, n_events=n_events, size_bytes=size_bytes) for at in range(n)]


def test_a_job_is_as_large_as_the_scratch_disk_allows() -> None:
    # S = 10 GB; k files: k GB + max(0.5 GB, 2 MB * 100 k) + 1 GB. k = 7: 7 + 1.37 + 1 = 9.37; k = 8: 8 + 1.56 + 1 > 10
    disk = {"max_wdir_mb": 10 * 1024}
    needs = {"out_disk_count_kb": 2 * 1024, "work_disk_count_mb": 1024}
    assert sizes(of_events(20), disk, **needs) == [7, 7, 6]
    # inputs that are read directly take no room: 0.195 k + 1 <= 10, so k = 46
    direct = {**disk, "attributes": {"direct_access_lan": True}}
    assert sizes(of_events(50), direct, **needs) == [46, 4]
    assert sizes(of_events(20), direct, **needs, split_rule={"useLocalIO": True}) == [7, 7, 6]
    # without outputs half a GB is kept for them: k + 0.5 + 1 <= 10, so k = 8
    assert sizes(of_events(20), disk, work_disk_count_mb=1024) == [8, 8, 4]


def test_a_job_has_the_disk_of_its_cores() -> None:
    """Manual ch. 12.1 divides maxwdir by the cores of the queue: jobs of one core were given all of it."""
    disk = {"max_wdir_mb": 80 * 1024, "core_count": 8}
    # 10 GB for each core, of which 0.5 GB are kept for outputs: k = 9
    assert sizes(of_events(20), disk) == [9, 9, 2]
    assert sizes(of_events(30), disk, core_count=2) == [19, 11]
    assert sizes(of_events(90), disk, core_count=8) == [79, 11]


def test_what_comes_beside_the_main_inputs_takes_room_too() -> None:
    # k files of 1 GB with 0.5 GB each beside them, and 2 GB for the job: 1.5 k + 2 + 0.5 <= 10, so k = 5
    limits = Limits.of(task_view(), queue_view(max_wdir_mb=10 * 1024), Numbers(), Beside(2 * GB, GB / 2))
    assert [len(job) for job in fill(of_events(12), limits)] == [5, 5, 2]
    # nGBPerJob is the size of all inputs: 1.5 k + 2 <= 8, so k = 4
    by_size = task_view(split_rule={"nGBPerJob": 8})
    limits = Limits.of(by_size, queue_view(), Numbers(), Beside(2 * GB, GB / 2))
    assert [len(job) for job in fill(of_events(9), limits)] == [4, 4, 1]


def test_a_job_is_as_long_as_the_wall_time_allows() -> None:
    # 720 HS06 s / (8 cores * 10 HS06 * 0.9) = 10 s an event; (36 000 s - 600 s) / 10 s = 3 540 events: 35 files of 100
    task = {"cpu_time": 720.0, "core_count": 8, "base_walltime_seconds": 600}
    ten_hours = {"max_time_seconds": 10 * HOUR, "attributes": {"corepower": 10}}
    assert sizes(of_events(80), ten_hours, **task) == [35, 35, 10]
    # in thousandths, with the default core power: the same
    milli = {**task, "cpu_time": 720_000.0, "cpu_time_unit": "mHS06sPerEvent"}
    assert sizes(of_events(80), {"max_time_seconds": 10 * HOUR}, **milli) == [35, 35, 10]
    # maxWalltime of 5 hours: (18 000 - 600) / 10 = 1 740 events; half the efficiency: (36 000 - 600) / 18 = 1 966
    assert sizes(of_events(20), ten_hours, **task, max_walltime_seconds=5 * HOUR) == [17, 3]
    assert sizes(of_events(20), ten_hours, **task, cpu_efficiency=50.0) == [19, 1]
    # an efficiency of 0 says that time does not scale with events
    assert sizes(of_events(80), ten_hours, **task, cpu_efficiency=0.0) == [80]
    # files without events count as one: 3 540 files, but for the 200 that a job gets at most
    assert sizes(of_events(300, n_events=None), ten_hours, **task) == [200, 100]


def test_what_the_user_asks_for_holds_at_any_queue() -> None:
    small = {"max_wdir_mb": 1, "max_time_seconds": 1}
    assert sizes(of_events(5), small, split_rule={"nFilesPerJob": 2}, cpu_time=1e6) == [2, 2, 1]
    by_events = {"nEventsPerJob": 250, "useRealNumEvents": True}
    assert sizes(of_events(5), small, split_rule=by_events) == [2, 2, 1]
    assert sizes(of_events(5), small, split_rule={"nMaxFilesPerJob": 3}) == [1] * 5  # this one is no wish


def test_gigabytes_of_a_job_are_inputs_outputs_and_work() -> None:
    # k GB + 100 k MB + 1 GB <= 4 GB: k = 2 (3.2 GB), as 3 would need 4.29 GB
    needs = {"out_disk_count_kb": KB, "work_disk_count_mb": 1024}
    assert sizes(of_events(5), split_rule={"nGBPerJob": 4}, **needs) == [2, 2, 1]
    assert sizes(of_events(5), split_rule={"nGBPerJob": 4}) == [4, 1]
    assert sizes(of_events(5), split_rule={"nGBPerJob": 4, "nFilesPerJob": 3}) == [3, 2]


def test_an_input_that_is_too_large_alone_gets_a_job_of_its_own() -> None:
    files = [input_file(0), input_file(1, size_bytes=9 * GB), input_file(2)]
    assert sizes(files, split_rule={"nGBPerJob": 1}) == [1, 1, 1]


def test_luminosity_blocks_are_not_mixed() -> None:
    names = [f"data._lb{block:04d}._{part}.raw" for part in range(3) for block in (7, 2)]
    files = [input_file(n, lfn=name) for n, name in enumerate(names)]
    jobs = cut(files, split_rule={"respectLB": True})
    assert [{block_of(file.lfn) for file in job} for job in jobs] == [{"0002"}, {"0007"}]
    assert sizes(files, split_rule={"respectLB": True, "nFilesPerJob": 2}) == [2, 1, 2, 1]
    assert sizes(files) == [6]


def parts(*n_events: int | None, per_job: int = 40, **rule: Any) -> list[tuple[str, int, int | None]]:
    files = [{"lfn": f"f{n}", "n_events": events} for n, events in enumerate(n_events)]
    rows = in_parts(files, {"nEventsPerJob": per_job, "cutsFiles": True, **rule})
    return [(row["lfn"], row["first_event"], row["n_events"]) for row in rows]


def test_files_are_cut_at_event_boundaries() -> None:
    assert parts(100, 40, 41) == [
        ("f0", 0, 40), ("f0", 40, 40), ("f0", 80, 20), ("f1", 0, 40), ("f2", 0, 40), ("f2", 40, 1),
    ]  # fmt: skip
    assert parts(None, 0, 10) == [("f0", 0, None), ("f1", 0, 0), ("f2", 0, 10)]
    assert parts(None, 10, nEventsPerFile=60) == [("f0", 0, 40), ("f0", 40, 20), ("f1", 0, 40), ("f1", 40, 20)]
    assert in_parts([{"lfn": "f", "n_events": 100}], {"nEventsPerJob": 40}) == [{"lfn": "f", "n_events": 100}]


def test_a_file_that_may_not_be_cut_is_refused_in_words() -> None:
    rule = {"nEventsPerJob": 40, "useRealNumEvents": True}
    with pytest.raises(Invalid, match=r"40 is less than f00000 has.*put \$\{SKIPEVENTS\} into the command line"):
        cut(of_events(1), split_rule=rule)
    with pytest.raises(Invalid, match="does not say how many events f00000 has"):
        cut(of_events(1, n_events=None), split_rule=rule)


any_files = st.lists(
    st.tuples(st.integers(0, 3 * GB), st.none() | st.integers(0, 500), st.integers(0, 4)), max_size=40
).map(
    lambda rows: [
        input_file(n, lfn=f"x._lb{block}._{n:03d}", size_bytes=size, n_events=events)
        for n, (size, events, block) in enumerate(rows)
    ]
)
any_limits = st.builds(
    Limits,
    files=st.integers(1, 12),
    events=st.none() | st.integers(1, 1000),
    capacities=st.lists(
        st.builds(
            Capacity,
            disk_bytes=st.none() | st.integers(0, 20 * GB),
            input_counts=st.booleans(),
            output_bytes=st.integers(0, 10 * MB),
            min_output_bytes=st.sampled_from([0, 512 * MB]),
            work_bytes=st.integers(0, 2 * GB),
            max_seconds=st.none() | st.floats(0, 10**5),
            seconds=st.floats(0, 1000),
            base_seconds=st.floats(0, 1000),
        ),
        max_size=2,
    ),
    keeps_blocks=st.booleans(),
)


def total(job: list[InputFile]) -> tuple[int, int, int]:
    return len(job), sum(file.n_events or 1 for file in job), sum(file.size_bytes for file in job)


@given(any_files, any_limits, st.randoms())
def test_every_input_is_in_one_job_within_its_limits_whatever_the_order(
    files: list[InputFile], limits: Limits, rng: Any
) -> None:
    jobs = list(fill(in_order(files, limits), limits))
    assert sorted(file.fileid for job in jobs for file in job) == [file.fileid for file in files]
    for job in jobs:
        assert len(job) == 1 or limits.hold(*total(job))
        assert not limits.keeps_blocks or len({block_of(file.lfn) for file in job}) == 1
    for job, after in itertools.pairwise(jobs):  # and none could be larger
        larger = [*job, after[0]]
        blocks = {block_of(file.lfn) for file in larger}
        assert not limits.hold(*total(larger)) or (limits.keeps_blocks and len(blocks) > 1)
    shuffled = [*files]
    rng.shuffle(shuffled)
    assert list(fill(in_order(shuffled, limits), limits)) == jobs


@given(st.lists(st.integers(1, 300), min_size=1, max_size=20), st.integers(1, 120), st.randoms(), st.integers(1, 5))
def test_every_event_is_in_one_job_that_can_be_told_where_it_begins(
    n_events: list[int], per_job: int, rng: Any, n_files: int
) -> None:
    """Also when some parts are tried again, and others are not there any more."""
    rule = {"nEventsPerJob": per_job, "cutsFiles": True, "useRealNumEvents": True, "nMaxFilesPerJob": n_files}
    rows = in_parts([{"lfn": f"f{n:02d}", "n_events": events} for n, events in enumerate(n_events)], rule)
    covered = sorted((row["lfn"], event) for row in rows for event in _events(row))
    assert covered == [(f"f{n:02d}", event) for n, events in enumerate(n_events) for event in range(events)]
    left = [input_file(at, **row) for at, row in enumerate(rows) if rng.random() < 0.7]
    rng.shuffle(left)
    for job in cut(left, split_rule=rule):
        # what the payload does: passes over the first events of the first file, and goes through the others in a row
        first, *others = job
        told = [*_of(first, n_events)[first.first_event :], *(one for file in others for one in _of(file, n_events))]
        n = sum(file.n_events or 0 for file in job)
        assert n <= per_job
        mine = [(file.lfn, event) for file in job for event in _events(vars(file))]
        assert told[:n] == mine


def _events(row: Any) -> range:
    return range(row["first_event"], row["first_event"] + row["n_events"])


def _of(file: InputFile, n_events: list[int]) -> list[tuple[str, int]]:
    return [(file.lfn, event) for event in range(n_events[int(file.lfn[1:])])]


def test_a_page_that_is_not_the_last_keeps_its_last_job_back() -> None:
    files, rule = of_events(5), {"nFilesPerJob": 2}
    jobs = GenericSplitter().split_inputs(task_view(split_rule=rule), files, queue_view(), False)
    assert jobs is not None and [len(job) for job in jobs] == [2, 2]


def test_numbers_of_an_organisation_count() -> None:
    numbers = Numbers().having(CORE_POWER, 20.0).having(MIN_OUTPUT_MB, 1)
    task, queue = task_view(cpu_time=36.0), queue_view(max_time_seconds=100, max_wdir_mb=10)
    (capacity,) = Limits.of(task, queue, numbers).capacities
    # 36 / (1 * 20 * 0.9) = 2 s an event, so that 50 take the 100 s
    assert (capacity.wall_time(50), capacity.holds(9 * MB, 50)) == (pytest.approx(100.0), True)
    assert not capacity.holds(9 * MB, 51)
    assert not capacity.holds(9 * MB + 1, 50)
