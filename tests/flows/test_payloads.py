"""What payloads do in real life, good and bad, and what their owners are told: on one running system."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE_SECONDS, eventually
from systems import QUICK, RunningSystem, processes

from bamboo.client import Task, TaskInfo, TaskSpec
from bamboo.client.catalogue import entries, expand
from bamboo.client.parameters import task_parameters

#: Beyond this, the pilot would hold its payload's output in memory.
PILOT_MEMORY_KB = 120_000
WAIT_SECONDS = 300.0


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    environ = {**QUICK, "BAMBOO_SERVER__LEASE_SECONDS": "30", "BAMBOO_SERVER__SENT_SECONDS": "30"}
    running = RunningSystem(tmp_path_factory.mktemp("payloads") / "system", ["--pilots", "3"], environ).start()
    yield running
    assert running.stop() == 0
    assert running.left_behind() == []


def submit(system: RunningSystem, command: str, *, changes: dict[str, Any] | None = None, **options: Any) -> Task:
    """Submit a command that is tried once, with any task parameters."""
    spec = system.client.completed(TaskSpec(exec=command, **{"max_attempt": 1, **options}))
    parameters = task_parameters(spec, archive="", source_url=system.url)
    return system.client.submit({**parameters, **(changes or {})})


def register(system: RunningSystem, name: str, folder: Path, n: int, first: int = 0) -> list[Path]:
    """Make a dataset of small files, or add files to it."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{name}.{number}.txt" for number in range(first, first + n)]
    for path in paths:
        path.write_text(path.name)
    system.client.add_files(f"user.alice.{name}", entries(expand([str(path) for path in paths])))
    return paths


def ended(task: Task, status: str) -> TaskInfo:
    info = task.wait(timeout_seconds=WAIT_SECONDS)
    assert info.status == status, info
    return info


def reach(task: Task, status: str) -> None:
    eventually(lambda: task.refresh().status == status, f"task {task.task_id} to be {status}")


def shown(system: RunningSystem, task: Task) -> str:
    return system.run("task", "show", str(task.task_id)).stdout


def log_of(system: RunningSystem, job: int) -> str:
    told = system.run("job", "log", str(job))
    assert told.returncode == 0, told.stderr
    return told.stdout


def is_running(marker: str) -> bool:
    """Whether a payload with this word in its command runs now."""
    return any(marker in process.command for process in processes().values())


# How payloads fail


def test_a_payload_that_fails_every_time_fails_its_task(system: RunningSystem) -> None:
    task = submit(system, "echo its own words >&2; exit 3", max_attempt=2)
    info = ended(task, "failed")
    (cause,) = (group for group in info.errors if group.source == "pilot")
    assert (cause.code, cause.count, cause.who) == ("1305", 2, "user")
    told = shown(system, task)
    assert "2 jobs: pilot 1305: payload ended with exit code 3: its own words [user must act]" in told
    assert f"bamboo job log {cause.example_job}" in told
    assert "its own words" in log_of(system, cause.example_job)


def test_an_output_that_was_not_made_is_named(system: RunningSystem) -> None:
    task = submit(system, "echo done nothing", outputs=("n.txt",))
    ended(task, "failed")
    assert re.search(r"1 job: pilot 1165: the payload did not make \S*n\.txt \[user must act\]", shown(system, task))


def test_the_signal_that_killed_a_payload_is_told(system: RunningSystem) -> None:
    crashed = submit(system, "kill -SEGV $$")
    killed = submit(system, "kill -KILL $$")
    ended(crashed, "failed")
    ended(killed, "failed")
    assert "SIGSEGV" in shown(system, crashed)
    assert "SIGKILL" in shown(system, killed)


def test_a_payload_over_its_time_is_killed(system: RunningSystem) -> None:
    task = submit(system, "sleep 71.71", changes={"maxWalltime": 0.001})
    ended(task, "failed")
    assert re.search(r"pilot 1213: payload ran \d+ s, 4 s are allowed \[user must act\]", shown(system, task))
    assert not is_running("71.71")


def test_a_flood_of_output_is_cut_in_the_middle(system: RunningSystem) -> None:
    task = submit(system, "echo first words; yes flood | head -c 200000000; echo; echo last words")
    ended(task, "done")
    (job,) = task.jobs()
    printed = log_of(system, job.job_id)
    assert "first words" in printed[:1000]
    assert "last words" in printed[-1000:]
    assert re.search(r"\[pilot: 1\d{8} bytes of output dropped here\]", printed)
    for pilot in system.of_kind("pilot"):
        (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pilot.pid}/status").read_text())
        assert int(peak) < PILOT_MEMORY_KB


