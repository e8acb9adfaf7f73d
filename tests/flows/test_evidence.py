"""What a user finds out about failed jobs of a real system: contrasts, differences, a run of the same payload here."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from systems import QUICK, RunningSystem

from bamboo.client import JobInfo, TaskInfo
from bamboo.client.errors import Refused

GOOD = 14
CANARY = "canary-8c1d"


@dataclass
class Failed:
    """A task whose jobs finished, but for those that read `bad.txt`."""

    system: RunningSystem
    info: TaskInfo
    failed: JobInfo
    finished: JobInfo


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Failed]:
    folder = tmp_path_factory.mktemp("evidence")
    system = RunningSystem(folder / "system", ["--pilots", "3"], QUICK)
    try:
        yield run_into_trouble(system.start(), folder)
    finally:
        system.clean_up()


def run_into_trouble(system: RunningSystem, folder: Path) -> Failed:
    data, work = folder / "data", folder / "work"
    data.mkdir()
    work.mkdir()
    for n in range(GOOD):
        (data / f"good{n}.txt").write_text("word\n")
    (data / "bad.txt").write_text("nothing\n")
    (work / "count.sh").write_text(
        f"echo DB_PASSWORD={CANARY}; grep -c word $1 > n.txt || {{ echo no word in $1 >&2; exit 3; }}\n"
    )
    task = system.client.run(
        f"API_TOKEN={CANARY} sh count.sh %IN",
        work_dir=work,
        in_files=[str(data)],
        n_files_per_job=1,
        outputs=("n.txt",),
    )
    info = task.wait(timeout_seconds=120)
    jobs = {status: next(task.jobs(status, limit=1)) for status in ("failed", "finished")}
    return Failed(system, info, jobs["failed"], jobs["finished"])


def test_the_bad_input_stands_out(failed: Failed) -> None:
    assert failed.info.n_files_failed == 1
    shown = failed.system.run("task", "show", str(failed.info.task_id)).stdout
    assert "What failures have in common\n100 % of failures read bad.txt, 0 % of successes" in shown
    assert "100 % of failures read bad.txt" in failed.system.run("task", "why", str(failed.info.task_id)).stdout


def test_a_failed_job_beside_its_sibling(failed: Failed) -> None:
    ended = failed.system.run("job", "diff", str(failed.failed.job_id))
    assert ended.returncode == 0, ended.stderr
    assert "of those that finished, its inputs are nearest in size" in ended.stderr
    rows = [line.split("  ") for line in ended.stdout.splitlines()]
    cells = {row[0].strip(): [cell.strip() for cell in row[1:] if cell.strip()] for row in rows if len(row) > 2}
    assert cells["how it ended"] == ["state", "failed", "finished"]
    assert cells["inputs"][:2] == ["read by one only", "bad.txt"]
    assert "Last output of job" in ended.stdout
    assert "parameters" not in ended.stdout  # the same command line, but for names of files
    told = json.loads(
        failed.system.run("job", "diff", "--json", str(failed.failed.job_id), str(failed.finished.job_id)).stdout
    )
    states = [(line["a"], line["b"]) for line in told["lines"] if line["key"] == "jobStatus"]
    assert states == [("failed", "finished")]
    everything = failed.system.run("job", "diff", "--all", str(failed.failed.job_id))
    assert "parameters" in everything.stdout


def test_the_payload_of_a_failed_job_runs_here(failed: Failed, tmp_path: Path) -> None:
    ended = failed.system.run("job", "reproduce", str(failed.failed.job_id), "--run", cwd=tmp_path)
    assert ended.returncode == 3, ended.stderr
    assert "the job ended: failed: " in ended.stdout
    assert "here it ended: failed: payload ended with exit code 3: no word in bad.txt" in ended.stdout
    folder = tmp_path / f"job-{failed.failed.job_id}"
    assert sorted(path.name for path in (folder / "inputs").iterdir()) == ["bad.txt"]
    assert "none of the job's is on record" in ended.stdout
    readme = (folder / "README.txt").read_text()
    assert "no word in bad.txt" in readme and "    python3 run.py " in readme


def test_outputs_are_compared_and_the_bundle_needs_no_server(failed: Failed, tmp_path: Path) -> None:
    job = failed.finished
    made = failed.system.run("job", "reproduce", str(job.job_id), "--archive", "--json", cwd=tmp_path)
    told = json.loads(made.stdout)
    assert told["missing"] == []
    elsewhere = tmp_path / "elsewhere"
    with tarfile.open(tmp_path / told["archive"]) as archive:
        archive.extractall(elsewhere, filter="data")
    folder = elsewhere / f"job-{job.job_id}"
    environ = {"PATH": "/usr/bin:/bin", "http_proxy": "http://127.0.0.1:9"}
    ended = subprocess.run([sys.executable, folder / "run.py"], capture_output=True, text=True, env=environ, timeout=60)
    assert ended.returncode == 0, ended.stderr
    result = json.loads((folder / "result.json").read_text())
    assert result["failure"] is None
    (verdict,) = result["outputs"].values()
    assert verdict == "the same"
    (folder / "inputs").joinpath(
        next(file.lfn for file in failed.system.client.job(job.job_id).files if file.type == "input")
    ).write_text("word\nword\n")
    again = subprocess.run([sys.executable, folder / "run.py"], capture_output=True, text=True, env=environ, timeout=60)
    assert again.returncode == 1
    assert "bytes instead of 5" in again.stdout  # a changed input never reaches the payload


def test_the_report_says_what_happened_and_no_secret(failed: Failed, tmp_path: Path) -> None:
    task = str(failed.info.task_id)
    ended = failed.system.run("task", "report", task, "--output", "ticket.html", cwd=tmp_path)
    assert ended.stdout == "ticket.html\n", ended.stderr
    page = (tmp_path / "ticket.html").read_text()
    for words in (
        "finished (partial: 14 of 15 inputs)",
        "100 % of failures read bad.txt, 0 % of successes",
        "3 jobs: pilot 1305: payload ended with exit code 3: no word in bad.txt",
        "<dt>who must act</dt><dd>user</dd>",
        "What differs from job",
        "DB_PASSWORD=(removed)",
        "API_TOKEN=(removed)",
        "every input is accounted for",
        f"of the server\n{failed.system.url}, version ",
    ):
        assert words in page
    assert CANARY in failed.system.run("job", "show", str(failed.failed.job_id)).stdout  # to its owner it is told
    assert CANARY not in page


def test_what_cannot_be_reproduced(failed: Failed, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        failed.system.client.definition(999_999)
    assert refused.value.status == 404
    kept = tmp_path / f"job-{failed.failed.job_id}"
    kept.mkdir()
    (kept / "thesis.tex").write_text("x")
    ended = failed.system.run("job", "reproduce", str(failed.failed.job_id), cwd=tmp_path)
    assert (ended.returncode, "was not made from a job" in ended.stderr) == (8, True)
