"""`bamboo task …` against a scripted server: what is shown, what is done, how it ends."""

from __future__ import annotations

import io
import signal
import tarfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE_SECONDS

from bamboo.tests.client.client_harness import Answer, Bamboo, MakeRow, Request, ScriptedServer, Start, no, ok, poll

FINISHED: dict[str, Any] = {
    "status": "finished",
    "nFilesFinished": 87,
    "nFilesFailed": 13,
    "jobs": {"finished": 87, "failed": 13},
    "datasets": [
        {
            "datasetID": 1,
            "name": "user.alice.in",
            "type": "input",
            "status": "done",
            "nFiles": 100,
            "nFilesFinished": 87,
        },
        {"datasetID": 2, "name": "user.alice.x_o.txt/", "type": "output", "status": "done", "nFiles": 87},
        {"datasetID": 3, "name": "user.alice.x.log/", "type": "log", "status": "done", "nFiles": 100},
    ],
    "errors": [{"code": "1305", "source": "pilot", "diag": "exit 1", "count": 13, "example_job": 77, "who": "you"}],
    "decisions": [
        {
            "when": {"__datetime__": "2026-03-01T12:00:01+00:00"},
            "actor": "broker",
            "what": "chose LOCAL",
            "why": "it is free",
        }
    ],
    "notifications": [
        {
            "when": {"__datetime__": "2026-03-01T12:30:00+00:00"},
            "state": "exhausted",
            "delivery": "told",
            "how": "mailed to alice@example.org",
            "attempts": 1,
            "toldAt": {"__datetime__": "2026-03-01T12:31:00+00:00"},
        },
        {
            "when": {"__datetime__": "2026-03-01T13:00:00+00:00"},
            "state": "finished",
            "delivery": "waiting",
            "how": "the mail server is away",
            "attempts": 2,
            "nextTryAt": {"__datetime__": "2026-03-01T13:10:00+00:00"},
        },
        {"state": "done", "delivery": "given_up", "how": "no such address", "attempts": 10},
    ],
    "events": [
        {
            "when": {"__datetime__": "2026-03-01T12:00:02+00:00"},
            "old": "ready",
            "new": "running",
            "actor": "adder",
            "why": "x",
        }
    ],
}


def test_show_makes_the_state_plain(server: ScriptedServer, bamboo: Bamboo, row: MakeRow) -> None:
    server.on("task/get_detailed_info", ok(row(**FINISHED)))
    ended = bamboo("task", "show", 10000001)
    assert ended.code == 0, ended.err
    for words in (
        "finished (partial: 87 of 100 inputs)",
        "a part of the inputs was processed",
        "user.alice.x_o.txt/",
        "13 jobs: pilot 1305: exit 1 [you must act]",
        "bamboo job log 77",
        "chose LOCAL",
        "2026-03-01 12:00:00",
        "2026-03-01 12:31:00",
        "mailed to alice@example.org",
        "waiting after 2 attempts, next at 2026-03-01 13:10:00",
        "given up after 10 attempts",
    ):
        assert words in ended.out
    assert server.asked("task/get_detailed_info")[0].query == {"task_id": "10000001"}


def test_show_as_json_is_one_object_or_a_list(server: ScriptedServer, bamboo: Bamboo, row: MakeRow) -> None:
    server.on("task/get_detailed_info", lambda request: ok(row(int(request.query["task_id"]))))
    one = bamboo("task", "show", 7, "--json").json
    assert (one["jediTaskID"], one["creationDate"]) == (7, "2026-03-01T12:00:00+00:00")
    two = bamboo("task", "show", "--json", "-", stdin="7 8\n7\n").json
    assert [each["jediTaskID"] for each in two] == [7, 8]
    assert bamboo("task", "show", 7, 8, "-q").out == "7\n8\n"


def test_why_tells_decisions_and_steps(server: ScriptedServer, bamboo: Bamboo, row: MakeRow) -> None:
    server.on("task/get_detailed_info", ok(row(**FINISHED)))
    ended = bamboo("task", "why", 7)
    for words in ("broker", "it is free", "ready → running", "Task Commando, on retry or reload_input"):
        assert words in ended.out
    assert bamboo("task", "why", 7, "--json").json["decisions"][0]["actor"] == "broker"