def test_a_daemon_that_a_payload_leaves_behind_is_killed(system: RunningSystem) -> None:
    task = submit(system, "setsid sleep 72.72 & echo daemon $!")
    ended(task, "done")
    (job,) = task.jobs()
    (pid,) = re.findall(r"^daemon (\d+)$", log_of(system, job.job_id), re.MULTILINE)
    assert int(pid) not in processes()


def test_a_damaged_input_is_told_with_both_checksums(system: RunningSystem, tmp_path: Path) -> None:
    (path,) = register(system, "damaged", tmp_path, 1)
    (known,) = system.client.files("user.alice.damaged")
    path.write_text(path.name.swapcase())
    (measured,) = entries(expand([str(path)]))
    task = submit(system, "cat %IN", in_ds=("user.alice.damaged",))
    ended(task, "failed")
    told = shown(system, task)
    assert "pilot 1171" in told
    assert "[site must act]" in told
    for word in (path.name, known.adler32, measured.adler32):
        assert word in told


# Inputs


def test_only_what_failed_is_tried_again_once_it_is_mended(system: RunningSystem, tmp_path: Path) -> None:
    register(system, "partly", tmp_path, 5)
    mended = tmp_path / "mended"
    command = f"[ %IN != partly.3.txt ] || [ -e {mended} ] || exit 4; cp %IN n.txt"
    options = {"in_ds": ("user.alice.partly",), "outputs": ("n.txt",), "n_files_per_job": 1}
    task = submit(system, command, **options)
    assert ended(task, "finished").state == "finished (partial: 4 of 5 inputs)"
    mended.touch()
    assert system.run("task", "retry", str(task.task_id)).returncode == 0
    eventually(lambda: not task.refresh().is_over, "the retry")
    ended(task, "done")
    jobs = [system.client.job(job.job_id) for job in task.jobs()]
    assert [job.status for job in jobs].count("finished") == 5
    again = max(jobs, key=lambda job: job.job_id)
    assert [file.lfn for file in again.files if file.type == "input"] == ["partly.3.txt"]
    assert len(jobs) == 6

    fetched = system.run("task", "outputs", str(task.task_id), "--dest", str(tmp_path / "fetched"))
    assert fetched.returncode == 0, fetched.stderr
    texts = sorted(path.read_text() for path in (tmp_path / "fetched").iterdir())
    assert texts == [f"partly.{number}.txt" for number in range(5)]


def test_a_damaged_output_is_not_handed_out(system: RunningSystem, tmp_path: Path) -> None:
    task = submit(system, "echo good > n.txt", outputs=("n.txt",))
    ended(task, "done")
    (output,) = task.outputs()
    Path(output.url.removeprefix("file://localhost")).write_text("evil\n")
    fetched = system.run("task", "outputs", str(task.task_id), "--dest", str(tmp_path))
    assert fetched.returncode == 1
    assert output.lfn in fetched.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_inputs_a_task_is_broken_and_says_why(system: RunningSystem) -> None:
    system.client.transport.post("dataset/add_files", {"dataset": "user.alice.empty", "files": [], "create": True})
    unknown = submit(system, "cat %IN", in_ds=("user.alice.unknown",))
    empty = submit(system, "cat %IN", in_ds=("user.alice.empty",))
    assert "user.alice.unknown" in ended(unknown, "broken").error
    assert "user.alice.empty" in ended(empty, "broken").error
    assert list(unknown.jobs()) == list(empty.jobs()) == []


def test_new_inputs_are_processed_after_a_reload(system: RunningSystem, tmp_path: Path) -> None:
    register(system, "growing", tmp_path, 2)
    task = submit(system, "cat %IN", in_ds=("user.alice.growing",), n_files_per_job=1)
    ended(task, "done")
    register(system, "growing", tmp_path, 1, first=2)
    assert system.run("task", "reload", str(task.task_id)).returncode == 0
    eventually(lambda: task.refresh().n_files_finished == 3, "the new input")
    ended(task, "done")
    *_, last = task.jobs()
    assert [file.lfn for file in system.client.job(last.job_id).files if file.type == "input"] == ["growing.2.txt"]


# Refusals


