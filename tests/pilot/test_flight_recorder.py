"""The flight recorder: what of a job reaches the server while it runs, whatever becomes of pilot and payload."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE_SECONDS

from bamboo.core.flight_records import MOST_SENT, SENT_BYTES, joined
from bamboo.pilot.capture import CappedFile
from bamboo.pilot.metrics import Peaks, Usage, look_at
from bamboo.pilot.recorder import Recorder
from bamboo.pilot.report import is_watched
from bamboo.tests.pilot.scripted_server import ScriptedServer, job


def known(server: ScriptedServer, stream: str) -> str:
    """What a server that puts all pieces together knows of a stream."""
    text, end = "", 0
    for report in server.updates():
        if piece := report.get("record", {}).get(stream):
            text, end = joined(text, end, piece["text"], piece["at"])
    return text


def samples(server: ScriptedServer) -> list[list[float]]:
    return [sample for report in server.updates() for sample in report.get("record", {}).get("samples", [])]


def test_the_server_has_curve_tree_and_last_words_when_pilot_and_payload_are_killed(
    server: ScriptedServer, start_pilot: Callable[..., subprocess.Popen[str]]
) -> None:
    """SIGKILL, of which nobody can tell any more."""
    server.script.jobs.append(job(7, jobPars="-c 'echo first; echo oh >&2; sleep 2.5; echo last words; sleep 1000'"))
    pilot = start_pilot("--heartbeat-seconds", "0.3")
    server.wait_for(lambda: known(server, "stdout") == "first\nlast words\n" and len(samples(server)) >= 2)
    pilot.kill()
    pilot.wait(PATIENCE_SECONDS)
    assert known(server, "stderr") == "oh\n"
    last = next(report["record"] for report in reversed(server.updates()) if "tree" in report.get("record", {}))
    assert {"bash", "sleep"} <= {name for _, _, name, _, _ in last["tree"]}
    assert last["oom_kills"] == 0
    for at, rss_kb, pss_kb, cpu_seconds, read_kb, written_kb in samples(server):
        assert at > 1_700_000_000 and rss_kb >= pss_kb > 0
        assert min(cpu_seconds, read_kb, written_kb) >= 0


def test_a_killed_payload_leaves_its_last_words_in_the_final_report(
    server: ScriptedServer, run_pilot: Callable[..., int]
) -> None:
    server.script.jobs.append(job(7, jobPars="-c 'echo last words; kill -KILL $$'"))
    assert run_pilot("--max-jobs", "1") == 0
    assert server.final()["record"]["stdout"] == {"at": 0, "text": "last words\n"}


def test_whoever_is_watched_reports_every_two_seconds(
    server: ScriptedServer, start_pilot: Callable[..., subprocess.Popen[str]]
) -> None:
    """The usual heartbeat of this job would come after twenty minutes."""
    server.script.on_update = lambda report: {"data": {"StatusCode": 0, "command": "debug", "leaseSeconds": 3600}}
    server.script.jobs.append(job(7, jobPars="-c 'while :; do echo more; sleep 0.5; done'", leaseSeconds=3600))
    pilot = start_pilot()
    server.wait_for(lambda: len(server.updates()) >= 4)
    pilot.send_signal(signal.SIGTERM)
    pilot.wait(PATIENCE_SECONDS)
    assert known(server, "stdout").startswith("more\nmore\n")


@pytest.mark.parametrize(
    ("command", "watched"), [("debug", True), ("debugoff now", False), ("NULL", False), ("", False), ("ls .", False)]
)
def test_the_word_of_the_server(command: str, watched: bool) -> None:
    assert is_watched(command) is watched


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path / "out", tmp_path / "err")


def note(recorder: Recorder, at: float) -> None:
    peaks = Peaks()
    recorder.note(at, look_at([os.getpid()], peaks, with_pss=True), peaks)


def test_what_the_server_may_have_lost_is_sent_again(recorder: Recorder, tmp_path: Path) -> None:
    """A heartbeat that it accepted and had not written yet when it died; a report that it did not accept."""
    assert recorder.unsent() == {}
    (tmp_path / "out").write_bytes(b"one\n")
    note(recorder, 1.0)
    first = recorder.unsent()
    assert first["stdout"] == {"at": 0, "text": "one\n"}
    assert recorder.unsent() == first
    recorder.accepted()
    (tmp_path / "out").write_bytes(b"one\ntwo\n")
    note(recorder, 2.0)
    again = recorder.unsent()
    assert again["stdout"] == {"at": 0, "text": "one\ntwo\n"}
    assert [sample[0] for sample in again["samples"]] == [1.0, 2.0]
    recorder.accepted()
    last = recorder.unsent()
    assert last["stdout"] == {"at": 4, "text": "two\n"}
    assert [sample[0] for sample in last["samples"]] == [2.0]
    recorder.accepted()
    assert recorder.unsent() == {}


def test_a_server_that_is_away_makes_no_report_large(recorder: Recorder, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"x" * 100_000 + b"end")
    usage = Usage(tree=[[n, 1, "p", 1, "S"] for n in range(1000)])
    for at in range(5000):
        recorder.note(float(at), usage, Peaks())
    sent = recorder.unsent()
    assert len(sent["samples"]) <= MOST_SENT and len(sent["tree"]) <= 40
    assert (sent["stdout"]["at"], len(sent["stdout"]["text"])) == (100_003 - SENT_BYTES, SENT_BYTES)
    assert sent["stdout"]["text"].endswith("end")


def test_a_letter_is_sent_whole_and_what_is_none_counts_as_it_is(recorder: Recorder, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes("a\0\xff".encode("latin-1") + "é".encode()[:1])
    assert recorder.unsent()["stdout"] == {"at": 0, "text": "a??"}
    recorder.accepted()
    recorder.accepted()
    (tmp_path / "out").write_bytes("a\0\xff".encode("latin-1") + "é!".encode())
    assert recorder.unsent()["stdout"] == {"at": 3, "text": "é!"}


def test_the_places_in_a_flood_only_grow(recorder: Recorder, tmp_path: Path) -> None:
    """The pilot sees files that are cut; what it sends is the end of what was printed all the same."""
    capture, printed, end = CappedFile(tmp_path / "out", head_bytes=1000), 0, 0
    for n in range(60):
        chunk = f"{n:09d}\n".encode() * 13_107
        capture.write(chunk)
        printed += len(chunk)
        piece: Any = recorder.unsent()["stdout"]
        recorder.accepted()
        assert chunk.endswith(piece["text"].encode()[-1000:])
        assert end < piece["at"] + len(piece["text"]) <= printed
        end = piece["at"] + len(piece["text"])
    capture.close()


def test_an_output_that_begins_anew_goes_on(recorder: Recorder, tmp_path: Path) -> None:
    """As that of each event range does."""
    (tmp_path / "out").write_bytes(b"first range\n")
    recorder.unsent()
    recorder.accepted()
    (tmp_path / "out").write_bytes(b"second\n")
    assert recorder.unsent()["stdout"] == {"at": 12, "text": "second\n"}
