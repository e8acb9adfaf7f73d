"""`bamboo job`, `bamboo dataset`, `bamboo queue` and `bamboo completion`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bamboo.tests.client.client_harness import Bamboo, Request, ScriptedServer, ok

JOB = {
    "PandaID": 77,
    "jediTaskID": 7,
    "jobStatus": "failed",
    "computingSite": "LOCAL",
    "attemptNr": 2,
    "creationTime": {"__datetime__": "2026-03-01T12:00:00"},
    "pilotErrorCode": 1305,
    "pilotErrorDiag": "exit 1",
    "exeErrorCode": 0,
    "maxRSS": 2048,
    "parameters": '-p "run"',
    "files": [{"lfn": "in.csv", "type": "input", "fsize": 12, "url": "file:///in.csv", "status": "ready"}],
    "events": [{"when": {"__datetime__": "2026-03-01T12:00:01"}, "old": "sent", "new": "running", "actor": "server"}],
}


def test_nothing_is_no_secret(server: ScriptedServer, bamboo: Bamboo) -> None:
    server.on("creds/set_user_secrets", ok("kept", "kept"))
    for given in ("", "\n"):
        ended = bamboo("secret", "set", "PASSWORD", stdin=given)
        assert ended.code == 2 and "no value" in ended.err
    assert server.requests == []
    assert bamboo("secret", "set", "PASSWORD", stdin="x\n").code == 0
    assert server.requests[0].body == {"key": "PASSWORD", "value": "x"}


def test_jobs_are_listed_page_by_page(server: ScriptedServer, bamboo: Bamboo) -> None:
    def page(request: Request) -> dict[str, Any]:
        after = int(request.query.get("after", 0))
        return ok([{**JOB, "PandaID": number} for number in range(after + 1, min(after + 3, 6))])

    server.on("job/list", page)
    ended = bamboo("job", "list", 7, "--status", "failed")
    assert ended.code == 0, ended.err
    assert [line.split()[0] for line in ended.out.splitlines()] == ["ID", "1", "2", "3", "4", "5"]
    assert "pilot 1305: exit 1" in ended.out
    assert server.requests[0].query == {"task_id": "7", "status": "failed", "limit": "101"}
    assert bamboo("job", "list", 7, "--limit", 3, "-q").out == "1\n2\n3\n"


def test_show_tells_everything_about_a_job(server: ScriptedServer, bamboo: Bamboo) -> None:
    server.on("job/get_detailed_info", ok(JOB))
    out = bamboo("job", "show", 77).out
    for words in ("job 77  task 7", "pilot 1305: exit 1", "2.0 MB", "in.csv", "sent → running", '-p "run"'):
        assert words in out
    assert bamboo("job", "show", 77, "--json").json["events"][0]["when"] == "2026-03-01T12:00:01+00:00"


def test_show_says_what_an_error_means_and_who_must_act(server: ScriptedServer, bamboo: Bamboo) -> None:
    fault = {"source": "pilot", "code": 1305, "diag": "exit 1", "who": "user", "meaning": "the payload ended"}
    server.on("job/get_detailed_info", ok({**JOB, "errors": [fault], "retryRule": "out-of-memory"}))
    lines = [line.strip() for line in bamboo("job", "show", 77).out.splitlines()]
    at = lines.index("error      pilot 1305: exit 1")
    assert lines[at + 1] == "the payload ended [user must act]"
    assert "retry rule out-of-memory" in lines


def test_files_are_added_to_a_dataset(server: ScriptedServer, bamboo: Bamboo, workdir: Path) -> None:
    server.on("dataset/add_files", ok({"added": 2, "known": 1}))
    (workdir / "d" / "deep").mkdir(parents=True)
    (workdir / "d" / "a.txt").write_text("a")
    (workdir / "d" / "deep" / "b.txt").write_text("b")
    (workdir / "d" / ".hidden").write_text("h")
    (workdir / "c d.txt").write_text("c")
    refused = bamboo("dataset", "add", "user.alice.d", "d", "c*.txt", "nothing*")
    assert refused.code == 8
    assert "nothing*" in refused.err
    assert "c d.txt" in bamboo("dataset", "add", "user.alice.d", "d", "c*.txt").err
    assert server.requests == []
    ended = bamboo("dataset", "add", "user.alice.d", "d")
    assert ended.out == "user.alice.d: 2 files added, 1 were there already\n"
    assert [file["lfn"] for file in server.requests[0].body["files"]] == ["a.txt", "b.txt"]


def test_two_files_of_one_name_are_refused(server: ScriptedServer, bamboo: Bamboo, workdir: Path) -> None:
    for folder in "xy":
        (workdir / folder).mkdir()
        (workdir / folder / "same").write_text(folder)
    ended = bamboo("dataset", "add", "user.alice.d", "x", "y")
    assert ended.code == 8
    assert "two files have this name" in ended.err


def test_a_manifest_names_files_elsewhere(server: ScriptedServer, bamboo: Bamboo) -> None:
    server.on("dataset/add_files", lambda request: ok({"added": len(request.body["files"]), "known": 0}))
    rows = [
        {"url": f"https://x/{number}", "lfn": f"f{number}", "size_bytes": 1, "adler32": "00320032"}
        for number in range(2500)
    ]
    text = "\n".join(map(json.dumps, rows))
    ended = bamboo("dataset", "add", "user.alice.d", "--manifest", "-", "--json", stdin=text)
    assert ended.json == {"dataset": "user.alice.d", "added": 2500, "known": 0}
    assert [len(request.body["files"]) for request in server.requests] == [1000, 1000, 500]
    broken = bamboo("dataset", "add", "user.alice.d", "--manifest", "-", stdin='{"url": 1}\nnonsense\n')
    assert broken.code == 8
    assert "line 1" in broken.err
    assert "line 2" in broken.err


def test_a_manifest_says_how_many_events_a_file_has(server: ScriptedServer, bamboo: Bamboo) -> None:
    server.on("dataset/add_files", lambda request: ok({"added": len(request.body["files"]), "known": 0}))
    row = {"url": "https://x/f", "lfn": "f", "size_bytes": 1, "adler32": "00320032"}
    for n_events in (10, 0):
        text = json.dumps({**row, "n_events": n_events})
        assert bamboo("dataset", "add", "user.alice.d", "--manifest", "-", stdin=text).code == 0
        assert server.requests[-1].body["files"] == [{**row, "n_events": n_events}]
    for wrong in ({"nEvents": 10}, {"n_events": "10"}, {"n_events": -1}):
        refused = bamboo("dataset", "add", "user.alice.d", "--manifest", "-", stdin=json.dumps({**row, **wrong}))
        assert (refused.code, "n_events" in refused.err) == (8, True)
    assert len(server.requests) == 2


def test_datasets_are_listed_and_fetched(server: ScriptedServer, bamboo: Bamboo, tmp_path: Path, workdir: Path) -> None:
    rows = [{"name": "user.alice.d", "nFiles": 1, "sizeBytes": 5, "status": "ready"}]
    server.on("dataset/list", lambda request: ok([] if "after" in request.query else rows))
    assert "5 B" in bamboo("dataset", "list", "user.*").out
    assert server.requests[0].query["pattern"] == "user.*"
    (tmp_path / "f 1.txt").write_text("hello")
    file = {"lfn": "f1.txt", "url": (tmp_path / "f 1.txt").as_uri(), "size_bytes": 5, "adler32": "062C0215"}
    server.on("dataset/get_files", lambda request: ok([] if "after" in request.query else [file]))
    assert bamboo("dataset", "files", "user.alice.d", "-q").out == "f1.txt\n"
    assert bamboo("dataset", "get", "user.alice.d").code == 0
    assert (workdir / "f1.txt").read_text() == "hello"


def test_queues_are_shown_and_changed(server: ScriptedServer, bamboo: Bamboo) -> None:
    queue = {"nickname": "LOCAL", "status": "online", "corecount": 2, "maxrss": 4000, "jobs": {"running": 2}}
    server.on("queue/list", ok([queue, {**queue, "nickname": "OFF", "status": "offline"}]))
    assert bamboo("queue", "list", "-q", "--status", "online").out == "LOCAL\n"
    assert "2 running" in bamboo("queue", "list").out
    server.on("queue/get", ok(queue))
    assert "maxrss" in bamboo("queue", "show", "LOCAL").out
    server.on("queue/set", ok(None, "queue LOCAL changed"))
    ended = bamboo("queue", "set", "LOCAL", "status=offline", "maxrss=8000")
    assert ended.out == "LOCAL: queue LOCAL changed\n"
    assert server.asked("queue/set")[0].body == {"queue": "LOCAL", "attributes": {"status": "offline", "maxrss": 8000}}
    assert bamboo("queue", "unset", "LOCAL", "status").out == "LOCAL: queue LOCAL changed\n"
    assert server.asked("queue/set")[1].body == {"queue": "LOCAL", "attributes": {}, "unset": ["status"]}


def test_a_queue_is_removed(server: ScriptedServer, bamboo: Bamboo) -> None:
    server.on("queue/remove", ok(None, "queue Q is removed"))
    assert bamboo("queue", "remove", "Q").out == "Q: queue Q is removed\n"
    assert server.asked("queue/remove")[0].body == {"queue": "Q"}


def test_a_queue_says_where_its_values_are_from_and_its_history(server: ScriptedServer, bamboo: Bamboo) -> None:
    row = {"nickname": "Q", "status": "online", "maxrss": 4, "jobs": {}, "origins": {"maxrss": "set by hand"}}
    server.on("queue/get", ok(row))
    lines = bamboo("queue", "show", "Q").out.splitlines()
    assert [line.split(maxsplit=2) for line in lines if "maxrss" in line] == [["maxrss", "4", "set by hand"]]
    assert not [line for line in lines if line.startswith("origins")]
    change = {"at": "2026-01-01T00:00:00+00:00", "actor": "bob", "what": "set", "source": None}
    server.on("queue/history", ok([{**change, "before": {"maxrss": 2}, "after": {"maxrss": 4, "catchall": "x" * 50}}]))
    shown = bamboo("queue", "history", "Q").out
    assert "bob" in shown
    assert f"catchall none → {'x' * 39}…, maxrss 2 → 4" in shown


def test_completion_knows_the_commands(bamboo: Bamboo) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_BAMBOO_COMPLETE" in bamboo("completion", shell).out
    offered = bamboo(_BAMBOO_COMPLETE="bash_complete", COMP_WORDS="bamboo task fi", COMP_CWORD="2")
    assert offered.out == "plain,finish\n"
