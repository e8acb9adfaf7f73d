"""Jobs that go well: files in, payload, files out, log, reports."""

from __future__ import annotations

import hashlib
import json
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bamboo.tests.pilot.scripted_server import ScriptedServer, job


def rucio_path(storage: Path, scope: str, lfn: str) -> Path:
    digest = hashlib.md5(f"{scope}:{lfn}".encode(), usedforsecurity=False).hexdigest()
    return storage / scope.replace(".", "/") / digest[:2] / digest[2:4] / lfn


def adler(content: bytes) -> str:
    return f"{zlib.adler32(content):08x}"


HELLO = b"""#!/bin/bash
echo hello from $PandaID
echo complaint >&2
tr a-z A-Z < $1 > $2
echo '{"exitCode": 0}' > jobReport.json
"""


def hello_job(server: ScriptedServer) -> dict[str, Any]:
    content = b"some words\n"
    source = rucio_path(server.storage, "user.tester", "in.txt")
    source.parent.mkdir(parents=True)
    source.write_bytes(content)
    server.script.files["/trf/user/hello-trf"] = HELLO
    return job(
        4242,
        transformation=f"{server.url}/trf/user/hello-trf",
        jobPars="in.txt out.txt",
        inFiles="in.txt",
        scopeIn="user.tester",
        GUID="g",
        fsize=str(len(content)),
        checksum=f"ad:{adler(content)}",
        ddmEndPointIn="DISK",
        inURLs="NULL",
        outFiles="out.txt,job.log.tgz",
        scopeOut="user.tester",
        scopeLog="user.tester",
        logFile="job.log.tgz",
        logGUID="LOG-GUID",
        ddmEndPointOut="DISK,DISK",
    )


def test_a_job_with_files_and_log_finishes(
    server: ScriptedServer, run_pilot: Callable[..., int], tmp_path: Path
) -> None:
    server.script.jobs.append(hello_job(server))
    assert run_pilot("--max-jobs", "1") == 0
    assert server.states() == ["starting", "running", "finished"]
    final = server.final()
    report = json.loads(final["job_output_report"])
    out = rucio_path(server.storage, "user.tester", "out.txt")
    assert out.read_bytes() == b"SOME WORDS\n"
    assert report["out.txt"] == {
        "guid": report["out.txt"]["guid"],
        "fsize": 11,
        "adler32": adler(b"SOME WORDS\n"),
        "surl": f"file://localhost{out}",
        "endpoint": "DISK",
    }
    log = rucio_path(server.storage, "user.tester", "job.log.tgz")
    assert report["job.log.tgz"]["guid"] == "LOG-GUID"
    assert report["job.log.tgz"]["adler32"] == adler(log.read_bytes())
    with tarfile.open(log) as archive:
        members = {Path(name).name for name in archive.getnames()}
        assert members == {"payload.stdout", "payload.stderr", "jobReport.json", "pilot.log", "files.txt"}
        stdout = archive.extractfile("job.4242.1/payload.stdout")
        assert stdout is not None
        assert stdout.read() == b"hello from 4242\n"
    assert final["pilot_error_code"] == 0
    assert final["trans_exit_code"] == 0
    metrics = dict(word.split("=") for word in final["job_metrics"].split())
    assert metrics["coreCount"] == "1" and int(metrics["workDirSize"]) >= len(b"hello from 4242")
    assert json.loads(final["meta_data"]) == {"exitCode": 0}
    assert final["stdout"] == "hello from 4242\n"
    assert len(final["pilot_timing"].split("|")) == 6
    assert final["start_time"] <= final["end_time"]
    assert list((tmp_path / "work").iterdir()) == []  # nothing stays behind, hidden names included
    assert not [path for path in server.storage.rglob(".*") if path.is_file()]
