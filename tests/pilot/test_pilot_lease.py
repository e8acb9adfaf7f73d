"""The lease: what a pilot may do while the server is away, and what it does when the job is not its own."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE_SECONDS

from bamboo.pilot.lease import Lease
from bamboo.tests.pilot.scripted_server import ScriptedServer, job

Pilot = Callable[..., subprocess.Popen[str]]
BEATS = ("--max-jobs", "1", "--kill-grace", "1")
STALE = {
    "success": False,
    "message": "not yours",
    "data": {"StatusCode": 30, "command": "tobekilled", "reason": "stale_attempt"},
}


def clock_command(path: Path, seconds: int = 100) -> str:
    """A payload that keeps writing down the time, so that its end can be seen."""
    return f"-c 'for i in $(seq {seconds * 20}); do date +%s.%N >> {path}; sleep 0.05; done'"


def last_sign(path: Path) -> float:
    return float(path.read_text().split()[-1])


def test_the_lease_counts_from_sending_and_keeps_a_margin() -> None:
    now = [1000.0]
    lease = Lease(100, 2.0, sent_at=990.0, clock=lambda: now[0])
    assert lease.margin == 10.0
    assert lease.stop_at == 1080.0
    lease.renew(1050.0, None)
    lease.renew(1040.0, None)  # answers may overtake each other
    assert lease.stop_at == 1140.0
    now[0] = 1140.0
    assert not lease.held()
    assert Lease(100, 20.0, 0.0).margin == 40.0
    assert Lease(10, 20.0, 0.0).margin == 5.0


def test_a_lease_may_be_longer_than_the_kernel_waits(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    server.script.jobs.append(job(7, "sleep 0.5", leaseSeconds=100 * 86400))
    assert run_pilot(*BEATS) == 0
    assert server.final()["job_status"] == "finished"


def test_a_short_absence_of_the_server_costs_nothing(
    server: ScriptedServer, start_pilot: Pilot, tmp_path: Path
) -> None:
    beats = tmp_path / "beats"
    server.script.jobs.append(job(7, jobPars=clock_command(beats, 4), leaseSeconds=60, heartbeatSeconds=1))
    pilot = start_pilot(*BEATS)
    server.wait_for(lambda: "running" in server.states())
    server.script.away.set()
    threading.Timer(2.0, server.script.away.clear).start()
    assert pilot.wait(PATIENCE_SECONDS) == 0
    assert server.final()["job_status"] == "finished"
    assert len(beats.read_text().split()) == 80


@pytest.mark.parametrize("how", ["server away", "server silent", "pilot stopped"])
def test_the_payload_is_dead_before_the_lease_ends(
    how: str, server: ScriptedServer, start_pilot: Pilot, tmp_path: Path
) -> None:
    beats = tmp_path / "beats"
    server.script.jobs.append(job(7, jobPars=clock_command(beats), leaseSeconds=4, heartbeatSeconds=1))
    pilot = start_pilot(*BEATS)
    server.wait_for(lambda: "running" in server.states() and beats.exists() and beats.read_text())
    if how == "server away":
        server.script.away.set()
    elif how == "server silent":
        server.script.silent.set()
    else:
        os.kill(pilot.pid, signal.SIGSTOP)
    accepted = server.calls[-1].at
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.time() < last_sign(beats) + 1.0:
        assert time.monotonic() < deadline, "the payload lives on"
        time.sleep(0.1)
    assert last_sign(beats) < accepted + 10
    server.script.away.clear()
    server.script.silent.clear()
    os.kill(pilot.pid, signal.SIGCONT)
    assert pilot.wait(PATIENCE_SECONDS) == 0
    # A silent server may find several copies of the final report when it wakes up.
    finals = [report for report in server.updates() if report["job_status"] not in ("starting", "running")]
    assert {(report["job_status"], report["pilot_error_code"]) for report in finals} == {("failed", 1375)}


def test_a_finished_job_is_reported_when_the_server_is_back(
    server: ScriptedServer, start_pilot: Pilot, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    server.script.jobs.append(job(7, jobPars=f"-c 'until [ -e {go} ]; do sleep 0.05; done'", leaseSeconds=6))
    pilot = start_pilot(*BEATS)
    server.wait_for(lambda: "running" in server.states())
    server.script.away.set()
    go.touch()
    threading.Timer(2.0, server.script.away.clear).start()
    assert pilot.wait(PATIENCE_SECONDS) == 0
    assert server.final()["job_status"] == "finished"


def test_a_signal_does_not_change_the_outcome_of_a_finished_job(
    server: ScriptedServer, start_pilot: Pilot, tmp_path: Path
) -> None:
    server.script.jobs.append(
        job(7, jobPars="-c 'echo x > out.txt'", outFiles="out.txt", scopeOut="s", ddmEndPointOut="DISK")
    )
    told = threading.Event()
    server.script.lose = lambda call: call.body.get("job_status") == "finished" and not told.is_set()
    pilot = start_pilot("--max-jobs", "1")
    server.wait_for(lambda: "finished" in server.states())
    pilot.send_signal(signal.SIGTERM)
    told.set()
    assert pilot.wait(PATIENCE_SECONDS) == 0
    assert server.states() == ["starting", "running", "finished"]


def test_killed_on_command_with_log(server: ScriptedServer, run_pilot: Callable[..., int], tmp_path: Path) -> None:
    beats = tmp_path / "beats"
    server.script.jobs.append(
        job(
            7,
            jobPars=clock_command(beats),
            heartbeatSeconds=1,
            logFile="l.tgz",
            scopeLog="s",
            outFiles="l.tgz",
            ddmEndPointOut="DISK",
        )
    )
    server.script.on_update = lambda report: (
        {"data": {"StatusCode": 0, "command": "tobekilled"}} if report["job_status"] == "running" else None
    )
    assert run_pilot(*BEATS) == 0
    assert (server.final()["job_status"], server.final()["pilot_error_code"]) == ("failed", 1144)
    assert "l.tgz" in server.final()["job_output_report"]
    assert list(server.storage.rglob("l.tgz"))


def test_the_command_is_also_found_at_the_top_level(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    server.script.jobs.append(job(7, jobPars="-c 'sleep 100'", heartbeatSeconds=1))
    server.script.on_update = lambda report: {"command": "tobekilled"} if report["job_status"] == "running" else None
    assert run_pilot(*BEATS) == 0
    assert server.final()["pilot_error_code"] == 1144


@pytest.mark.parametrize("stale_state", ["starting", "running", "finished"])
def test_a_stale_attempt_writes_and_reports_nothing_more(
    stale_state: str, server: ScriptedServer, run_pilot: Callable[..., int], tmp_path: Path
) -> None:
    command = "-c 'echo x > out.txt'" if stale_state == "finished" else clock_command(tmp_path / "beats")
    server.script.jobs.append(
        job(7, jobPars=command, heartbeatSeconds=1, outFiles="out.txt", scopeOut="s", ddmEndPointOut="DISK")
    )
    server.script.jobs.append(job(8))

    def answer(report: dict[str, Any]) -> dict[str, Any] | None:
        return STALE if report["job_id"] == 7 and report["job_status"] == stale_state else None

    server.script.on_update = answer
    assert run_pilot("--timefloor", "5", "--max-jobs", "2") == 0
    assert server.states(7)[-1] == stale_state
    assert [r["job_status"] for r in server.updates(7)].count(stale_state) == 1
    if stale_state != "finished":
        assert not list(server.storage.rglob("out.txt"))
    assert server.final(8)["job_status"] == "finished"


def test_a_lost_answer_is_asked_for_again_with_the_same_key(
    server: ScriptedServer, run_pilot: Callable[..., int]
) -> None:
    server.script.jobs.append(job(7))
    server.script.lose = lambda call: call.path.endswith("acquire_jobs") and "X-Retry" not in call.headers
    assert run_pilot("--max-jobs", "1") == 0
    asked = [call for call in server.calls if call.path.endswith("acquire_jobs")]
    assert len({call.headers["Idempotency-Key"] for call in asked}) == 1
    assert [call.headers.get("X-Retry") for call in asked] == [None, "1"]
    assert server.states() == ["starting", "running", "finished"]


def test_a_busy_server_is_asked_again(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    server.script.jobs.append(job(7))
    server.script.refuse_next = 2
    assert run_pilot("--max-jobs", "1") == 0
    assert server.final()["job_status"] == "finished"