def test_every_fault_of_a_task_is_told_and_nothing_is_made(system: RunningSystem, tmp_path: Path) -> None:
    faults = ("--nJobs", "2", "--outDS", "user.bob.x", "--nFilesPerJob", "3", "--inDS", "a b", "--outputs", "a/b")
    told = system.run("run", "--exec", " ", *faults, "--workDir", str(tmp_path))
    assert told.returncode == 8, told
    for where in ("exec", "outDS", "inDS", "outputs"):
        assert f"  - {where}" in told.stderr
    assert system.client.tasks(name="user.bob.x*", user="*") == []


def test_the_server_tells_every_fault_of_task_parameters(system: RunningSystem) -> None:
    spec = system.client.completed(TaskSpec(exec="true", out_ds="user.alice.faulty"))
    parameters = task_parameters(spec, archive="", source_url=system.url)
    parameters |= {"maxAttemt": 3, "coreCount": "many", "maxWalltime": -1, "mergeOutput": True}
    script = f"""
import json, sys
import bamboo.client
from bamboo.client.cli.exits import guarded
client = bamboo.client.connect({system.url!r}, user="alice")
sys.exit(guarded(lambda: client.submit(json.load(sys.stdin))))
"""
    told = subprocess.run([sys.executable, "-c", script], input=json.dumps(parameters), text=True, capture_output=True)
    assert told.returncode == 8, told
    for where in ("maxAttemt", "coreCount", "maxWalltime", "mergeOutput"):
        assert f"task_parameters.{where}" in told.stderr
    assert "maxAttempt" in told.stderr
    assert system.client.tasks(name="user.alice.faulty*") == []


# Commands on running tasks


def test_a_killed_task_takes_its_payloads_with_it(system: RunningSystem) -> None:
    task = submit(system, "sleep 73.73", n_jobs=2)
    eventually(lambda: is_running("73.73"), "the payload")
    told = system.run("task", "kill", str(task.task_id))
    assert told.returncode == 0, told.stderr
    info = task.wait(timeout_seconds=PATIENCE_SECONDS)
    assert info.status == "aborted"
    eventually(lambda: not is_running("73.73"), "the payload to be gone")
    assert set(task.refresh().jobs) == {"cancelled"}


def test_a_paused_task_starts_nothing_until_it_is_resumed(system: RunningSystem, tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    begun.mkdir()
    waiting = f"touch {begun}/$$; until [ -e {gate} ]; do sleep 0.05; done"
    task = submit(system, waiting, n_jobs=6)
    eventually(lambda: len(list(begun.iterdir())) == 3, "three jobs")
    task.pause()
    reach(task, "paused")
    gate.touch()
    eventually(lambda: task.refresh().jobs.get("finished") == 3, "the running jobs to end")
    other = submit(system, "true")
    ended(other, "done")  # a pilot was free
    assert len(list(begun.iterdir())) == 3
    assert task.refresh().status == "paused"
    task.resume()
    ended(task, "done")
    assert len(list(begun.iterdir())) == 6


def half_done(system: RunningSystem, name: str, folder: Path) -> tuple[Task, Path]:
    """A task of 8 inputs: one is processed, three are being processed until there is the file given back."""
    register(system, name, folder / "in", 8)
    gate, begun = folder / "gate", folder / "begun"
    begun.mkdir()
    command = f"[ %IN = {name}.0.txt ] || {{ touch {begun}/%IN; until [ -e {gate} ]; do sleep 0.05; done; }}"
    task = submit(system, command, in_ds=(f"user.alice.{name}",), n_files_per_job=1)
    eventually(lambda: task.refresh().n_files_finished == 1 and len(list(begun.iterdir())) == 3, "three jobs at work")
    return task, gate


def test_finish_ends_the_jobs_and_keeps_what_was_processed(system: RunningSystem, tmp_path: Path) -> None:
    task, gate = half_done(system, "finish", tmp_path)
    task.finish()
    assert ended(task, "finished").jobs == {"finished": 1, "cancelled": 7}
    eventually(lambda: not is_running(str(gate)), "the payloads to be gone")


def test_finish_soft_lets_the_jobs_end(system: RunningSystem, tmp_path: Path) -> None:
    task, gate = half_done(system, "softly", tmp_path)
    task.finish(soft=True)
    reach(task, "finishing")
    gate.touch()
    assert ended(task, "done").jobs == {"finished": 8}