def test_text_from_the_server_cannot_drive_the_terminal(server: ScriptedServer, bamboo: Bamboo, row: MakeRow) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\u202eevil\x9b31m"
    server.on(
        "task/get_detailed_info",
        ok(row(taskName=evil, status=evil, errorDialog=evil, decisions=[{"actor": evil, "why": "a\nb"}])),
    )
    for words in (("show",), ("why",), ("show", "--json"), ("why", "--json")):
        out = bamboo("task", *words, 7).out
        assert "evil" in out
        assert not any(char in out for char in "\x1b\x07\u202e\x9b")


def test_list_filters_and_fields(server: ScriptedServer, bamboo: Bamboo, row: MakeRow) -> None:
    rows = [row(1), row(2, status="done")]
    server.on("task/get_tasks_detailed_info_since", lambda asked: ok([] if "before" in asked.query else rows))
    ended = bamboo("task", "list", "--status", "done,failed", "--user", "bob", "--since", "2026-01-02", "--limit", 5)
    lines = ended.out.splitlines()
    assert lines[0].split() == ["ID", "NAME", "USER", "STATE", "CREATED", "(UTC)"]
    assert "done (all 100 inputs)" in lines[2]
    assert server.requests[0].query == {
        "n_tasks": "6",
        "since": "2026-01-02 00:00:00",
        "filters": '{"status": "done|failed", "userName": "bob"}',
    }
    short = bamboo("task", "list", "--limit", 1, "-q")
    assert short.out == "1\n"
    assert "only the first 1 are shown" in short.err
    chosen = bamboo("task", "list", "--fields", "jediTaskID,status").out
    assert [line.split() for line in chosen.splitlines()] == [["jediTaskID", "status"], ["1", "running"], ["2", "done"]]
    assert bamboo("task", "list", "--fields", "status", "--json").json == [{"status": "running"}, {"status": "done"}]
    assert bamboo("task", "list", "-q").out == "1\n2\n"
    mistyped = bamboo("task", "list", "--status", "don")
    assert mistyped.code == 2
    assert "did you mean 'done'?" in mistyped.err
    unknown = bamboo("task", "list", "--fields", "stat")
    assert unknown.code == 8
    assert "there is no 'stat'" in unknown.err


def test_wait_tells_by_its_exit_code_how_it_ended(server: ScriptedServer, bamboo: Bamboo, row: MakeRow) -> None:
    server.on("task/get_detailed_info", ok(row()), ok(row()), ok(row(status="done")))
    done = bamboo("task", "wait", 7)
    assert (done.code, done.out) == (0, "task 7 done (all 100 inputs)\n")
    server.on("task/get_detailed_info", ok(row(**FINISHED)))
    assert bamboo("task", "wait", 7, "--json").json["nFilesFinished"] == 87
    assert bamboo("task", "wait", 7).code == 10
    server.on("task/get_detailed_info", ok(row()))
    late = bamboo("task", "wait", 7, "--timeout", "0.3")
    assert late.code == 11
    assert "not over after" in late.err


def test_wait_waits_for_commands_that_are_not_carried_out_yet(
    server: ScriptedServer, bamboo: Bamboo, row: MakeRow
) -> None:
    """A task that was over and is taken up again is in its old state until the command is carried out."""
    over = row(status="done", pendingCommands=["incexec"])
    server.on("task/get_detailed_info", ok(over), ok(over), ok(row(status="defined")), ok(row(status="finished")))
    followed = bamboo("task", "watch", 7)
    assert (followed.code, followed.out) == (10, "task 7 finished (partial: 40 of 100 inputs)\n"), followed.err
    assert "done (all 100 inputs); reload is to be carried out" in followed.err


def test_wait_outlives_a_server_that_restarts(server: ScriptedServer, bamboo: Bamboo, row: MakeRow) -> None:
    away = Answer("busy", 502)
    server.on("task/get_detailed_info", ok(row()), away, away, ok(row(status="done")))
    assert bamboo("task", "wait", 7).code == 0


