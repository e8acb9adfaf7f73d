"""Flight records over HTTP: what pilots may send, and who sees what of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

SAMPLE = [1000.0, 2048, 1024, 1.5, 10, 20]


@pytest.fixture
def report(api: Any, claim: Callable[..., Any]) -> Callable[..., int]:
    """Reports on a job that it takes with the first call; gives the job's id."""
    taken: list[dict[str, Any]] = []

    def _report(record: Any, state: str = "running", **more: Any) -> int:
        job = taken[0] if taken else claim(min_ram_count_mb=1000)
        taken.append(job)
        body = {"job_id": job["PandaID"], "attempt_nr": 1, "job_status": state, "record": record, **more}
        assert api.post("pilot/update_job", body)["success"]
        return int(job["PandaID"])

    return _report


def test_a_job_shows_its_curve_its_processes_and_its_last_words(api: Any, bob: Any, report: Callable[..., int]) -> None:
    limits = {"pilot_limit_kb": 2_000_000, "kernel_limit_kb": 3_000_000, "oom_kills": 0}
    job = report({"samples": [SAMPLE], "tree": [[7, 6, "python", 2048, "R"]], **limits})
    report({"stdout": {"at": 0, "text": "so far\n"}, "stderr": {"at": 0, "text": "oh\n"}})
    shown = api.get("job/get_record", job_id=job)["data"]
    assert shown["samples"] == [
        {"at": 1000, "rss_kb": 2048, "pss_kb": 1024, "cpu_seconds": 1.5, "read_kb": 10, "written_kb": 20}
    ]
    assert shown["processes"] == [{"pid": 7, "ppid": 6, "name": "python", "rss_kb": 2048, "state": "R"}]
    assert (shown["stdout"], shown["stdoutBytes"], shown["stderr"]) == ("so far\n", 7, "oh\n")
    assert shown["memory"] == {
        "peakKB": 2048,
        "askedKB": 1_024_000,
        "pilotLimitKB": 2_000_000,
        "kernelLimitKB": 3_000_000,
        "oomKills": 0,
        "says": "",
    }
    others = bob.get("job/get_record", job_id=job)["data"]
    assert (others["stdout"], others["stderr"], others["memory"]) == (None, None, shown["memory"])


def test_a_job_that_the_kernel_ended_says_so(api: Any, report: Callable[..., int]) -> None:
    """With the peak and the limit, in its record and among its details; the report that fails it brings the last."""
    report({"samples": [SAMPLE]})
    last = {"kernel_limit_kb": 102_400, "oom_kills": 1, "stderr": {"at": 0, "text": "Killed\n"}}
    job = report(last, "failed", pilot_error_code=1212, max_rss=100_000, job_output_report="{}")
    said = "the kernel has ended 1 process for lack of memory: the peak was 97 MB, the limit is 100 MB"
    shown = api.get("job/get_record", job_id=job)["data"]
    assert (shown["memory"]["says"], shown["stderr"]) == (said, "Killed\n")
    assert api.get("job/get_detailed_info", job_id=job)["data"]["memory"]["says"] == said


def test_a_job_without_a_record_shows_none(api: Any, claim: Callable[..., Any]) -> None:
    shown = api.get("job/get_record", job_id=claim()["PandaID"])["data"]
    assert (shown["samples"], shown["processes"], shown["stdout"]) == ([], [], None)
    assert shown["memory"]["peakKB"] is None
    assert api.get("job/get_record", job_id=999)["code"] == "BAM-FIND-001"


@pytest.mark.parametrize(
    "odd",
    [
        7,
        "text",
        {"samples": "x"},
        {"samples": [[1, 2]]},
        {"samples": [[1e300] * 6]},
        {"samples": [SAMPLE] * 1000},
        {"tree": [["x"] * 5]},
        {"stdout": {"at": -1, "text": "x"}},
        {"stdout": {"at": 0, "text": "x" * 1_000_00 * 2}},
        {"oom_kills": 2**40},
    ],
)
def test_no_report_fails_over_its_record(api: Any, report: Callable[..., int], odd: Any) -> None:
    job = report(odd)
    assert api.get("job/get_record", job_id=job)["data"]["samples"] == []
    assert api.get("job/get_detailed_info", job_id=job)["data"]["jobStatus"] == "running"


def test_what_no_database_stores_does_no_harm(api: Any, report: Callable[..., int]) -> None:
    job = report({"tree": [[1, 0, "a\0b", 1, "S"]], "stdout": {"at": 0, "text": "a\0b\ud800c"}})
    shown = api.get("job/get_record", job_id=job)["data"]
    assert "\0" not in shown["stdout"] and shown["stdout"].endswith("c")
