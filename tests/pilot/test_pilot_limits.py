"""Limits on payloads: time, memory, disk, idleness, output."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from memory_group import memory_group
from patience import PATIENCE_SECONDS

from bamboo.pilot.capture import CappedFile, tail
from bamboo.tests.pilot.scripted_server import ScriptedServer, job


def failed(server: ScriptedServer) -> tuple[int, str]:
    final = server.final()
    assert final["job_status"] == "failed"
    return final["pilot_error_code"], final["pilot_error_diag"]


def test_wall_time(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    server.script.jobs.append(job(7, jobPars="-c 'echo begun; sleep 1000'", maxWalltime=1))
    assert run_pilot("--max-jobs", "1") == 0
    assert failed(server) == (1213, "payload ran 1 s, 1 s are allowed")
    assert server.final()["stdout"] == "begun\n"


def test_a_payload_that_ignores_term_is_killed(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    server.script.jobs.append(job(7, jobPars="-c 'trap \"\" TERM; while :; do sleep 0.1; done'", maxWalltime=1))
    assert run_pilot("--max-jobs", "1", "--kill-grace", "1") == 0
    assert failed(server)[0] == 1213


def test_idle_payload(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    server.script.jobs.append(job(7, jobPars="-c 'sleep 1000'"))
    assert run_pilot("--max-jobs", "1", "--looping-seconds", "3") == 0
    assert failed(server)[0] == 1150


def test_memory_of_the_whole_tree(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    eater = "python3 -c 'import time; x = bytearray(80 << 20); time.sleep(1000)'"
    server.script.jobs.append(job(7, jobPars=f"{eater} & {eater} & wait", transformation="eval", minRamCount=50))
    server.script.jobs[0].update(transformation="env", jobPars=f'bash -c "{eater} & {eater} & wait"')
    assert run_pilot("--max-jobs", "1") == 0
    code, diag = failed(server)
    assert code == 1235
    assert "100 MB are allowed" in diag
    assert server.final()["max_rss"] > 100_000


def test_work_directory(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    server.script.jobs.append(job(7, jobPars="-c 'head -c 5M /dev/zero > big; sleep 1000'", maxDiskCount=2))
    assert run_pilot("--max-jobs", "1") == 0
    assert failed(server)[0] == 1104


def test_a_flood_of_output_is_cut_and_the_pilot_stays_small(
    server: ScriptedServer, start_pilot: Callable[..., subprocess.Popen[str]]
) -> None:
    """100 MB, half of it one line, then the last words: the job finishes, head and tail are kept."""
    flood = "head -c 50M /dev/zero; yes | head -c 50M; echo last words; sleep 0.5"
    server.script.jobs.append(job(7, jobPars=f"-c '{flood}'"))
    pilot = start_pilot("--max-jobs", "1", "--heartbeat-seconds", "0.2")
    server.wait_for(lambda: any("last words" in report.get("stdout", "") for report in server.updates()))
    memory = Path(f"/proc/{pilot.pid}/status").read_text()
    peak_kb = int(memory.partition("VmHWM:")[2].split()[0])
    assert pilot.wait(PATIENCE_SECONDS) == 0
    assert server.final()["job_status"] == "finished"
    assert server.final()["stdout"].endswith("y\nlast words\n")
    assert peak_kb < 60_000


def test_output_without_end_is_ended(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    server.script.jobs.append(job(7, jobPars="-c 'cat /dev/zero'"))
    assert run_pilot("--max-jobs", "1") == 0
    assert failed(server)[0] == 1106


def test_capped_file_keeps_head_and_tail_and_counts_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "out"
    capture = CappedFile(path, head_bytes=8, tail_bytes=4)
    for at in range(100):
        capture.write(f"{at:02d}".encode())
    assert tail(path, 6) == "979899"
    capture.close()
    text = path.read_text()
    assert text.startswith("00010203\n[pilot: ")
    assert text.endswith("96979899")
    assert f"{200 - 8 - 8} bytes" in text
    assert list(tmp_path.iterdir()) == [path]


def test_a_small_output_is_kept_as_it_is(tmp_path: Path) -> None:
    capture = CappedFile(tmp_path / "out", head_bytes=10, tail_bytes=4)
    capture.write(b"12345678901")
    capture.close()
    assert (tmp_path / "out").read_bytes() == b"12345678901"


def test_a_kernel_out_of_memory_kill_is_named(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    server.script.jobs.append(job(7, jobPars="-c 'python3 -c \"x = bytearray(300 << 20)\"; exit $?'"))
    with memory_group() as group:
        assert run_pilot("--max-jobs", "1", program=group.pilot()) == 0
    code, diag = failed(server)
    assert code == 1212
    assert "limit 100 MB" in diag
    assert re.search(r"peak \d{2,3} MB", diag)
    record = server.final()["record"]
    assert (record["kernel_limit_kb"], record["oom_kills"]) == (100 << 10, 1)