@pytest.mark.parametrize("verb", ["wait", "watch"])
def test_ctrl_c_leaves_the_task_alone(server: ScriptedServer, start: Start, row: MakeRow, verb: str) -> None:
    server.on("task/get_detailed_info", ok(row()))
    process = start("task", verb, 7)
    poll(lambda: len(server.requests) >= 2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    assert "task 7" in err
    assert {request.method for request in server.requests} == {"GET"}


@pytest.mark.parametrize(
    ("words", "path", "body"),
    [
        (("kill",), "kill", {}),
        (("finish",), "finish", {}),
        (("finish", "--soft"), "finish", {"soft": True}),
        (("retry",), "retry", {}),
        (
            ("retry", "--set", "ramCount=4000", "--set", "site=A"),
            "retry",
            {"new_parameters": {"ramCount": 4000, "site": "A"}},
        ),
        (("pause",), "pause", {}),
        (("resume",), "resume", {}),
        (("avalanche",), "avalanche", {}),
        (("reload",), "reload_input", {}),
    ],
)
def test_each_command_is_sent_as_the_server_expects_it(
    server: ScriptedServer, bamboo: Bamboo, row: MakeRow, words: tuple[str, ...], path: str, body: dict[str, Any]
) -> None:
    server.on("task/get_detailed_info", ok(row()))
    server.on(f"task/{path}", ok(0, "command is registered"))
    ended = bamboo("task", *words, 7)
    assert (ended.code, ended.out) == (0, "task 7: command is registered\n")
    assert server.asked(f"task/{path}")[0].body == {"task_id": 7, **body}


def test_destructive_commands_say_what_they_hit(server: ScriptedServer, bamboo: Bamboo, row: MakeRow) -> None:
    server.on("task/get_detailed_info", ok(row(jobs={"running": 3, "activated": 2, "finished": 9})))
    server.on("task/kill", ok(0, "ok"))
    ended = bamboo("task", "kill", 7, 8)
    assert "kill 2 tasks with 10 unfinished jobs" in ended.err
    assert "running (40 of 100 inputs done)" in ended.err


def test_one_refusal_does_not_keep_the_others_from_theirs(server: ScriptedServer, bamboo: Bamboo) -> None:
    done = no("task 2 is done", code="BAM-STATE-001", status=409)
    server.on("task/pause", lambda request: done if request.body["task_id"] == 2 else ok(0, "paused"))
    ended = bamboo("task", "pause", 1, 2, 3, "--json")
    assert ended.code == 9
    assert [answer["success"] for answer in ended.json] == [True, False, True]
    assert "BAM-STATE-001" in ended.err
    assert bamboo("task", "pause", 2, 2).code == 7
    assert bamboo("task", "pause", 1, 2, "-q").out == "1\n"


def output_files(server: ScriptedServer, files: dict[str, bytes], base: str) -> None:
    def answer(request: Request) -> dict[str, Any]:
        rows = [
            {
                "lfn": lfn,
                "url": f"{base}/{lfn}",
                "size_bytes": len(content),
                "adler32": f"{zlib.adler32(content):08x}",
                "scope": "user.alice",
            }
            for lfn, content in sorted(files.items())
            if lfn > request.query.get("after", "")
        ]
        assert request.query["dataset"] == "user.alice.x_o.txt/"
        return ok(rows[:2])

    server.on("dataset/get_files", answer)


def test_outputs_are_listed_and_copied(
    server: ScriptedServer, bamboo: Bamboo, row: MakeRow, tmp_path: Path, workdir: Path
) -> None:
    server.on("task/get_detailed_info", ok(row(**FINISHED)))
    files = {f"o{number}.txt": f"content {number}".encode() for number in range(5)}
    store = tmp_path / "store"
    store.mkdir()
    for lfn, content in files.items():
        (store / lfn).write_bytes(content)
    output_files(server, files, store.as_uri())
    assert bamboo("task", "outputs", 7, "-q").out.split() == sorted(files)
    listing = bamboo("task", "outputs", 7)
    assert f"{zlib.adler32(b'content 3'):08x}" in listing.out
    copied = bamboo("task", "outputs", 7, "--dest", "got")
    assert copied.code == 0, copied.err
    assert {path.name: path.read_bytes() for path in (workdir / "got").iterdir()} == files
    again = bamboo("task", "outputs", 7, "--dest", "got", "--json")
    assert "copied 0 files to got; there already: 5; failed: 0" in again.err
    assert again.json[0]["path"] == "got/o0.txt"


def test_a_damaged_copy_is_not_kept(server: ScriptedServer, bamboo: Bamboo, row: MakeRow, workdir: Path) -> None:
    server.on("task/get_detailed_info", ok(row(**FINISHED)))
    output_files(server, {"good": b"good", "rotten": b"right"}, f"{server.url}/store")
    server.on("/store/good", Answer(b"good"))
    server.on("/store/rotten", Answer(b"wrong"))
    ended = bamboo("task", "outputs", 7, "--dest", "got")
    assert ended.code == 9
    assert "rotten: adler32" in ended.err
    assert [path.name for path in (workdir / "got").iterdir()] == ["good"]


def test_a_file_name_cannot_leave_the_folder(
    server: ScriptedServer, bamboo: Bamboo, row: MakeRow, workdir: Path
) -> None:
    server.on("task/get_detailed_info", ok(row(**FINISHED)))
    output_files(server, {"../evil": b"evil"}, f"{server.url}/store")
    assert bamboo("task", "outputs", 7, "--dest", "got").code == 8
    assert list(workdir.iterdir()) == []


def log_archive(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"PanDA_Pilot-77/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def scripted_job(server: ScriptedServer, log: bytes) -> None:
    server.on("/logs/77.tgz", Answer(log))
    server.on(
        "job/get_detailed_info",
        ok(
            {
                "PandaID": 77,
                "jediTaskID": 7,
                "jobStatus": "failed",
                "computingSite": "LOCAL",
                "pilotErrorCode": 1305,
                "pilotErrorDiag": "exit 1",
                "transExitCode": "0",
                "files": [{"lfn": "77.tgz", "type": "log", "url": f"{server.url}/logs/77.tgz", "fsize": len(log)}],
                "stdoutTail": "last words\x1b[2J",
            }
        ),
    )


def test_logs_shows_a_failed_job_first(server: ScriptedServer, bamboo: Bamboo) -> None:
    scripted_job(server, log_archive({"payload.stdout": b"out\n", "payload.stderr": b"err\n", "pilotlog.txt": b"p\n"}))
    server.on("job/list", ok([{"PandaID": 77, "jobStatus": "failed"}]))
    ended = bamboo("task", "logs", 7)
    assert ended.out == "==> payload.stdout <==\nout\n==> payload.stderr <==\nerr\n"
    assert "job 77 failed at LOCAL: pilot 1305: exit 1" in ended.err
    assert server.asked("job/list")[0].query["status"] == "failed"
    assert bamboo("job", "log", 77, "--file", "pilotlog.txt").out == "p\n"
    assert bamboo("job", "log", 77, "--list", "-q").out.split() == [
        "PanDA_Pilot-77/payload.stderr",
        "PanDA_Pilot-77/payload.stdout",
        "PanDA_Pilot-77/pilotlog.txt",
    ]
    assert bamboo("job", "log", 77, "--file", "nothing").code == 3


def test_a_job_without_a_log_still_has_its_last_words(server: ScriptedServer, bamboo: Bamboo) -> None:
    scripted_job(server, b"")
    server.on("/logs/77.tgz", Answer("gone", 404))
    ended = bamboo("job", "log", 77)
    assert (ended.code, ended.out) == (0, "last words[2J\n")
    assert "the last output its pilot sent" in ended.err


def test_a_log_that_is_no_archive_is_an_error(server: ScriptedServer, bamboo: Bamboo) -> None:
    scripted_job(server, b"this is not a tar file")
    ended = bamboo("job", "log", 77)
    assert ended.code == 1
    assert "cannot be read" in ended.err
