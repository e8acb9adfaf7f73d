"""`bamboo job reproduce` where something cannot be had; tests/flows/test_evidence.py runs what it makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bamboo.tests.client.client_harness import Answer, Bamboo, ScriptedServer, no, ok


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir()
    (path / "good.txt").write_text("good")
    (path / "bad.txt").write_text("was damaged")
    return path


@pytest.fixture
def job(server: ScriptedServer, data: Path) -> dict[str, Any]:
    """A failed job of two inputs, one of which was damaged, whose sandbox is not kept any more."""
    files = [
        {"lfn": name, "type": "input", "url": f"file://{data / name}", "fsize": 4, "checksum": "ad:042f01aa"}
        for name in ("good.txt", "bad.txt")
    ]
    row = {"PandaID": 5, "jobStatus": "failed", "exeErrorCode": 3, "exeErrorDiag": "no", "computingSite": "Q"}
    server.on("job/get_detailed_info", ok({**row, "files": [*files, {"lfn": "o", "type": "output"}]}))
    url = "http://elsewhere:1/trf/user/runGen-00-00-02"  # the address that pilots use
    wire = {"PandaID": 5, "transformation": url, "jobPars": "-a jobO.x.tar.gz -p true", "usesSecrets": True}
    server.on("job/get_definition", ok({**wire, "preprocess": {"command": url, "args": "--preprocess"}}))
    server.on("/trf/user/runGen-00-00-02", Answer("#!/bin/sh\n"))
    return row


def test_what_cannot_be_had_is_told(bamboo: Bamboo, job: dict[str, Any], workdir: Path, data: Path) -> None:
    ended = bamboo("job", "reproduce", 5, "--json")
    assert ended.code == 0, ended.err
    sandbox, damaged = ended.json["missing"]
    assert sandbox == "the sandbox jobO.x.tar.gz is not on the server any more"
    assert damaged.startswith("input bad.txt: bad.txt: 11 bytes instead of 4")
    folder = workdir / "job-5"
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {
        *("README.txt", "job.json", "run.py", "pilot.pyz", "runGen-00-00-02", "good.txt")
    }
    wire = json.loads((folder / "job.json").read_text())
    assert wire["transformation"] == wire["preprocess"]["command"] == "runGen-00-00-02"
    assert (wire["recordedEnd"], wire["recordedOutputs"]) == ("failed: payload 3: no", {"o": ""})
    readme = (folder / "README.txt").read_text()
    assert sandbox in readme and damaged in readme and "panda_secrets.json" in readme
    assert bamboo("job", "reproduce", 5, "--no-inputs").code == 0
    assert list((folder / "inputs").iterdir()) == []


def test_a_job_of_somebody_else(server: ScriptedServer, bamboo: Bamboo, job: dict[str, Any], workdir: Path) -> None:
    server.on("job/get_definition", no("job 5 is not yours", code="BAM-AUTH-002", status=403))
    assert bamboo("job", "reproduce", 5).code == 4
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize("lfn", ["../x", "a/b", ".."])
def test_names_that_lead_out_write_nothing(
    server: ScriptedServer, bamboo: Bamboo, job: dict[str, Any], workdir: Path, data: Path, lfn: str
) -> None:
    file = {"lfn": lfn, "type": "input", "url": f"file://{data / 'good.txt'}"}
    server.on("job/get_detailed_info", ok({**job, "files": [file]}))
    assert "is no name for a file" in bamboo("job", "reproduce", 5, "--json").json["missing"][-1]
    assert [path.name for path in workdir.iterdir()] == ["job-5"]
    assert list((workdir / "job-5" / "inputs").iterdir()) == []
