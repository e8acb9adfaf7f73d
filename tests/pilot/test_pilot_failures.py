"""Jobs that go wrong: each gets its code and a sentence that names the cause."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE_SECONDS

from bamboo.tests.pilot.scripted_server import ScriptedServer, job

LOG = {"scopeLog": "user.t", "logFile": "job.log.tgz"}
OUT = {"outFiles": "a.txt,b.txt,job.log.tgz", "scopeOut": "user.t,user.t", "ddmEndPointOut": "DISK,DISK,DISK", **LOG}


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        ({"jobPars": "-c 'exit 3'"}, 1305, "exit code 3"),
        ({"jobPars": "-c 'echo no licence >&2; echo >&2; exit 3'"}, 1305, "payload ended with exit code 3: no licence"),
        ({"jobPars": "-c 'kill -9 $$'"}, 1305, "signal 9 (SIGKILL)"),
        ({"jobPars": "-c 'kill -11 $$'"}, 1328, "SIGSEGV"),
        ({"jobPars": "-c 'exit 143'"}, 1305, "payload ended with exit code 143: a bad archive, or SIGTERM"),
        ({"jobPars": "-c 'exit 146'"}, 1305, "payload ended with exit code 146"),  # 128 + SIGCONT, which ends nothing
        ({"transformation": "no-such-program"}, 1346, "no-such-program"),
        ({"transformation": "http://elsewhere.invalid/x"}, 1149, "--baseurls"),
        ({"transformation": "NULL"}, 1300, "no transformation"),
        ({"inFiles": "a,b", "fsize": "1"}, 1312, "fsize has 1 entries, inFiles has 2"),
        ({"inFiles": "../a"}, 1371, "'../a'"),
        ({"inFiles": "payload.stdout"}, 1371, "the pilot needs the name"),
        ({"inFiles": "a", "inURLs": "file:///nonexistent/a"}, 1331, "a is missing at file:///nonexistent/a"),
        ({"inFiles": "a", "inURLs": "gopher://h/a"}, 1323, "gopher"),
        ({"inFiles": "a", "inURLs": "http://h.invalid/a", "fsize": str(10**17)}, 1098, "MB are free"),
        ({"inFiles": "a", "ddmEndPointIn": "NOWHERE"}, 1313, "NOWHERE"),
        ({**OUT, "jobPars": "-c 'touch a.txt'"}, 1165, "b.txt"),
        ({**OUT, "jobPars": """-c 'true' -o "{'b': 'a.txt'}" """}, 1165, "did not make b, b.txt"),
        ({"jobPars": "x --containerImage y"}, 1384, "container"),
    ],
)
def test_a_failure_has_its_code(
    more: dict[str, Any], code: int, words: str, server: ScriptedServer, run_pilot: Callable[..., int]
) -> None:
    server.script.jobs.append(job(7, **more))
    assert run_pilot("--max-jobs", "1") == 0
    final = server.final()
    assert (final["job_status"], final["pilot_error_code"]) == ("failed", code)
    assert words in final["pilot_error_diag"]


def test_a_failing_payload_leaves_its_log_and_last_words(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    server.script.jobs.append(job(7, **OUT, jobPars="-c 'touch a.txt; echo last words >&1; exit 3'"))
    run_pilot("--max-jobs", "1")
    final = server.final()
    assert final["trans_exit_code"] == 3
    assert final["stdout"] == "last words\n"
    assert list(json.loads(final["job_output_report"])) == ["job.log.tgz"]
    assert 0 < len(final["pilot_log"]) <= 1024
    assert "payload ended" in final["pilot_log"]


def test_the_log_of_a_job_tells_of_no_other(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    """The pilot may have worked for somebody else before."""
    server.script.jobs += [job(7, "exit 3"), job(8, "exit 4")]
    assert run_pilot("--max-jobs", "2", "--timefloor", "-1") == 0
    told = server.final(8)["pilot_log"]
    assert "pandaid=8" in told and "pandaid=7" not in told


def test_missing_outputs_are_all_named_and_none_is_stored(
    server: ScriptedServer, run_pilot: Callable[..., int]
) -> None:
    server.script.jobs.append(job(7, **{**OUT, "outFiles": "a.txt,b.txt,c.txt", "scopeOut": "s,s,s", "logFile": ""}))
    run_pilot("--max-jobs", "1")
    assert "a.txt, b.txt, c.txt" in server.final()["pilot_error_diag"]
    assert not [path for path in server.storage.rglob("*") if path.is_file()]


def test_an_output_may_be_allowed_to_miss(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    server.script.jobs.append(job(7, **OUT, jobPars="-c 'touch a.txt'", allowNoOutput="b.txt"))
    run_pilot("--max-jobs", "1")
    final = server.final()
    assert final["job_status"] == "finished"
    assert set(json.loads(final["job_output_report"])) == {"a.txt", "job.log.tgz"}


@pytest.mark.parametrize(("more", "code"), [({"checksum": "ad:00000001"}, 1171), ({"fsize": "99"}, 1099)])
def test_a_damaged_input_never_reaches_the_payload(
    more: dict[str, str], code: int, server: ScriptedServer, run_pilot: Callable[..., int], tmp_path: Path
) -> None:
    source = tmp_path / "in.txt"
    source.write_text("words")
    witness = tmp_path / "ran"
    server.script.jobs.append(job(7, jobPars=f"-c 'touch {witness}'", inFiles="in.txt", inURLs=source.as_uri(), **more))
    run_pilot("--max-jobs", "1")
    assert server.final()["pilot_error_code"] == code
    assert not witness.exists()
    assert source.read_text() == "words"


def test_a_program_among_the_inputs_is_run_from_a_copy(
    server: ScriptedServer, run_pilot: Callable[..., int], tmp_path: Path
) -> None:
    program = tmp_path / "tool"
    program.write_text("#!/bin/bash\necho ran; echo spoilt > $0\n")
    program.chmod(0o644)
    server.script.jobs.append(job(7, transformation="tool", jobPars="", inFiles="tool", inURLs=str(program)))
    run_pilot("--max-jobs", "1")
    assert server.final()["stdout"] == "ran\n"
    assert "spoilt >" in program.read_text()
    assert program.stat().st_mode & 0o777 == 0o644


def test_http_input_and_output(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    server.script.files["/data/in.txt"] = b"words"
    server.script.storages["WEB"] = {"arprotocols": {"write_lan": [{"endpoint": server.url, "path": "/store/"}]}}
    server.script.jobs.append(
        job(
            7,
            jobPars="-c 'cat in.txt in.txt > out.txt'",
            inFiles="in.txt",
            inURLs=f"{server.url}/data/in.txt",
            fsize="5",
            outFiles="out.txt",
            scopeOut="s",
            ddmEndPointOut="WEB",
        )
    )
    run_pilot("--max-jobs", "1")
    assert server.final()["job_status"] == "finished", server.final()["pilot_error_diag"]
    assert list(server.script.stored.values()) == [b"wordswords"]


def test_a_failed_job_claims_no_outputs(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    """The first output is stored, the second has nowhere to go: only the log is reported."""
    server.script.jobs.append(
        job(7, **{**OUT, "jobPars": "-c 'touch a.txt b.txt'", "ddmEndPointOut": "DISK,NOWHERE,DISK"})
    )
    run_pilot("--max-jobs", "1")
    final = server.final()
    assert final["pilot_error_code"] == 1313
    assert list(json.loads(final["job_output_report"])) == ["job.log.tgz"]


def test_a_payload_may_remove_its_directory(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    command = "cd /; rm -rf $PANDA_JOB_DIR; yes | head -c 40M; sleep 3"
    server.script.jobs += [
        job(7, jobPars=f"-c '{command}'", **LOG, outFiles="job.log.tgz", ddmEndPointOut="DISK"),
        job(8),
    ]
    assert run_pilot("--timefloor", "5") == 0
    assert [server.final(pandaid)["job_status"] for pandaid in (7, 8)] == ["finished", "finished"]


def test_an_existing_other_file_is_kept_beside_the_new_one(
    server: ScriptedServer, run_pilot: Callable[..., int]
) -> None:
    """A dead attempt's output does not stop the next attempt, and is not lost either."""
    for number, words in ((1, "first"), (2, "second")):
        server.script.jobs.append(
            job(
                7,
                attemptNr=number,
                jobPars=f"-c 'echo {words} > out.txt'",
                outFiles="out.txt",
                scopeOut="s",
                ddmEndPointOut="DISK",
            )
        )
    run_pilot("--max-jobs", "2", "--timefloor", "5")
    (stored,) = server.storage.rglob("out.txt")
    assert stored.read_text() == "second\n"
    assert stored.with_name(".out.txt.before.7.2").read_text() == "first\n"


