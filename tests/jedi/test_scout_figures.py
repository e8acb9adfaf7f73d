"""What scouts measure and what becomes of it: the manual's formulas (ch. 15), worked by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sizes import task_view

from bamboo.core.tunables import Numbers
from bamboo.jedi.scouts import exhaustion, measuring
from bamboo.jedi.scouts.applying import apply
from bamboo.jedi.scouts.exhaustion import DETECTORS, Findings, worries
from bamboo.jedi.scouts.measuring import Figure, ScoutJob, measure, percentile

GB = 1 << 30
MB = 1 << 20
HOUR = 3600.0


def job(pandaid: int = 1, **changes: Any) -> ScoutJob:
    values: dict[str, Any] = {"core_count": 1, "core_power": 10.0, "exec_seconds": 1000.0, "n_events": 100}
    return ScoutJob(pandaid=pandaid, **{**values, **changes})


def measured(*jobs: ScoutJob, numbers: Numbers | None = None, **task: Any) -> measuring.Figures:
    return measure(task_view(**task), jobs, numbers or Numbers())


def value(figure: Figure | None) -> float:
    assert figure is not None
    return figure.value


def test_cpu_time_is_the_work_of_an_event() -> None:
    # (10 000 s - 1 000 s) * 10 HS06 * 8 cores * 0.9 * 1.5 / 1 000 events = 9 000 * 72 * 1.5 / 1 000 = 972
    one = job(exec_seconds=10_000.0, core_count=8, n_events=1000)
    figures = measured(one, base_walltime_seconds=1000, core_count=8)
    assert value(figures.cpu_time) == pytest.approx(972.0)
    # with an efficiency of 50 %: 9 000 * 10 * 8 * 0.5 * 1.5 / 1 000 = 540
    half = measured(one, base_walltime_seconds=1000, core_count=8, cpu_efficiency=50.0)
    assert value(half.cpu_time) == pytest.approx(540.0)
    # a job shorter than baseTime has used no CPU for its events
    assert value(measured(job(exec_seconds=999.0), base_walltime_seconds=1000).cpu_time) == 0


@pytest.mark.parametrize(
    ("n_events", "seconds", "cores", "counts"),
    [
        (10, 60.0, 1, True),  # 10 events for one core
        (9, 60.0, 1, False),
        (80, 60.0, 8, True),  # 10 * 8
        (79, 60.0, 8, False),
        (1, 6 * HOUR, 8, True),  # few events, but six hours
        (1, 6 * HOUR - 1, 8, False),
    ],
)
def test_few_events_count_only_for_a_long_job(n_events: int, seconds: float, cores: int, counts: bool) -> None:
    figures = measured(job(n_events=n_events, exec_seconds=seconds, core_count=cores))
    assert (figures.cpu_time is not None) == counts


def test_an_efficiency_of_zero_switches_cpu_time_off() -> None:
    assert measured(job(), cpu_efficiency=0.0).cpu_time is None


def test_cpu_time_is_the_95th_percentile() -> None:
    # 20 jobs of 100 s to 2 000 s with 90 events: seconds * 10 * 0.9 * 1.5 / 90 = seconds * 0.15; the 19th of 20 counts
    jobs = [job(n, exec_seconds=100.0 * n, n_events=90) for n in range(1, 21)]
    assert measured(*jobs).cpu_time == Figure(pytest.approx(1900 * 0.15), 19, 20)
    lower = Numbers().having(measuring.CPU_TIME_RANK, 50.0)
    assert measured(*jobs, numbers=lower).cpu_time == Figure(pytest.approx(1000 * 0.15), 10, 20)


def test_ram_count_is_the_memory_of_a_core() -> None:
    # (8 000 MB - 1 000 MB) / 7 cores * 1.10 = 1 100 MB
    one = job(core_count=7, max_pss_kb=8000 * 1024)
    assert value(measured(one, base_ram_count_mb=1000, core_count=7).ram_count) == pytest.approx(1100.0)
    # a margin of 20 %: 1 000 * 1.2; and a minimum of 1 500 MB wins over it
    wide = Numbers().having(measuring.RAM_MARGIN, 20.0)
    assert value(measured(one, numbers=wide, base_ram_count_mb=1000).ram_count) == pytest.approx(1200.0)
    floor = wide.having(measuring.RAM_MIN, 1500.0)
    assert value(measured(one, numbers=floor, base_ram_count_mb=1000).ram_count) == 1500.0


def test_ram_count_is_the_75th_percentile_of_those_that_tell() -> None:
    jobs = [job(n, max_pss_kb=n * 1000 * 1024) for n in (1, 2, 3, 4)] + [job(5), job(6, max_pss_kb=0)]
    # the 3rd of 4: 3 000 MB * 1.1
    assert measured(*jobs).ram_count == Figure(pytest.approx(3300.0), 3, 4, least=500.0)


def test_out_disk_count_is_the_output_of_an_event() -> None:
    # 50 MB / 100 events = 512 kB an event; the second job has too few events
    figures = measured(job(1, output_bytes=50 * MB), job(2, n_events=9, output_bytes=GB))
    assert figures.out_disk == Figure(512.0, 1, 1)


def test_work_disk_count_is_the_largest_and_never_less_than_the_preset() -> None:
    figures = measured(job(1, work_dir_bytes=300 * MB), job(2, work_dir_bytes=700 * MB), job(3))
    assert figures.work_disk == Figure(700.0, 2, 2)
    assert apply(task_view(work_disk_count_mb=500), figures).columns["work_disk_count_mb"] == 700
    changes = apply(task_view(work_disk_count_mb=800), figures)
    assert "work_disk_count_mb" not in changes.columns
    assert changes.why["work_disk_count_mb"]["kept"] == "the measured value is not more"


def test_io_intensity_is_the_largest_traffic() -> None:
    # (600 MB + 400 MB) / 500 s = 1 000 * 1 024 kB / 500 s = 2 048 kB/s
    quick = job(1, input_bytes=600 * MB, output_bytes=400 * MB, exec_seconds=500.0)
    slow = job(2, input_bytes=600 * MB, output_bytes=400 * MB, exec_seconds=5000.0)
    assert measured(quick, slow).io_intensity == Figure(2048.0, 1, 2)
    assert measured(job(exec_seconds=0.0)).io_intensity is None


def test_disk_io_is_capped() -> None:
    # (300 000 kB + 200 000 kB) / 1 000 s = 500 kB/s
    jobs = [job(1, disk_traffic_kb=500_000), job(2, disk_traffic_kb=5_000_000), job(3, disk_traffic_kb=50_000)]
    assert measured(*jobs).disk_io == Figure(500.0, 1, 3)  # the median of 50, 500, 5 000
    capped = Numbers().having(measuring.DISK_IO_CAP, 400.0)
    assert value(measured(*jobs, numbers=capped).disk_io) == 400.0


def test_figures_become_columns_in_the_tasks_units() -> None:
    figures = measuring.Figures(
        cpu_time=Figure(0.25, 1, 1),
        ram_count=Figure(1100.2, 2, 1),
        out_disk=Figure(0.1, 3, 1),
        disk_io=Figure(7.2, 4, 1),
    )
    changes = apply(task_view(core_count=8, base_ram_count_mb=500, cpu_time_unit="mHS06sPerEvent"), figures)
    # 0.25 HS06 s = 250 mHS06 s; 8 * 1 100.2 = 8 801.6, rounded up, and 500 MB
    assert changes.columns == {"cpu_time": 250.0, "ram_count_mb": 9302, "out_disk_count_kb": 1, "disk_io": 8}
    assert changes.why["ram_count_mb"] == {"old": 0, "new": 9302, "measured": 1100.2, "job": 2, "jobs": 1}


@pytest.mark.parametrize(
    ("preset", "column"),
    [
        ({"cpu_time": 5.0, "cpu_time_unit": "HS06sPerEventFixed"}, "cpu_time"),
        ({"cpu_time": 5.0, "cpu_time_unit": "mHS06sPerEventFixed"}, "cpu_time"),
        ({"ram_count_mb": 5, "ram_count_unit": "MBPerCoreFixed"}, "ram_count_mb"),
        ({"out_disk_count_kb": 5, "out_disk_unit": "kBFixed"}, "out_disk_count_kb"),
    ],
)
def test_a_preset_in_a_fixed_unit_stays(preset: dict[str, Any], column: str) -> None:
    figures = measured(job(output_bytes=GB, max_pss_kb=GB))
    free = {key: word.removesuffix("Fixed") if isinstance(word, str) else word for key, word in preset.items()}
    assert column in apply(task_view(**free), figures).columns
    changes = apply(task_view(**preset), figures)
    assert column not in changes.columns
    assert changes.why[column]["kept"] == "its unit is Fixed"


def test_gigabytes_of_a_job_follow_the_output_that_is_aimed_at() -> None:
    # 1 MB of output and 3 MB of input an event; 2 GB of output are 2 048 events, which read 6 GB; 1 GB of work: 9 GB
    one = job(n_events=100, output_bytes=100 * MB, input_bytes=300 * MB, work_dir_bytes=GB)
    rule = {"nGBPerJob": 20, "tgtMaxOutputForNG": 2}
    changes = apply(task_view(split_rule=rule), measured(one))
    assert changes.columns["split_rule"] == {"nGBPerJob": 9, "tgtMaxOutputForNG": 2}
    assert "split_rule" not in apply(task_view(split_rule={"nGBPerJob": 20}), measured(one)).columns
    assert "split_rule" not in apply(task_view(split_rule={"tgtMaxOutputForNG": 2}), measured(one)).columns


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(1, 100), st.randoms())
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(
    values: list[float], rank: float, rng: Any
) -> None:
    pairs = [(one, n) for n, one in enumerate(values)]
    figure = percentile(pairs, rank)
    assert figure is not None and figure.value == values[figure.pandaid]
    share = sum(one <= figure.value for one in values) / len(values) * 100
    assert share >= rank - 1e-9
    below = sum(one < figure.value for one in values) / len(values) * 100
    assert below < rank
    rng.shuffle(pairs)
    assert percentile(pairs, rank) == figure


jobs_of_any_kind = st.lists(
    st.builds(
        ScoutJob,
        pandaid=st.integers(1, 10**6),
        core_count=st.integers(1, 64),
        core_power=st.floats(1, 50),
        exec_seconds=st.floats(0, 10**6),
        n_events=st.integers(1, 10**6),
        input_bytes=st.integers(0, 10**12),
        output_bytes=st.integers(0, 10**12),
        cpu_seconds=st.none() | st.floats(0, 10**7),
        max_pss_kb=st.none() | st.integers(0, 10**9),
        work_dir_bytes=st.none() | st.integers(0, 10**12),
        disk_traffic_kb=st.none() | st.integers(0, 10**12),
        leak_kb_per_second=st.none() | st.floats(-(10**6), 10**6),
    ),
    max_size=12,
)


@given(jobs_of_any_kind, st.randoms())
def test_figures_are_of_a_job_and_do_not_depend_on_the_order(jobs: list[ScoutJob], rng: Any) -> None:
    figures, task = measured(*jobs), task_view()
    ids = {one.pandaid for one in jobs}
    for figure in vars(figures).values():
        assert figure is None or (figure.value >= 0 and figure.pandaid in ids and 1 <= figure.n_jobs <= len(jobs))
    assert all(new == {} or new >= 0 for new in apply(task, figures).columns.values())
    shuffled = [*jobs]
    rng.shuffle(shuffled)
    assert measured(*shuffled) == figures


def found(*jobs: ScoutJob, numbers: Numbers | None = None, **task: Any) -> dict[str, str]:
    numbers = numbers or Numbers()
    view = task_view(**task)
    return worries(view, Findings(jobs, measure(view, jobs, numbers), numbers))


def test_a_memory_leak_is_told_for_each_core() -> None:
    leaking = job(7, exec_seconds=HOUR, core_count=4, leak_kb_per_second=48.0)  # 12 kB/s for each core
    limit = Numbers().having(exhaustion.MEM_LEAK, 10.0, "user")
    assert found(leaking) == {}  # nobody has set a limit
    assert found(leaking, numbers=limit) == {
        "memory leak": "job 7 leaks 12.0 kB/s of memory per core, 10 are allowed: mend the program"
    }
    assert found(leaking, numbers=limit, prod_source_label="managed") == {}
    assert found(job(exec_seconds=HOUR, leak_kb_per_second=10.0), numbers=limit) == {}
    assert found(job(exec_seconds=299.0, leak_kb_per_second=99.0), numbers=limit) == {}  # it was only starting


def test_too_many_short_jobs() -> None:
    limit = Numbers().having(exhaustion.SHORT_EXECTIME, 10.0, "user")
    short, long = job(1, exec_seconds=599.0), job(2, exec_seconds=600.0)
    assert found(short, short, long) == {}
    assert found(short, short, long, numbers=limit) == {
        "too many short jobs": "2 of 3 scouts ran for less than 10 minutes: give each job more inputs"
    }
    assert found(short, long, numbers=limit) == {}  # half of them is not yet too many


def test_presets_that_are_far_too_small() -> None:
    # 1 000 MB asked for; 1 819 MB * 1.1 = 2 000.9 MB are more than twice as much, 1 818 * 1.1 = 1 999.8 are not
    assert found(job(max_pss_kb=1818 * 1024), ram_count_mb=1000) == {}
    told = found(job(3, max_pss_kb=1819 * 1024), ram_count_mb=1000)
    text = "ramCount is 1000 MB per core, but 2001 were measured, with the margin (job 3): ask for 2001"
    assert told == {"ramCount differs": text}
    assert found(job(max_pss_kb=1819 * 1024)) == {}  # nothing was preset
    assert found(job(max_pss_kb=1024), ram_count_mb=1000) == {}  # less does no harm
    # 1 000 s * 10 * 0.9 * 1.5 / 100 = 135 HS06 s, more than ten times 13
    assert found(job(), cpu_time=14.0) == {}
    assert list(found(job(), cpu_time=13.0)) == ["cpuTime differs"]
    assert list(found(job(), cpu_time=13_000.0, cpu_time_unit="mHS06sPerEvent")) == ["cpuTime differs"]


def test_cpu_that_idles_and_cpu_that_was_not_allocated() -> None:
    def used(percent: float, **more: Any) -> ScoutJob:
        return job(cpu_seconds=percent / 100 * 1000 * 2, core_count=2, **more)

    low, usual, high = used(10), used(90), used(180)
    assert found(low, low, usual) == {}
    assert list(found(low, low, usual, min_cpu_efficiency=50.0)) == ["low CPU efficiency"]
    assert found(low, usual, usual, min_cpu_efficiency=50.0) == {}
    assert found(high, high, usual, core_count=2) == {
        "over_cpu_consumption": "over_cpu_consumption: half of the scouts used 180 % of the CPU of their 2 cores or"
        " more: ask for 4 cores (--nCore), or start fewer threads"
    }
    assert found(used(109), core_count=2) == {}
    assert found(job(cpu_seconds=10**6, exec_seconds=299.0), job()) == {}  # too short to say, and one that does not say


def test_all_faults_are_told_at_once_and_every_detector_was_tried() -> None:
    numbers = Numbers().having(exhaustion.MEM_LEAK, 1.0).having(exhaustion.SHORT_EXECTIME, 60.0)
    bad = job(max_pss_kb=GB, leak_kb_per_second=9.0, cpu_seconds=10**5)
    told = found(bad, numbers=numbers, ram_count_mb=10, cpu_time=1.0)
    assert list(told) == [gate.name for gate in DETECTORS if gate.name != "low CPU efficiency"]


@given(jobs_of_any_kind)
def test_without_presets_and_limits_only_abused_cpu_exhausts(jobs: list[ScoutJob]) -> None:
    assert found(*jobs).keys() <= {"over_cpu_consumption"}
