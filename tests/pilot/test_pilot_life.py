"""A pilot's life: start-up, several jobs, empty polls, exit codes, the one-file archive."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from patience import PATIENCE_SECONDS

from bamboo.pilot.build import build
from bamboo.pilot.options import parse
from bamboo.tests.pilot.scripted_server import QUEUE, ScriptedServer, job


def test_jobs_follow_each_other_within_the_timefloor(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    server.script.queue["timefloor"] = 5
    server.script.jobs += [job(1), job(2, jobPars="-c 'exit 1'"), job(3)]
    assert run_pilot() == 0
    assert [server.final(pandaid)["job_status"] for pandaid in (1, 2, 3)] == ["finished", "failed", "finished"]


def test_without_timefloor_there_is_one_job(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    server.script.jobs += [job(1), job(2)]
    assert run_pilot() == 0
    assert {report["job_id"] for report in server.updates()} == {1}


def test_empty_answers_are_counted(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    assert run_pilot("-v", "3", "--poll-seconds", "0.05") == 0
    assert len(server.calls) == 3
    assert len({call.headers["Idempotency-Key"] for call in server.calls}) == 3


def test_what_is_asked_for(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    server.script.queue["maxwdir"] = 10
    run_pilot("-r", "RES", "--resource-type", "SCORE", "-l", "1000", HARVESTER_WORKER_ID="12", HARVESTER_ID="h")
    asked = server.calls[0].body
    assert asked["site_name"] == "RES"
    assert asked["computing_element"] == QUEUE
    assert asked["prod_source_label"] == "user"
    assert asked["disk_space"] == 10
    assert asked["resource_type"] == "SCORE"
    assert 990 <= asked["remaining_time"] <= 1000
    assert (asked["worker_id"], asked["harvester_id"], asked["scheduler_id"]) == (12, "h", "h")
    assert isinstance(asked["memory"], int)


@pytest.mark.parametrize(
    ("queue", "exit_code"), [({"state": "NOTACTIVE"}, 78), ({"status": "offline"}, 83), ([], 72), ("gone", 71)]
)
def test_queues_that_cannot_be_served(
    queue: object, exit_code: int, server: ScriptedServer, run_pilot: Callable[..., int]
) -> None:
    if queue == "gone":
        assert run_pilot("--queuedata-url", f"{server.url}/nothing/{{pandaqueue}}") == exit_code
    elif isinstance(queue, dict):
        server.script.queue.update(queue)
        assert run_pilot() == exit_code
    else:
        server.script.queue = {}
        assert run_pilot() == exit_code
    assert server.calls == []


def test_https_with_a_certificate_of_ones_own(
    https_server: tuple[ScriptedServer, Path], start_pilot: Callable[..., subprocess.Popen[str]]
) -> None:
    server, certificate = https_server
    server.script.jobs.append(job(1))
    assert start_pilot("--url", server.url, "--cacert", str(certificate)).wait(PATIENCE_SECONDS) == 0
    assert server.final()["job_status"] == "finished"
    assert start_pilot("--url", server.url).wait(PATIENCE_SECONDS) == 71


def test_a_pilot_that_is_not_let_in_says_so(
    server: ScriptedServer, run_pilot: Callable[..., int], tmp_path: Path
) -> None:
    server.script.forbidden = True
    assert run_pilot("-x", "2", "--poll-seconds", "0.05") == 79
    assert len(server.calls) == 2
    assert "HTTP 403" in (tmp_path / "pilot0.err").read_text()


def test_an_unusable_work_directory_is_said_so(run_pilot: Callable[..., int]) -> None:
    assert run_pilot("-a", "/proc/nowhere") == 66


def test_a_transformation_is_downloaded_once(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    server.script.files["/trf/user/tell"] = b'#!/bin/bash\necho "$1|$2"\n'
    url = f"{server.url}/trf/user/tell"
    server.script.jobs += [job(number, transformation=url, jobPars='-p "$HOME;%20ls && x" last') for number in (1, 2)]
    assert run_pilot("--timefloor", "5") == 0
    assert server.final(2)["stdout"] == "-p|$HOME;%20ls && x\n"


def test_unknown_and_impossible_options_are_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    for argv, words in (
        (["-q", "Q", "--no-such"], "--no-such"),
        (["-q", "Q", "-z"], "-z is not supported"),
        (["-q", "Q", "--url", "ftp://x", "--kill-grace", "0"], "--kill-grace must be positive"),
        ([], "-q"),
    ):
        with pytest.raises(SystemExit) as caught:
            parse(argv)
        assert caught.value.code == 2
        assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "url"),
    [
        (["--url", "http://h", "-p", "5"], "http://h:5"),
        (["--url", "http://h:7", "-p", "5"], "http://h:7"),
        (["--url", "h"], "https://h:25443"),
        (["--url", "http://h/base/"], "http://h:25080/base"),
    ],
)
def test_server_address(argv: list[str], url: str) -> None:
    assert parse(["-q", "Q", *argv]).base_url == url


def test_older_start_scripts_options_are_accepted() -> None:
    line = "-q Q -a W -d -w generic -l 10 -r R -s S -j user -i PR -t -u -b -y -k -v 1 -x 1 --pilot-user generic"
    options = parse([*line.split(), "--allow-same-user", "False", "--working-group", "wg", "--cleanup", "False"])
    assert (options.workdir, options.lifetime, options.working_group) == (Path("W"), 10, "wg")


def test_the_archive_runs_on_a_bare_interpreter(
    server: ScriptedServer, run_pilot: Callable[..., int], tmp_path: Path
) -> None:
    extra = tmp_path / "gopher.py"
    extra.write_text(
        "SCHEMES = ('gopher',)\ndef fetch(source, target, guard):\n    target.write_text('from the hole')\n"
    )
    archive = build(tmp_path / "pilot.pyz", [extra])
    assert archive.stat().st_size < 2_000_000
    assert not [name for name in zipfile.ZipFile(archive).namelist() if "sql" in name or "build" in name]
    server.script.queue["acopytools"] = {"read_lan": ["gopher"]}
    server.script.jobs.append(job(1, jobPars="-c 'cat in'", inFiles="in", inURLs="gopher://x/in"))
    assert run_pilot(program=("-S", "-E", "-s", str(archive))) == 0
    assert server.final()["stdout"] == "from the hole"


def test_the_archive_can_be_built_from_the_command_line(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "bamboo.pilot.build", str(tmp_path / "p.pyz")], check=True)
    told = subprocess.run(
        [sys.executable, str(tmp_path / "p.pyz"), "--help"], capture_output=True, text=True, check=True
    )
    assert "accepted for older start scripts, no effect" in told.stdout