def test_a_payload_may_do_anything_to_its_log(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    """Neither keeper nor pilot hangs on a pipe in place of a file."""
    pipes = "payload.stdout jobReport.json userJobMetadata.json"
    server.script.jobs.append(job(7, **{**OUT, "jobPars": f"-c 'rm payload.stdout; mkfifo {pipes} a.txt b.txt'"}))
    assert run_pilot("--max-jobs", "1") == 0
    assert server.final()["pilot_error_code"] == 1165


def test_secrets_are_private_and_gone_before_the_log(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    server.script.jobs.append(
        job(7, jobPars="-c 'stat -c %a panda_secrets.json; cat panda_secrets.json'", secrets='{"KEY": "v"}')
    )
    run_pilot("--max-jobs", "1")
    assert server.final()["stdout"] == '600\n{"KEY": "v"}'


def test_the_payload_gets_ids_but_not_the_pilots_token(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    server.script.jobs.append(job(7, jobPars="-c 'echo $PandaID $PanDA_TaskID $PANDA_ATTEMPT_NR [$PANDA_AUTH_TOKEN]'"))
    run_pilot("--max-jobs", "1", PANDA_AUTH_TOKEN="secret-token", PANDA_AUTH_ORIGIN="vo")
    assert server.final()["stdout"] == "7 77 1 []\n"
    sent = server.calls[0].headers
    assert (sent["Authorization"], sent["Origin"]) == ("Bearer secret-token", "vo")


def shown(server: ScriptedServer) -> dict[str, list[str]]:
    """The tokens that were shown, by what was asked for."""
    found: dict[str, list[str]] = {}
    for call in server.calls:
        found.setdefault(call.path.rpartition("/")[2], []).append(call.headers["Authorization"])
    return found


def test_reports_on_a_job_show_its_own_token_and_nobody_else_sees_it(
    server: ScriptedServer, run_pilot: Callable[..., int], tmp_path: Path
) -> None:
    server.script.jobs.append(job(7, jobPars="-c 'env; cat /proc/$PPID/cmdline'", attemptToken="bamboo-attempt.7"))
    run_pilot("--max-jobs", "1", "--cleanup", "False", PANDA_AUTH_TOKEN="secret-token", PANDA_AUTH_ORIGIN="vo")
    assert server.calls[0].headers["X-Attempt-Token"] == "1"
    tokens = shown(server)
    assert set(tokens.pop("acquire_jobs")) == {"Bearer secret-token"}
    assert tokens.keys() == {"update_job"} and set(tokens["update_job"]) == {"Bearer bamboo-attempt.7"}
    assert "bamboo-attempt" not in str(server.updates())
    kept = [path for path in (tmp_path / "work").rglob("*") if path.is_file()]
    assert {"pilot.log", "payload.stdout"} <= {path.name for path in kept}
    assert not [path for path in kept if b"bamboo-attempt" in path.read_bytes() or b"secret-token" in path.read_bytes()]


def test_a_server_that_does_not_know_the_jobs_token_is_shown_the_pilots(
    server: ScriptedServer, run_pilot: Callable[..., int]
) -> None:
    server.script.token = "secret-token"
    server.script.jobs.append(job(7, attemptToken="bamboo-attempt.7"))
    run_pilot("--max-jobs", "1", PANDA_AUTH_TOKEN="secret-token")
    assert server.states() == ["starting", "running", "finished"]
    assert set(shown(server)["update_job"]) == {"Bearer bamboo-attempt.7", "Bearer secret-token"}


def with_processes(n: int) -> tuple[str, ...]:
    """Words that start a program which may have so many processes and threads; as somebody else than root, who may."""
    limit = ("prlimit", f"--nproc={n}")
    if os.geteuid() != 0:
        return limit
    may = "+dac_override,+dac_read_search"  # ours is a folder of root's
    return "setpriv", f"--reuid={61_000 + n}", "--clear-groups", f"--inh-caps={may}", f"--ambient-caps={may}", *limit


@pytest.mark.skipif(not shutil.which("setpriv"), reason="util-linux is not installed")
@pytest.mark.parametrize("n", [1, 4], ids=["for its keeper", "for its threads"])
def test_a_pilot_without_processes_takes_no_job(
    server: ScriptedServer, start_pilot: Callable[..., Any], tmp_path: Path, n: int
) -> None:
    """F16. It says so and leaves nothing; another one takes the job."""
    if n > 1 and os.geteuid() != 0:
        pytest.skip("the limit counts all processes of this user")
    server.script.jobs.append(job(7))
    assert start_pilot("--max-jobs", "1", around=with_processes(n)).wait(PATIENCE_SECONDS) == 75
    assert "ulimit -u" in (tmp_path / "pilot0.err").read_text()
    assert list((tmp_path / "work").iterdir()) == []
    assert server.calls == []
    assert start_pilot("--max-jobs", "1").wait(PATIENCE_SECONDS) == 0
    assert server.final(7)["job_status"] == "finished"


@pytest.mark.skipif(not shutil.which("setpriv") or os.geteuid() != 0, reason="needs a user of its own")
def test_a_payload_that_cannot_be_started_for_lack_of_processes_is_told_as_such(
    server: ScriptedServer, start_pilot: Callable[..., Any]
) -> None:
    """F16. The pilot has its threads and its keeper, and the limit is reached."""
    server.script.jobs.append(job(7))
    assert start_pilot("--max-jobs", "1", around=with_processes(7)).wait(PATIENCE_SECONDS) == 0
    assert server.states() == ["starting", "failed"]
    assert "start no more processes (ulimit -u)" in server.final()["pilot_error_diag"]


def test_a_full_disk_is_said_so(server: ScriptedServer, run_pilot: Callable[..., int], tmp_path: Path) -> None:
    if os.system(f"mkdir {tmp_path}/small && mount -t tmpfs -o size=64k tmpfs {tmp_path}/small 2>/dev/null"):  # noqa: S605
        pytest.skip("may not mount a small disk here")
    try:
        server.script.files["/data/big"] = b"x" * 200_000
        server.script.jobs.append(job(7, inFiles="big", inURLs=f"{server.url}/data/big"))
        assert run_pilot("--max-jobs", "1", "-a", f"{tmp_path}/small") == 0
        assert server.final()["pilot_error_code"] == 1098
        assert "no space" in server.final()["pilot_error_diag"]
    finally:
        os.system(f"umount {tmp_path}/small")  # noqa: S605
