"""What users do with their tasks in pbook and scripts in panda_api. pbook always ends with 0: its words count."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from panda import PandaClient, token_of
from patience import eventually
from scenarios import SCENARIOS, Site

from bamboo.client import Task

#: Fails until the user has put things right.
REPAIRED = "test -e {0} && echo repaired > x.txt"
ONE_FILE = ("--outputs", "x.txt", "--noBuild")


@pytest.fixture(scope="module")
def site(start_site: Callable[..., Site], sqlite_module_url: str) -> Site:
    return start_site(sqlite_module_url, "--pilots", "2")


@pytest.fixture
def alice(site: Site, panda_client: Callable[..., PandaClient]) -> PandaClient:
    return panda_client(site)


@pytest.fixture
def submit(alice: PandaClient, request: pytest.FixtureRequest) -> Callable[..., int]:
    """Submits a task that is called as its test."""

    def _submit(command: str, *options: str) -> int:
        name = re.sub(r"\W+", "_", request.node.name)
        return alice.prun("--exec", command, *ONE_FILE, "--outDS", f"user.alice.{name}", *options)

    return _submit


def n_running(site: Site, task: int) -> int:
    return site.client.task_info(task).jobs.get("running", 0)


def test_listings(alice: PandaClient, site: Site, submit: Callable[..., int]) -> None:
    task = submit("echo hello > x.txt")
    assert site.end_of(task) == "done"
    row = re.compile(rf"{task}\s+{task}\s+done\s+100%\s+user\.alice\.test_listings/")
    for words in (("show",), ("show", str(task)), ("show", "--status=done"), ("show", f"--jeditaskid={task}")):
        assert row.search(alice.pbook(*words)), words
    assert row.search(alice.pbook("show", "--taskname=user.alice.test_listings/"))
    assert not row.search(alice.pbook("show", "--status=failed"))
    assert not row.search(alice.pbook("show", "run"))
    assert row.search(alice.pbook("show", "fin"))
    long = alice.pbook("showl", str(task))
    assert str(task) in long
    assert "1|0|1" in re.sub(r"\s+", "", long), long
    assert "user.alice.test_listings" in alice("pbook", stdin="show()\n")


def test_kill(alice: PandaClient, site: Site, submit: Callable[..., int]) -> None:
    task = submit("sleep 100")
    eventually(lambda: n_running(site, task), "the job to run")
    assert "will be killed" in alice.pbook("kill", str(task))
    assert site.end_of(task) == "aborted"
    site.check_books(task)


def test_nobody_else_may_kill_it(alice: PandaClient, site: Site, submit: Callable[..., int], tmp_path: Path) -> None:
    task = submit("echo hello > x.txt")
    bob = PandaClient(site.system, tmp_path / "bob", token_of(site.system, "bob"))
    for verb in ("kill", "finish", "retry"):
        assert "Alice" in bob.pbook(verb, str(task)), verb
    assert str(task) not in bob.pbook("show")
    assert site.end_of(task) == "done"


def test_finish(alice: PandaClient, site: Site, submit: Callable[..., int]) -> None:
    """Running jobs are stopped, and what is done counts."""
    task = submit("test %RNDM:0 = 1 || sleep 100; echo hello > x.txt", "--nJobs", "2")
    eventually(lambda: site.client.task_info(task).n_files_finished, "the first job to be finished")
    assert "will be finished soon" in alice.pbook("finish", str(task))
    assert site.end_of(task) == "finished"
    site.check_books(task)


def test_finish_softly(alice: PandaClient, site: Site, submit: Callable[..., int], tmp_path: Path) -> None:
    """Running jobs come to their end, and no more are started."""
    go = tmp_path / "go"
    task = submit(f"until test -e {go}; do sleep 0.1; done; echo hello > x.txt")
    eventually(lambda: n_running(site, task), "the job to run")
    assert "will be finished soon" in alice.pbook("finish", str(task), "--soft")
    go.touch()
    assert site.end_of(task) == "done"
    assert site.contents("user.alice.test_finish_softly_x.txt") == ["hello\n"]
    site.check_books(task)


def test_several_tasks_at_once(alice: PandaClient, site: Site) -> None:
    options = ("--exec", "sleep 100", *ONE_FILE)
    tasks = [alice.prun(*options, "--outDS", f"user.alice.several{number}") for number in range(2)]
    told = alice.pbook("kill", ",".join(map(str, tasks)))
    assert all(f"kill of task {task} is queued" in told for task in tasks), told
    assert {site.end_of(task) for task in tasks} == {"aborted"}
    for task in tasks:
        assert list(Task(site.client, task).outputs()) == []
        site.check_books(task)


def test_retry(alice: PandaClient, site: Site, submit: Callable[..., int], tmp_path: Path) -> None:
    task = submit(REPAIRED.format(tmp_path / "good"), "--maxAttempt", "1")
    assert site.end_of(task) == "failed"
    (tmp_path / "good").touch()
    assert "queued" in alice.pbook("retry", str(task))
    eventually(lambda: site.client.task_info(task).status == "done", "the task to be done")
    assert site.contents("user.alice.test_retry_x.txt") == ["repaired\n"]
    site.check_books(task)


def test_retry_with_new_parameters(alice: PandaClient, site: Site, submit: Callable[..., int], tmp_path: Path) -> None:
    one_by_one = ("--inDS", "user.alice.numbers", "--nFilesPerJob", "1", "--maxAttempt", "1")
    task = submit(REPAIRED.format(tmp_path / "good"), *one_by_one)
    assert site.end_of(task) == "failed"
    (tmp_path / "good").touch()
    assert "queued" in alice.pbook("retry", str(task), "--nFilesPerJob=5")
    eventually(lambda: site.client.task_info(task).status == "done", "the task to be done")
    assert len(site.contents("user.alice.test_retry_with_new_parameters_x.txt")) == 1
    site.check_books(task)


def test_the_same_name_again(alice: PandaClient, site: Site, submit: Callable[..., int]) -> None:
    """While the task is active it is refused; afterwards the same task runs again over what is new in its input."""
    first = submit("test -e stop || sleep 3; cat $(echo %IN | tr , ' ') > x.txt", "--inDS", "user.alice.numbers")
    options = ("--exec", "cat $(echo %IN | tr , ' ') > x.txt", *ONE_FILE, "--inDS", "user.alice.numbers")
    told = alice("prun", *options, "--outDS", "user.alice.test_the_same_name_again")
    assert "task submission failed" in told
    assert str(first) in told
    assert site.end_of(first) == "done"
    told = alice("prun", *options, "--outDS", "user.alice.test_the_same_name_again")
    assert f"reactivation accepted. jediTaskID={first}" in told
    eventually(lambda: site.client.task_info(first).is_over, "the task to be over")
    site.check_books(first)


def test_debug_mode_shows_what_a_job_prints(alice: PandaClient, site: Site, submit: Callable[..., int]) -> None:
    task = submit("for i in $(seq 300); do echo line $i; sleep 0.2; done; echo x > x.txt")
    eventually(lambda: n_running(site, task), "the job to run")
    (job,) = Task(site.client, task).jobs()
    told = alice.pbook("debug", str(job.job_id), "True")
    assert "Failed" not in told, told
    eventually(lambda: "line" in site.client.job(job.job_id).stdout_tail, "the job's output")
    assert "Failed" not in alice.pbook("debug", str(job.job_id), "False")
    alice.pbook("kill", str(task))


def test_secrets(alice: PandaClient) -> None:
    (alice.folder / "the.key").write_text("the key\n")
    assert "the secret is set" in alice.pbook("set_secret", "ONE", "value one")
    alice.pbook("set_secret", "FILE", "the.key", "--is_file")
    listed = alice.pbook("list_secrets", "--full")
    assert "ONE" in listed
    assert "value one" in listed
    assert "FILE" in listed
    alice.pbook("delete_secret", "FILE")
    assert "FILE" not in alice.pbook("list_secrets")
    alice.pbook("delete_all_secrets")
    assert "ONE" not in alice.pbook("list_secrets")


def test_what_is_not_there_is_said(alice: PandaClient, site: Site) -> None:
    assert "no task 19999999" in alice.pbook("kill", "19999999")
    assert "no task 19999999" in alice.pbook("retry", "19999999")
    (alice.folder / "main.cwl").write_text("cwlVersion: v1.0\n")
    (alice.folder / "in.yaml").write_text("")
    told = alice("pchain", "--cwl", "main.cwl", "--yaml", "in.yaml", "--outDS", "user.alice.chain")
    assert "not supported" in told
    assert "not supported" in alice.pbook("show_workflow", "1")


def test_recovery_of_lost_files(alice: PandaClient, site: Site, submit: Callable[..., int]) -> None:
    task = submit("echo hello > x.txt")
    assert site.end_of(task) == "done"
    assert f"no output file of task {task} is lost" in alice.pbook("recover_lost_files", str(task), "--test_mode")


WITH_A_FAILED_TASK = """
import json, pathlib
from pandaclient import panda_api
api = panda_api.get_api()
task = int(pathlib.Path("task").read_text())
found = {"finish": api.finish_task(task), "retry": api.retry_task(task)}
print(json.dumps(found))
"""
METADATA = """
import pathlib
from pandaclient import panda_api
task = int(pathlib.Path("task").read_text())
panda_api.get_api().get_job_metadata(task, "found.json")
"""


def test_panda_api_retries_and_reads_metadata(
    alice: PandaClient, site: Site, submit: Callable[..., int], tmp_path: Path
) -> None:
    good = tmp_path / "good"
    command = f"test -e {good} && echo '{{\"answer\": 42}}' > userJobMetadata.json && echo x > x.txt"
    task = submit(command, "--maxAttempt", "1")
    (alice.folder / "task").write_text(str(task))
    assert site.end_of(task) == "failed"
    good.touch()
    found: dict[str, Any] = json.loads(alice.python(WITH_A_FAILED_TASK).splitlines()[-1])
    assert found["finish"][0] == 0
    assert found["finish"][1][0] is False, "there is nothing to finish"
    assert found["retry"][0] == 0, found
    assert found["retry"][1][0] == 0, found
    eventually(lambda: site.client.task_info(task).status == "done", "the task to be done")
    assert site.contents("user.alice.test_panda_api_retries_and_reads_metadata_x.txt") == ["x\n"]
    alice.python(METADATA)
    (told,) = json.loads((alice.folder / "found.json").read_text()).values()
    assert told["user_job_metadata"] == {"answer": 42}
    site.check_books(task)


SCRIPT = """
import json
from pandaclient import panda_api
api = panda_api.get_api()
found = {"hello": api.hello()[0]}
parameters = json.load(open("parameters.json"))
found["submit"] = api.submit_task(parameters)
task = int(found["submit"][1][1].split("jediTaskID=")[1])
found["tasks"] = [row["jediTaskID"] for row in api.get_tasks([task])]
found["increase"] = api.increase_attempt_nr(task, 2)
found["kill"] = api.kill_task(task)
from pandaclient import Client
found["status"] = Client.getTaskStatus(task)
found["parameters"] = Client.getTaskParamsMap(task)[0]
found["jobs"] = Client.getPandaIDsWithTaskID(task)[0]
print(json.dumps(found))
"""


def test_panda_api(alice: PandaClient, site: Site) -> None:
    written = str(alice.folder / "parameters.json")  # prun works in another folder
    dry = ("--outDS", "user.alice.api", "--noSubmit", "--dumpTaskParams", written)
    alice("prun", *SCENARIOS["nobuild"].options, *dry)
    found: dict[str, Any] = json.loads(alice.python(SCRIPT).splitlines()[-1])
    status, (code, text) = found["submit"]
    assert (found["hello"], status, code) == (0, 0, 0), found
    task = int(re.search(r"jediTaskID=(\d+)", text)[1])
    assert found["tasks"] == [task]
    assert found["kill"][:1] == [0], found["kill"]
    assert found["kill"][1][0] is True
    assert found["status"][0] == 0
    assert (found["parameters"], found["jobs"]) == (0, 0)
    assert site.end_of(task) in ("aborted", "done")
