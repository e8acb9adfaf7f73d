"""Ends of pilots: nothing a payload started survives, and the server hears of it when there is time."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from patience import PATIENCE_SECONDS, eventually

from bamboo.pilot.leftovers import MARK, mark
from bamboo.tests.pilot.scripted_server import ScriptedServer, job

Pilot = Callable[..., subprocess.Popen[str]]
DAEMON = """-c '
sleep 1001 & echo $! > {pids}
(setsid bash -c "echo \\$\\$ >> {pids}; (setsid sleep 1002 & echo \\$! >> {pids}); sleep 1003" &)
{then}'
"""


def daemon_job(tmp_path: Path, then: str) -> tuple[Path, dict[str, object]]:
    """A job whose payload leaves processes behind that left its session and were orphaned."""
    pids = tmp_path / "pids"
    wait = f"until [ $(wc -l < {pids}) = 3 ]; do sleep 0.01; done; touch {tmp_path}/ready"
    return pids, job(7, jobPars=DAEMON.format(pids=pids, then=f"{wait}; {then}").strip())


def alive(pids: Path) -> list[int]:
    found = []
    for pid in map(int, pids.read_text().split()):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            continue
        if state != "Z":
            found.append(pid)
    return found


def is_locked(home: Path) -> bool:
    """Whether the pilot of a home, or its keeper, lives."""
    with (home / MARK).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_daemons_do_not_survive_their_payload(
    server: ScriptedServer, run_pilot: Callable[..., int], tmp_path: Path
) -> None:
    pids, daemons = daemon_job(tmp_path, "true")
    server.script.jobs.append(daemons)
    assert run_pilot("--max-jobs", "1") == 0
    assert server.final()["job_status"] == "finished"
    assert alive(pids) == []


@pytest.mark.parametrize("victim", ["pilot", "keeper", "payload"])
def test_sigkill_leaves_nothing(victim: str, server: ScriptedServer, start_pilot: Pilot, tmp_path: Path) -> None:
    pids, daemons = daemon_job(tmp_path, "sleep 1000")
    server.script.jobs.append(daemons)
    pilot = start_pilot("--max-jobs", "1")
    eventually((tmp_path / "ready").exists, "ready")
    assert len(alive(pids)) == 3
    keeper = int(Path(f"/proc/{pilot.pid}/task/{pilot.pid}/children").read_text())
    payload = int(Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()[0])
    os.kill({"pilot": pilot.pid, "keeper": keeper, "payload": payload}[victim], signal.SIGKILL)
    eventually(lambda: not alive(pids), "the daemons to be gone")
    if victim != "pilot":
        exit_code = pilot.wait(PATIENCE_SECONDS)
        assert exit_code == (70 if victim == "keeper" else 0)
        assert server.final()["pilot_error_code"] == (1319 if victim == "keeper" else 1305)


def test_the_next_pilot_removes_what_a_killed_one_has_left(
    server: ScriptedServer, start_pilot: Pilot, run_pilot: Callable[..., int], tmp_path: Path
) -> None:
    """Their homes, with inputs and outputs of jobs in them, stayed for ever."""
    pids, daemons = daemon_job(tmp_path, "sleep 1000")
    server.script.jobs.append(daemons)
    pilot = start_pilot("--max-jobs", "1")
    eventually((tmp_path / "ready").exists, "ready")
    assert len(alive(pids)) == 3
    (left,) = (tmp_path / "work").iterdir()
    pilot.kill()
    pilot.wait()
    eventually(lambda: not alive(pids) and not is_locked(left), "all to be gone")
    others = [tmp_path / "work" / f"PanDA_Pilot3_{name}" for name in ("unmarked", "elsewhere", "at_work")]
    for home in others:
        home.mkdir()
    (others[1] / MARK).write_text("another.machine")
    with mark(others[2]):
        assert run_pilot() == 0
        assert sorted((tmp_path / "work").iterdir()) == sorted(others)


@pytest.mark.parametrize(("signum", "code", "exit_code"), [(signal.SIGTERM, 1201, 143), (signal.SIGINT, 1208, 130)])
def test_a_signal_ends_the_job_in_good_order(
    signum: signal.Signals,
    code: int,
    exit_code: int,
    server: ScriptedServer,
    start_pilot: Pilot,
    tmp_path: Path,
) -> None:
    pids, daemons = daemon_job(tmp_path, "echo last words; touch said; sleep 1000")
    server.script.jobs.append(
        {**daemons, "logFile": "l.tgz", "scopeLog": "s", "outFiles": "l.tgz", "ddmEndPointOut": "DISK"}
    )
    pilot = start_pilot("--max-jobs", "1")
    eventually((tmp_path / "ready").exists, "ready")
    eventually(lambda: list((tmp_path / "work").rglob("said")), "the last words")
    told = time.monotonic()
    pilot.send_signal(signum)
    assert pilot.wait(PATIENCE_SECONDS) == exit_code
    assert time.monotonic() - told < 60
    final = server.final()
    assert (final["job_status"], final["pilot_error_code"]) == ("failed", code)
    assert final["stdout"] == "last words\n"
    assert list(server.storage.rglob("l.tgz"))
    assert alive(pids) == []
    assert list((tmp_path / "work").iterdir()) == []


def test_the_report_is_sent_in_time_when_the_payload_will_not_go(
    server: ScriptedServer, start_pilot: Pilot, tmp_path: Path
) -> None:
    server.script.jobs.append(
        job(7, jobPars=f"-c 'trap \"\" TERM; touch {tmp_path}/ready; while :; do sleep 0.1; done'")
    )
    pilot = start_pilot("--max-jobs", "1", "--kill-grace", "2")
    eventually((tmp_path / "ready").exists, "ready")
    told = time.monotonic()
    pilot.send_signal(signal.SIGTERM)
    assert pilot.wait(PATIENCE_SECONDS) == 143
    assert time.monotonic() - told < 20
    assert server.final()["pilot_error_code"] == 1201


def test_a_batch_system_that_signals_payload_and_pilot_is_not_the_payloads_fault(
    server: ScriptedServer, start_pilot: Pilot, tmp_path: Path
) -> None:
    server.script.jobs.append(job(7, jobPars=f"-c 'echo $$ > {tmp_path}/pid; sleep 1000'"))
    pilot = start_pilot("--max-jobs", "1")
    eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip(), "the process id")
    pilot.send_signal(signal.SIGSTOP)  # so that it finds both when it goes on
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
    pilot.send_signal(signal.SIGTERM)
    pilot.send_signal(signal.SIGCONT)
    assert pilot.wait(PATIENCE_SECONDS) == 143
    assert server.updates()[-1]["pilot_error_code"] == 1201


def test_a_second_signal_hurries(server: ScriptedServer, start_pilot: Pilot, tmp_path: Path) -> None:
    server.script.jobs.append(
        job(7, jobPars=f"-c 'trap \"touch {tmp_path}/told\" TERM; touch {tmp_path}/ready; while :; do sleep 0.1; done'")
    )
    pilot = start_pilot("--max-jobs", "1", "--kill-grace", "60")
    eventually((tmp_path / "ready").exists, "ready")
    pilot.send_signal(signal.SIGTERM)
    eventually((tmp_path / "told").exists, "told")
    told = time.monotonic()
    pilot.send_signal(signal.SIGTERM)
    assert pilot.wait(PATIENCE_SECONDS) == 143
    assert time.monotonic() - told < 40
    assert server.final()["pilot_error_code"] == 1201


def test_a_pilot_that_cannot_report_still_goes_in_time(
    server: ScriptedServer, start_pilot: Pilot, tmp_path: Path
) -> None:
    server.script.jobs.append(job(7, jobPars=f"-c 'touch {tmp_path}/ready; sleep 1000'"))
    pilot = start_pilot("--max-jobs", "1", "--kill-grace", "2")
    eventually((tmp_path / "ready").exists, "ready")
    server.script.away.set()
    told = time.monotonic()
    pilot.send_signal(signal.SIGTERM)
    assert pilot.wait(PATIENCE_SECONDS) == 143
    assert time.monotonic() - told < 20


def test_an_idle_pilot_goes_at_once(server: ScriptedServer, start_pilot: Pilot) -> None:
    pilot = start_pilot("-v", "0", "--poll-seconds", "1000")
    server.wait_for(lambda: server.calls)
    told = time.monotonic()
    pilot.send_signal(signal.SIGTERM)
    assert pilot.wait(PATIENCE_SECONDS) == 0
    assert time.monotonic() - told < 60


def test_a_starting_pilot_goes_at_once(server: ScriptedServer, start_pilot: Pilot, tmp_path: Path) -> None:
    server.script.silent.set()
    pilot = start_pilot()
    assert server.asked.wait(PATIENCE_SECONDS)
    pilot.send_signal(signal.SIGTERM)
    assert pilot.wait(PATIENCE_SECONDS) == 0
    server.script.silent.clear()
    assert list((tmp_path / "work").iterdir()) == []


def test_the_end_of_the_lifetime_ends_the_job(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    server.script.jobs.append(job(7, jobPars="-c 'sleep 1000'"))
    assert run_pilot("-l", "1", "--timefloor", "-1") == 81
    assert server.final()["pilot_error_code"] == 1213
