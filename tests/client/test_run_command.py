"""`bamboo run`: what is sent is what prun sends; nothing is sent before everything is checked."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bamboo.tests.client.client_harness import Answer, Bamboo, MakeRow, ScriptedServer, no, ok

HELLO = ("run", "--exec", "echo Hello > x.txt", "--outDS", "user.alice.a2", "--outputs", "x.txt")
#: Parameters that differ from prun's on purpose, or from machine to machine.
OWN = {"processingType", "cliParams", "osInfo", "sourceURL", "vo"}


def accept(server: ScriptedServer) -> None:
    server.on("file_server/validate_cache_file", no("NOTFOUND") | {"success": True})
    server.on("file_server/upload_cache_file", ok(None, "uploaded"))
    server.on("dataset/add_files", lambda r: ok({"added": len(r.body["files"]), "known": 0}))
    server.on("task/submit", ok(10000001, "succeeded. new jediTaskID=10000001"))


def without_archive(parameters: dict[str, Any]) -> dict[str, Any]:
    items = [
        {**item, "value": re.sub(r"jobO\.[0-9a-f-]{36}\.tar\.gz", "ARCHIVE", item["value"])}
        for item in parameters["jobParameters"]
    ]
    return {key: value for key, value in parameters.items() if key not in OWN} | {"jobParameters": items}


def sent(server: ScriptedServer) -> dict[str, Any]:
    (request,) = server.asked("task/submit")
    return dict(request.body["task_parameters"])


def test_hello_is_what_prun_sends(server: ScriptedServer, bamboo: Bamboo, capture: Callable[[str], Any]) -> None:
    accept(server)
    ended = bamboo(*HELLO, "--nJobs", 3)
    assert ended.code == 0, ended.err
    expected = capture("hello")["task_parameters"]
    assert list(sent(server)) == list(expected)
    assert without_archive(sent(server)) == without_archive(expected)
    assert sent(server)["sourceURL"] == server.url


def test_datasets_are_what_prun_sends(server: ScriptedServer, bamboo: Bamboo, capture: Callable[[str], Any]) -> None:
    accept(server)
    ended = bamboo(
        *("run", "--exec", "cat %IN > out.txt", "--in-ds", "user.alice.input/", "--out-ds", "user.alice.b"),
        *("--outputs", "out.txt", "--n-files-per-job", 2, "--n-files", 10),
    )
    assert ended.code == 0, ended.err
    expected = capture("datasets")["task_parameters"]
    assert list(sent(server)) == list(expected)
    assert without_archive(sent(server)) == without_archive(expected)


def test_the_task_id_and_what_to_do_next_are_printed(server: ScriptedServer, bamboo: Bamboo) -> None:
    accept(server)
    ended = bamboo(*HELLO)
    assert ended.out == "task 10000001 submitted as user.alice.a2/\n"
    assert "bamboo task wait 10000001" in ended.err
    assert bamboo(*HELLO, "-q").out == "10000001\n"
    assert bamboo(*HELLO, "--json").json == {
        "jediTaskID": 10000001,
        "taskName": "user.alice.a2/",
        "inDS": [],
        "outputs": ["user.alice.a2_x.txt/"],
    }


def test_an_old_task_that_goes_on_is_told(server: ScriptedServer, bamboo: Bamboo, tmp_path: Path) -> None:
    """The name was that of a task which was over: its command ran again, and the new one was dropped without a word."""
    accept(server)
    said = "reactivation accepted. jediTaskID=10000001 (currently in done state) will be re-executed"
    server.on("task/submit", ok(10000001, said))
    ended = bamboo(*HELLO, "--dumpJson", tmp_path / "told.json")
    assert (ended.code, ended.out) == (0, "task 10000001 taken up again as user.alice.a2/\n")
    assert "task 10000001 has the name user.alice.a2/" in ended.err
    assert "with its old command" in ended.err and "another --outDS" in ended.err
    assert json.loads((tmp_path / "told.json").read_text())[0]["returnOut"] == said
    quiet = bamboo(*HELLO, "-q")
    assert quiet.out == "10000001\n" and "old command" in quiet.err
    assert bamboo(*HELLO, "--json").json["takenUpAgain"] is True


def test_who_asks_is_on_every_request(server: ScriptedServer, bamboo: Bamboo) -> None:
    accept(server)
    assert bamboo(*HELLO).code == 0
    assert {request.headers["X-Bamboo-User"] for request in server.requests} == {"alice"}
    server.requests.clear()
    assert bamboo(*HELLO, PANDA_AUTH_ID_TOKEN="a.b.c", PANDA_AUTH_VO="lab").code == 0
    for request in server.requests:
        assert (request.headers["Authorization"], request.headers["Origin"]) == ("Bearer a.b.c", "lab")


def test_the_sandbox_travels_and_is_reused(server: ScriptedServer, bamboo: Bamboo, workdir: Path) -> None:
    accept(server)
    (workdir / "hello.sh").write_text("#!/bin/sh\necho hi\n")
    (workdir / ".secret").write_text("mine")
    (workdir / "big.root").write_text("data")
    ended = bamboo(*HELLO)
    (upload,) = server.asked("file_server/upload_cache_file")
    (name,) = re.findall(r'name="file"; filename="(jobO\.[0-9a-f-]+\.tar\.gz)"', upload.raw.decode("latin-1"))
    assert f"-a {name}" in [item["value"] for item in sent(server)["jobParameters"]]
    archive = upload.raw[upload.raw.index(b"\x1f\x8b") :]
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r|gz") as packed:
        assert [member.name for member in packed] == ["hello.sh"]
    assert "left out big.root" in ended.err
    first = server.asked("file_server/validate_cache_file")[0].body
    server.requests.clear()
    server.on("file_server/validate_cache_file", ok(None, "FOUND:host:jobO.old.tar.gz"))
    assert bamboo(*HELLO).code == 0
    assert server.asked("file_server/validate_cache_file")[0].body == first
    assert not server.asked("file_server/upload_cache_file")
    assert "-a jobO.old.tar.gz" in [item["value"] for item in sent(server)["jobParameters"]]


def test_sources_go_to_the_build_job(server: ScriptedServer, bamboo: Bamboo, workdir: Path) -> None:
    """They are named for it, as the server takes larger ones for builds; the jobs get the library."""
    accept(server)
    (workdir / "Makefile").write_text("all:\n")
    assert bamboo(*HELLO, "--bexec", "make", "--mergeOutput").code == 0
    (upload,) = server.asked("file_server/upload_cache_file")
    (name,) = re.findall(r'name="file"; filename="(sources\.[0-9a-f-]+\.tar\.gz)"', upload.raw.decode("latin-1"))
    assert sent(server)["buildSpec"]["archiveName"] == name
    assert "-l ${LIB}" in [item["value"] for item in sent(server)["jobParameters"]]


def test_what_was_built_here_goes_along_with_no_compile(server: ScriptedServer, bamboo: Bamboo, workdir: Path) -> None:
    accept(server)
    (workdir / "tool.so").write_text("built")
    (workdir / "big.root").write_text("data")
    ended = bamboo(*HELLO, "--noCompile")
    assert ended.code == 0, ended.err
    assert "tool.so" not in ended.err
    assert "left out big.root" in ended.err
    (upload,) = server.asked("file_server/upload_cache_file")
    with tarfile.open(fileobj=io.BytesIO(upload.raw[upload.raw.index(b"\x1f\x8b") :]), mode="r|gz") as packed:
        assert [member.name for member in packed] == ["tool.so"]


def test_the_parent_is_named_beside_the_parameters(server: ScriptedServer, bamboo: Bamboo) -> None:
    accept(server)
    assert bamboo(*HELLO, "--inDS", "user.alice.p_x.txt/", "--parentTaskID", 10000003).code == 0
    (request,) = server.asked("task/submit")
    assert request.body["parent_tid"] == 10000003
    assert sent(server)["noWaitParent"] is True
    dry = bamboo(*HELLO, "--inDS", "d", "--parentTaskID", 10000003, "--bexec", "make all", "--dry-run")
    assert re.search("^waits for +task 10000003$", dry.out, re.M)
    assert re.search("^build +make all$", dry.out, re.M)


def test_local_files_become_a_dataset(server: ScriptedServer, bamboo: Bamboo, workdir: Path) -> None:
    accept(server)
    (workdir / "data").mkdir()
    for number in range(3):
        (workdir / "data" / f"in{number}.csv").write_text(str(number))
    ended = bamboo(*HELLO, "--inFiles", "data/*.csv", "--nFilesPerJob", 1)
    assert ended.code == 0, ended.err
    (added,) = server.asked("dataset/add_files")
    assert added.body["dataset"] == "user.alice.a2.in"
    assert added.body["create"] is True
    assert added.body["files"][1] == {
        "url": (workdir / "data" / "in1.csv").as_uri(),
        "lfn": "in1.csv",
        "size_bytes": 1,
        "adler32": "00320032",
    }
    assert sent(server)["dsForIN"] == "user.alice.a2.in"
    assert "noInput" not in sent(server)


def test_nothing_is_sent_without_submission(server: ScriptedServer, bamboo: Bamboo, workdir: Path) -> None:
    params = workdir / "params.json"
    ended = bamboo(*HELLO, "--nJobs", 3, "--noSubmit", "--dumpTaskParams", params)
    assert ended.code == 0
    assert "not submitted" in ended.out
    assert re.search(r"^jobs +3$", ended.out, re.M)
    assert json.loads(params.read_text())["nEvents"] == 3
    dry = bamboo(*HELLO, "--dry-run", "--json")
    assert dry.json["taskName"] == "user.alice.a2/"
    assert server.requests == []


def test_the_outcome_is_dumped_also_when_it_is_no(server: ScriptedServer, bamboo: Bamboo, workdir: Path) -> None:
    accept(server)
    dump = workdir / ".dump.json"
    assert bamboo(*HELLO, "--dumpJson", dump).code == 0
    (result,) = json.loads(dump.read_text())
    assert (result["returnCode"], result["jediTaskID"]) == (0, 10000001)
    server.on("task/submit", no("already there", code="BAM-STATE-002", status=409))
    assert bamboo(*HELLO, "--dumpJson", dump).code == 7
    (result,) = json.loads(dump.read_text())
    assert (result["returnCode"], result["returnOut"], result["jediTaskID"]) == ("BAM-STATE-002", "already there", None)


def test_all_faults_are_told_at_once_and_nothing_is_sent(server: ScriptedServer, bamboo: Bamboo) -> None:
    ended = bamboo("run", "--exec", "true", "--outDS", "user.bob.x y", "--outputs", "a b,c,c", "--nFilesPerJob", 2)
    assert ended.code == 8
    for words in ("user.alice.", "' '", "'a b'", "'c' is given twice", "nFilesPerJob"):
        assert words in ended.err
    assert server.requests == []


def test_a_submission_cut_off_is_repeated_under_the_same_key(server: ScriptedServer, bamboo: Bamboo) -> None:
    accept(server)
    away = Answer(no("restarting"), 503, {"Retry-After": "0"})
    lost = Answer("", cut=0)  # the server may have done it, and nobody knows
    server.on("task/submit", away, lost, ok(10000001, "jediTaskID=10000001"))
    assert bamboo(*HELLO, "-q").out == "10000001\n"
    keys = [request.headers["Idempotency-Key"] for request in server.asked("task/submit")]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_watching_goes_to_the_end_and_tells_how_it_was(server: ScriptedServer, bamboo: Bamboo, row: MakeRow) -> None:
    accept(server)
    looks = [row(nFilesFinished=done) for done in (0, 40, 80)] + [row(status="finished", nFilesFinished=87)]
    server.on("task/get_detailed_info", *map(ok, looks))
    ended = bamboo(*HELLO, "--watch")
    assert ended.code == 10
    assert ended.out.splitlines()[-1] == "task 7 finished (partial: 87 of 100 inputs)"
    assert "running (80 of 100 inputs done)" in ended.err
    assert "left" in ended.err


def test_watching_tells_why_jobs_failed(server: ScriptedServer, bamboo: Bamboo, row: MakeRow) -> None:
    """It said that the task had failed, and nothing else."""
    accept(server)
    causes = [
        {"source": "exe", "code": n, "diag": f"cause {n}", "count": 9 - n, "example_job": 70 + n} for n in range(1, 6)
    ]
    failed = row(status="failed", nFilesFailed=100, errors=causes, errorDialog="all inputs failed")
    server.on("task/get_detailed_info", ok(failed))
    for command in ((*HELLO, "--watch"), ("task", "wait", 7), ("task", "watch", 7)):
        ended = bamboo(*command)
        assert ended.code == 10
        assert "reason     all inputs failed" in ended.out
        assert "8 jobs: exe 1: cause 1" in ended.out
        assert "see: bamboo job show 71   bamboo job log 71" in ended.out
        assert "6 jobs: exe 3: cause 3" in ended.out and "cause 4" not in ended.out
        assert "… and 2 more causes: bamboo task show 7" in ended.out
        assert "next: bamboo why 7   bamboo task show 7   bamboo task logs 7" in ended.err


def test_words_that_look_like_inputs_are_told(server: ScriptedServer, bamboo: Bamboo) -> None:
    """Each job failed on them, three times."""
    accept(server)
    reads = ("run", "--outputs", "x", "--inDS", "user.alice.input", "--exec")
    told = bamboo(*reads, "wc %IN %INN %{IN2} $(date +%F) %RNDM:3 %OUT > x", "--dry-run")
    assert told.code == 0
    assert [line for line in told.err.splitlines() if "warning" in line] == [
        "warning: %INN in the command stands for nothing and stays as it is (inputs: %IN)",
        "warning: %IN2 in the command stands for nothing and stays as it is (inputs: %IN)",
    ]
    refused = bamboo("run", "--exec", "wc %IN > x", "--outputs", "x")
    assert refused.code == 8
    assert "exec: it has %IN, and there is no input (give --inDS, --inFiles or --pfnList" in refused.err
    assert server.requests == []


def test_several_tasks_from_a_file_of_datasets(server: ScriptedServer, bamboo: Bamboo, workdir: Path) -> None:
    accept(server)
    pairs = [{"inDS": "user.bob.a,user.bob.b", "outDS": "user.alice.1/"}, {"outDS": "user.alice.2"}]
    (workdir / "pairs.json").write_text(json.dumps(pairs))
    server.on("task/submit", ok(1, "jediTaskID=1"), ok(2, "jediTaskID=2"))
    dump = workdir / ".dump.json"
    command = ("run", "--exec", "echo %DATASET_IN %DATASET_OUT %BULKSEQNUMBER > x", "--outputs", "x")
    ended = bamboo(*command, "--inOutDsJson", "pairs.json", "--dumpJson", dump)
    assert ended.code == 0, ended.err
    assert ended.out == "task 1 submitted as user.alice.1/\ntask 2 submitted as user.alice.2/\n"
    first, second = (request.body["task_parameters"] for request in server.asked("task/submit"))
    assert (first["taskName"], first["dsForIN"]) == ("user.alice.1/", "user.bob.a,user.bob.b")
    assert (second["taskName"], second["noInput"]) == ("user.alice.2/", True)
    values = [item["value"] for item in first["jobParameters"]]
    assert "echo%20user.bob.a%2Cuser.bob.b%20user.alice.1%200%20%3E%20x" in values
    assert [(one["bulkSeqNumber"], one["jediTaskID"]) for one in json.loads(dump.read_text())] == [(0, 1), (1, 2)]
    assert [one["jediTaskID"] for one in bamboo(*command, "--inOutDsJson", "pairs.json", "--json").json] == [2, 2]


def test_the_tasks_before_one_that_is_refused_are_told(server: ScriptedServer, bamboo: Bamboo, workdir: Path) -> None:
    accept(server)
    (workdir / "pairs.json").write_text(json.dumps([{"outDS": f"user.alice.{n}"} for n in range(3)]))
    server.on("task/submit", ok(1, "jediTaskID=1"), no("no", code="BAM-STATE-002", status=409))
    ended = bamboo("run", "--exec", "true", "--inOutDsJson", "pairs.json", "--json")
    assert ended.code == 7
    assert [one["jediTaskID"] for one in json.loads(ended.out)] == [1]
    assert len(server.asked("task/submit")) == 2


def test_a_file_of_datasets_that_cannot_be_used(server: ScriptedServer, bamboo: Bamboo, workdir: Path) -> None:
    pairs = workdir / "pairs.json"
    for text, words in (
        ("{", "it is no JSON"),
        ("[]", "it is no list of datasets"),
        ('[{"inDS": "a"}, {"outDS": 5}, {"outDS": "b", "in": "c"}, {"outDS": "b/"}]', "inOutDsJson[0].outDS: missing"),
    ):
        pairs.write_text(text)
        ended = bamboo("run", "--exec", "true", "--inOutDsJson", pairs)
        assert ended.code == 8 and words in ended.err
    for words in ("[1]: it is no object of texts", "'in' means nothing", "b is given twice"):
        assert words in ended.err
    pairs.write_text('[{"outDS": "user.alice.b"}]')
    assert "--outDS is given too" in bamboo(*HELLO, "--inOutDsJson", pairs).err
    assert server.requests == []


def test_the_home_directory_is_not_packed_by_accident(
    server: ScriptedServer, bamboo: Bamboo, environ: dict[str, str], workdir: Path
) -> None:
    ended = bamboo(*HELLO, HOME=str(workdir))
    assert ended.code == 8
    assert "home directory" in ended.err


def test_the_job_runs_where_the_user_stands(server: ScriptedServer, bamboo: Bamboo, workdir: Path) -> None:
    accept(server)
    assert bamboo(*HELLO, "--workDir", workdir.parent, "--excludeFile", "home").code == 0
    assert "-r work" in [item["value"] for item in sent(server)["jobParameters"]]


def test_addresses_and_secondary_datasets_are_shown_before_they_are_sent(bamboo: Bamboo, workdir: Path) -> None:
    (workdir / "addresses").write_text("root://host//a\nroot://host//b\n")
    told = bamboo(*HELLO, "--pfn-list", "addresses", "--secondary-dss", "MB:2:user.alice.mb", "--dry-run")
    assert "input      2 PFNs" in told.out
    assert "%MB" in told.out
    assert "user.alice.mb" in told.out
    assert "\njobs" not in told.out


def test_a_secondary_dataset_that_cannot_be_read_is_refused(server: ScriptedServer, bamboo: Bamboo) -> None:
    ended = bamboo(*HELLO, "--secondaryDSs", "MB:user.alice.mb")
    assert ended.code == 8
    assert "STREAM:nFiles:DATASET" in ended.err
    assert server.asked("task/submit") == []
