"""The Python API against a scripted server."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import bamboo.client
from bamboo.client import Client, TaskInfo, TaskSpec
from bamboo.client.errors import BadReply, Refused, WaitTimedOut
from bamboo.client.identity import Identity, server_url
from bamboo.core.errors import Invalid
from bamboo.tests.client.client_harness import MakeRow, ScriptedServer, no, ok


@pytest.fixture
def client(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Client:
    for name in ("BAMBOO_TOKEN", "PANDA_AUTH_ID_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return bamboo.client.connect(server.url, user="alice")


def test_a_spec_becomes_a_task(server: ScriptedServer, client: Client, row: MakeRow) -> None:
    server.on("task/submit", ok(10000001, "jediTaskID=10000001"))
    server.on("task/get_detailed_info", ok(row()), ok(row(status="done", nFilesFinished=100)))
    task = client.submit(TaskSpec(exec="true", n_jobs=2))
    seen: list[TaskInfo] = []
    assert task.wait(on_progress=seen.append).is_success
    assert [info.status for info in seen] == ["running", "done"]
    assert repr(task) == "<Task 10000001 done (all 100 inputs)>"
    submitted = server.asked("task/submit")[0].body["task_parameters"]
    assert submitted["taskName"].startswith("user.alice.")
    assert not any("jobO" in item["value"] for item in submitted["jobParameters"])


@pytest.mark.parametrize("name", ["outputs", "in_ds", "match", "site", "in_files"])
def test_one_text_for_several_is_refused(server: ScriptedServer, client: Client, name: str) -> None:
    """Its letters were taken for names of files."""
    given: dict[str, Any] = {"outputs": ("x.txt",), name: "x.txt"}
    with pytest.raises(Invalid) as caught:
        client.run("true", **given)
    ((where, what, do),) = [(fault.where, fault.what, fault.do) for fault in caught.value.faults]
    assert (where, what, do) == (name, "'x.txt' is one text, several are wanted", f"write {name}=('x.txt',)")
    assert server.requests == []


def test_a_task_that_was_there_says_so(server: ScriptedServer, client: Client) -> None:
    server.on("task/submit", ok(7, "succeeded. new jediTaskID=7"))
    parameters = {"taskName": "a"}
    assert not client.submit(parameters).taken_up_again
    server.on("task/submit", ok(7, "reactivation accepted. jediTaskID=7 (currently in done state)"))
    assert client.submit(parameters).taken_up_again
    assert client.run("true", outputs=("x.txt",)).taken_up_again
    assert client.submit_parameters(parameters) == 7


def test_parameters_in_pandas_form_go_as_they_are(server: ScriptedServer, client: Client) -> None:
    server.on("task/submit", ok(7, ""))
    assert client.submit({"taskName": "x"}, parent_tid=3).task_id == 7
    assert server.requests[0].body == {"task_parameters": {"taskName": "x"}, "parent_tid": 3}


def test_run_packs_and_registers(server: ScriptedServer, client: Client, tmp_path: Path) -> None:
    server.on("file_server/validate_cache_file", ok(None, "FOUND:h:jobO.known.tar.gz"))
    server.on("dataset/add_files", ok({"added": 1, "known": 0}))
    server.on("task/submit", ok(7, ""))
    (tmp_path / "in.txt").write_text("x")
    task = client.run("cat %IN", work_dir=tmp_path, in_files=[str(tmp_path / "in.txt")], n_files_per_job=1)
    assert task.task_id == 7
    assert [request.path.rpartition("/")[2] for request in server.requests] == [
        "validate_cache_file",
        "add_files",
        "submit",
    ]
    with pytest.raises(TypeError):
        client.run("true", n_job=3)


def test_a_bad_spec_never_leaves(server: ScriptedServer, client: Client) -> None:
    with pytest.raises(Invalid):
        client.submit(TaskSpec(exec="true", out_ds="user.bob.x"))
    assert server.requests == []


def test_a_build_of_nothing_never_leaves(server: ScriptedServer, client: Client) -> None:
    with pytest.raises(Invalid) as raised:
        client.submit(TaskSpec(exec="true", bexec="make", outputs=("x",), merge_output=True, merge_script="m.sh"))
    assert [fault.where for fault in raised.value.faults] == ["bexec", "mergeScript"]
    assert server.requests == []


def test_inputs_of_one_name_never_leave(server: ScriptedServer, client: Client, tmp_path: Path) -> None:
    for folder in "xy":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same").write_text(folder)
    with pytest.raises(Invalid, match="two files have this name"):
        client.run("true", in_files=[str(tmp_path)])
    assert server.requests == []


def test_refusals_carry_what_the_server_said(server: ScriptedServer, client: Client) -> None:
    server.on("task/pause", no("it is done", code="BAM-STATE-001", status=409, request_id="r1"))
    with pytest.raises(Refused) as raised:
        client.command("pause", 7)
    error = raised.value
    assert (error.message, error.code, error.status, error.request_id) == ("it is done", "BAM-STATE-001", 409, "r1")


def test_a_submission_without_an_id_is_an_error(server: ScriptedServer, client: Client) -> None:
    server.on("task/submit", ok(None, "fine"))
    with pytest.raises(BadReply, match="named no id"):
        client.submit({"taskName": "x"})


def test_waiting_has_an_end(server: ScriptedServer, client: Client, row: MakeRow) -> None:
    server.on("task/get_detailed_info", ok(row()))
    with pytest.raises(WaitTimedOut):
        client.task(7).wait(timeout_seconds=0)


def test_rows_are_read_forgivingly(server: ScriptedServer, client: Client) -> None:
    server.on(
        "task/get_detailed_info",
        ok({"jediTaskID": "7", "status": "ready", "nFiles": "12", "creationDate": "2026-03-01 12:00:00", "jobs": None}),
    )
    info = client.task_info(7)
    assert (info.task_id, info.n_files, info.jobs) == (7, 12, {})
    assert info.created and info.created.isoformat() == "2026-03-01T12:00:00+00:00"
    assert info.error == ""


def test_listings_end_even_if_the_server_never_does(server: ScriptedServer, client: Client) -> None:
    server.on("dataset/get_files", ok([{"lfn": "a"}]))
    assert [file.lfn for file in client.files("d")] == ["a", "a"]
    assert [file.lfn for file in client.files("d", limit=1)] == ["a"]


def test_identity_comes_from_the_environment() -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"preferred_username": "al.ice"}).encode()).rstrip(b"=").decode()
    found = Identity.find(environ={"BAMBOO_USER": "Bob", "BAMBOO_TOKEN": f"x.{claims}.y\n"})
    assert found.headers["Authorization"] == f"Bearer x.{claims}.y"
    assert found.nickname == "alice"
    assert Identity.find(environ={"BAMBOO_USER": "Bob B@x"}).nickname == "BobBx"
    assert Identity.find("eve", environ={"BAMBOO_USER": "Bob"}).headers == {"X-Bamboo-User": "eve"}
    assert Identity("u", "not.a.token").nickname == "u"


@pytest.mark.parametrize(
    "environ", [{"BAMBOO_USER": "Łukasz"}, {"BAMBOO_USER": "a\nb"}, {"BAMBOO_USER": "a", "BAMBOO_TOKEN": "a\nb"}]
)
def test_an_identity_that_no_header_can_carry(environ: dict[str, str]) -> None:
    with pytest.raises(Invalid, match="cannot be sent in a header"):
        Identity.find(environ=environ)


def test_the_address_comes_from_the_environment() -> None:
    assert server_url(environ={}) == "http://127.0.0.1:25080"
    assert server_url(environ={"BAMBOO_URL": "https://h:1/server/panda"}) == "https://h:1"
    assert server_url("http://x", environ={"BAMBOO_URL": "https://h"}) == "http://x"


def test_the_package_offers_what_it_lists() -> None:
    assert all(getattr(bamboo.client, name).__name__ == name for name in bamboo.client.__all__)
    with pytest.raises(AttributeError):
        _ = bamboo.client.nothing


HELP = """
import sys
import click.testing
from bamboo.client.cli import COMMANDS
from bamboo.client.cli.lazy import LazyGroup
root = LazyGroup("bamboo", lazy=COMMANDS)
for words in ([], ["task"], ["job"], ["dataset"], ["queue"], ["run"], ["task", "kill"]):
    result = click.testing.CliRunner().invoke(root, [*words, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage: bamboo" in result.output
print(*sys.modules)
"""


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "bamboo.client.cli.run" in loaded
    assert not loaded & {"rich", "requests", "urllib3", "pydantic", "sqlalchemy", "flask"}
