"""One job without a server, run and judged as by a pilot; tests/flows/test_evidence.py has jobs of a system."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE_SECONDS, eventually

from bamboo.admin.chaos.victims import left_behind

RUN = "import sys; from pathlib import Path; from bamboo.pilot.offline import main; sys.exit(main(Path(sys.argv[1])))"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("files", "inputs"):
        (tmp_path / name).mkdir()
    return tmp_path


def start(folder: Path, script: str, **wire: Any) -> subprocess.Popen[str]:
    """Run a job whose payload is a script."""
    (folder / "files" / "trf").write_text(f"#!/bin/sh\n{script}\n")
    definition = {"PandaID": 7, "transformation": "trf", "computingSite": "Q", "recordedEnd": "failed: no", **wire}
    (folder / "job.json").write_text(json.dumps(definition))
    environ = {**os.environ, "BAMBOO_TOKEN": "canary"}
    command = [sys.executable, "-c", RUN, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)


def run(folder: Path, script: str, **wire: Any) -> tuple[int, str, dict[str, Any]]:
    """Exit code, what was told, and the result."""
    process = start(folder, script, **wire)
    told, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (folder / "result.json").is_file(), errors
    return process.returncode, told, json.loads((folder / "result.json").read_text())


def test_the_payload_gets_what_the_job_had(folder: Path) -> None:
    (folder / "inputs" / "in.txt").write_text("here\n")
    (folder / "panda_secrets.json").write_text('{"K": "V"}')
    script = "cat in.txt panda_secrets.json; echo $PandaID $PANDA_RESOURCE ${BAMBOO_TOKEN-no token} $1"
    code, told, result = run(folder, script, jobPars="'a b'", inFiles="in.txt", inURLs="file:///gone")
    assert (code, result["failure"], result["exit_code"]) == (0, None, 0)
    assert (folder / "work" / "payload.stdout").read_text() == '{"K": "V"}7 Q no token a b\n'.join(["here\n", ""])
    assert "the job ended: failed: no\nhere it ended: well\n" in told


@pytest.mark.parametrize(
    ("script", "recorded", "verdict"),
    [
        ("printf ab > o.txt", {"o.txt": "ad:012600c4"}, "the same"),
        ("printf ac > o.txt", {"o.txt": "ad:012600c4"}, "differs: ad:012700c5 here, ad:012600c4 then"),
        ("printf ab > o.txt", {"o.txt": ""}, "made here (ad:012600c4), none of the job's is on record"),
        ("true", {"o.txt": "ad:012600c4"}, "not made here"),
        ("true", {"o.txt": ""}, "not made here, and none of the job's is on record"),
    ],
)
def test_outputs_are_compared(folder: Path, script: str, recorded: dict[str, str], verdict: str) -> None:
    code, told, result = run(folder, script, recordedOutputs=recorded)
    assert (code, result["outputs"]) == (0, {"o.txt": verdict})
    assert f"output o.txt: {verdict}\n" in told


@pytest.mark.parametrize(
    ("script", "wire", "code", "words"),
    [
        ("echo why >&2; exit 65", {}, 65, "payload ended with exit code 65: why"),
        ("kill -9 $$", {}, 137, "payload was killed by signal 9"),
        ("true", {"inFiles": "x", "inURLs": "file:///gone"}, 1, "input x is missing at file:///gone"),
        ("true", {"eventService": "True"}, 1, "handed out by the server"),
        ("true", {"transformation": "no-such-program"}, 1, "neither in the job directory nor a program"),
    ],
)
def test_failures_are_judged_as_by_a_pilot(
    folder: Path, script: str, wire: dict[str, str], code: int, words: str
) -> None:
    ended, told, result = run(folder, script, **wire)
    assert ended == code
    assert words in result["failure"]["diag"] and words in told


def test_a_missing_output_is_a_failure_here_too(folder: Path) -> None:
    outputs = {"outFiles": "o.txt,p.txt", "scopeOut": "s,s"}
    code, told, result = run(folder, "echo > p.txt", **outputs)
    assert (code, result["failure"]["code"]) == (1, 1165)
    assert "here it ended: failed: the payload did not make o.txt\n" in told
    assert run(folder, "echo > p.txt; echo > o.txt", **outputs)[0] == 0


def test_no_words_of_the_payload_drive_the_terminal(folder: Path) -> None:
    end = "failed: \x1b[2Jold\nwords"
    _, told, _ = run(folder, "printf 'a\\033]0;new title\\007b' >&2; exit 65", recordedEnd=end)
    assert "old words" in told and "new title" in told
    assert all(letter.isprintable() for letter in told.replace("\n", ""))


def test_an_interrupt_leaves_nothing(folder: Path) -> None:
    process = start(folder, f"echo started; sh -c 'sleep 1000; true' {folder}")
    shown = folder / "work" / "payload.stdout"
    eventually(lambda: shown.is_file() and shown.read_text(), "the payload to run")
    assert left_behind(folder)
    process.send_signal(signal.SIGINT)
    told, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, told) == (130, "interrupted\n"), errors
    eventually(lambda: not left_behind(folder), "the payload to be gone")
