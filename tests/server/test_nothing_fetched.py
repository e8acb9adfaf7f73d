"""F31: the server goes to no address that a user, a pilot or a token names."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from tokens import Issuer

from bamboo.tests.server.conftest import parameters


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What is asked here does not depend on it."""
    return sqlite_url


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address of this machine to which nobody may come."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/x"
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_addresses_of_users_and_pilots_are_only_passed_on(app: Flask, api: Any, claim: Any, nobody: str) -> None:
    values = {"sourceURL": nobody, "container_name": nobody, "transPath": nobody, "cliParams": nobody}
    told = api.post("task/submit", {"task_parameters": parameters(taskName="user.alice.away/", **values)})
    assert told["success"], told
    file = {"lfn": "f", "url": nobody, "size_bytes": 1, "adler32": "1"}
    assert api.post("dataset/add_files", {"dataset": "user.alice.d", "files": [file], "create": True})["success"]
    job = claim()
    made = json.dumps({"out": {"surl": nobody, "fsize": 1, "adler32": "1", "guid": ""}})
    report = {"job_id": job["PandaID"], "attempt_nr": 1, "job_status": "finished", "job_output_report": made}
    assert api.post("pilot/update_job", {**report, "pilot_log": nobody})["success"]
    assert api.get("task/get_details", task_id=told["data"])["success"]


@pytest.mark.parametrize("name", ["jku", "x5u"])
def test_addresses_in_tokens_are_not_looked_at(guarded: Flask, issuer: Issuer, nobody: str, name: str) -> None:
    for kid in ("ec", "unknown"):
        token = issuer.token(header={name: nobody, "kid": kid})
        headers = {"Authorization": f"Bearer {token}", "Origin": "cms"}
        answer = guarded.test_client().get("/api/v1/system/whoami", headers=headers)
        assert answer.status_code == (200 if kid == "ec" else 401)
