"""Tokens that pilots get with their jobs: what they open, and when they are over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from flask import Flask
from tokens import Issuer

from bamboo.core.clock import ManualClock
from bamboo.core.settings import Settings
from bamboo.core.states import JobState
from bamboo.server.app import create_app
from bamboo.server.auth.attempt_tokens import PREFIX, AttemptTokens
from bamboo.server.auth.caller import Attempt
from bamboo.server.auth.errors import NotProven
from bamboo.server.secret_box import fernet_of
from bamboo.sql import jobs
from bamboo.tests.server.conftest import World

Ask = Callable[..., Any]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "secrets_key"
    path.write_bytes(Fernet.generate_key() + b"\n")
    return path


@pytest.fixture
def open_app(issuer: Issuer, key_file: Path, engine: sa.Engine, clock: ManualClock) -> Callable[[str], Flask]:
    """The application of a server process with this `secrets_key`."""
    return lambda key: create_app(Settings(server=issuer.section(collect_seconds=0, secrets_key=key)), engine, clock)


@pytest.fixture
def ask(open_app: Callable[[str], Flask], key_file: Path) -> Ask:
    """Asks with a token; returns the answer."""
    client = open_app(f"file:{key_file}").test_client()

    def _ask(path: str, body: Any, token: str, http: int = 200, **headers: str) -> Any:
        shown = {"Authorization": f"Bearer {token}", "Origin": "cms", **headers}
        answer = client.post(f"/api/v1/{path}", json=body, headers=shown)
        assert answer.status_code == http, answer.text
        return answer.json

    return _ask


@pytest.fixture
def pilot(issuer: Issuer) -> str:
    """A pilot's own token."""
    return issuer.token(name="pilot", groups=["/cms/pilots"], bamboo_queues=["LOCAL"])


def take(ask: Ask, pilot: str) -> dict[str, Any]:
    asked = {"site_name": "LOCAL"}
    (job,) = ask("pilot/acquire_jobs", asked, pilot, **{"X-Attempt-Token": "1"})["data"]["jobs"]
    return dict(job)


def report(job: dict[str, Any], state: str = "running", **more: Any) -> dict[str, Any]:
    return {"job_id": job["PandaID"], "attempt_nr": job["attemptNr"], "job_status": state, **more}


def row_of(engine: sa.Engine, job: dict[str, Any]) -> Any:
    with engine.connect() as tx:
        return jobs.get_job(tx, job["PandaID"])


def test_a_job_comes_with_a_token_for_its_reports(ask: Ask, pilot: str, world: World, engine: sa.Engine) -> None:
    world.jobs(1)
    job = take(ask, pilot)
    assert ask("pilot/update_job", report(job), job["attemptToken"])["success"]
    assert ask("pilot/update_job", report(job, "finished"), job["attemptToken"])["success"]
    assert row_of(engine, job).status == JobState.HOLDING


def test_only_those_get_one_who_ask_for_it(ask: Ask, pilot: str, world: World) -> None:
    """PanDA's pilots write what they get into their logs, which everybody can read."""
    world.jobs(2)
    (job,) = ask("pilot/acquire_jobs", {"site_name": "LOCAL"}, pilot)["data"]["jobs"]
    assert "attemptToken" not in job
    assert ask("pilot/update_job", report(job), pilot)["success"]


def test_the_repetition_of_a_request_gets_one_too(ask: Ask, pilot: str, world: World) -> None:
    world.jobs(1)
    headers = {"X-Attempt-Token": "1", "Idempotency-Key": "k"}
    ask("pilot/acquire_jobs", {"site_name": "LOCAL"}, pilot, **headers)
    again = ask("pilot/acquire_jobs", {"site_name": "LOCAL"}, pilot, **headers, **{"X-Retry": "1"})
    (job,) = again["data"]["jobs"]
    assert ask("pilot/update_job", report(job), job["attemptToken"])["success"]


def test_it_dies_with_its_attempt(ask: Ask, pilot: str, world: World, engine: sa.Engine, clock: ManualClock) -> None:
    """The job goes to another pilot; of the first, neither reports nor event ranges are taken any more."""
    world.jobs(1, is_event_service=True)
    job = take(ask, pilot)
    with engine.begin() as tx:
        held = jobs.ref(jobs.get_job(tx, job["PandaID"]))
        jobs.move_job(
            tx, held, JobState.ACTIVATED, actor="watcher", why="the lease ran out", now=clock(), new_attempt=True
        )
    other = take(ask, pilot)
    assert (other["PandaID"], other["attemptNr"]) == (job["PandaID"], 2)
    before = row_of(engine, job)
    mine, about_range = job["attemptToken"], {"eventRangeID": f"1-{job['PandaID']}-1-1-1", "eventStatus": "running"}
    assert ask("pilot/update_job", report(job), mine)["data"]["command"] == "tobekilled"
    assert ask("pilot/update_job", report(other), mine)["code"] == "BAM-AUTH-002"
    assert ask("event/acquire_event_ranges", {"job_id": job["PandaID"]}, mine)["code"] == "BAM-STATE-004"
    assert ask("event/update_event_ranges", {"event_ranges": [about_range]}, mine)["code"] == "BAM-STATE-004"
    assert row_of(engine, job) == before
    assert ask("pilot/update_job", report(other), other["attemptToken"])["success"]


def test_after_the_end_it_changes_nothing(ask: Ask, pilot: str, world: World, engine: sa.Engine) -> None:
    world.jobs(1)
    job = take(ask, pilot)
    ask("pilot/update_job", report(job, "finished"), job["attemptToken"])
    before = row_of(engine, job)
    assert ask("pilot/update_job", report(job, "finished"), job["attemptToken"])["success"]  # its answer was lost
    assert ask("pilot/update_job", report(job, "failed"), job["attemptToken"])["code"] == "BAM-STATE-004"
    assert row_of(engine, job) == before


def test_it_takes_no_work_and_says_what_it_is_for(ask: Ask, pilot: str, world: World) -> None:
    world.jobs(2)
    job = take(ask, pilot)
    refused = ask("pilot/acquire_jobs", {"site_name": "LOCAL"}, job["attemptToken"], 403)
    assert f"the token is for attempt 1 at job {job['PandaID']}, and only for reports on it" in refused["message"]
    assert "the pilot's own token" in refused["hint"]


def test_every_process_with_the_key_opens_it_and_no_other_does(
    open_app: Callable[[str], Flask], ask: Ask, pilot: str, world: World, key_file: Path, monkeypatch: Any
) -> None:
    world.jobs(1)
    job = take(ask, pilot)
    headers = {"Authorization": f"Bearer {job['attemptToken']}"}
    monkeypatch.setenv("CHANGED", f"{Fernet.generate_key().decode()}\n{key_file.read_text()}")
    monkeypatch.setenv("OTHER", Fernet.generate_key().decode())
    told = {}
    for key in (f"file:{key_file}", "env:CHANGED", "env:OTHER", ""):
        told[key] = open_app(key).test_client().post("/api/v1/pilot/update_job", json=report(job), headers=headers)
    assert [answer.status_code for answer in told.values()] == [200, 200, 401, 401]
    assert "not one of this server's" in told["env:OTHER"].json["message"]
    assert "no secrets_key" in told[""].json["message"]
    assert all("the pilot's own" in told[key].json["hint"] for key in ("env:OTHER", ""))


def test_a_server_without_a_key_issues_none(open_app: Callable[[str], Flask], pilot: str, world: World) -> None:
    world.jobs(1)
    headers = {"Authorization": f"Bearer {pilot}", "Origin": "cms", "X-Attempt-Token": "1"}
    answer = open_app("").test_client().post("/api/v1/pilot/acquire_jobs", json={"site_name": "LOCAL"}, headers=headers)
    assert "attemptToken" not in answer.json["data"]["jobs"][0]


@pytest.fixture
def tokens() -> Iterator[AttemptTokens]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEY", Fernet.generate_key().decode())
        found = AttemptTokens.build("env:KEY")
        assert found is not None
        yield found


def test_it_is_over_after_the_longest_time_that_a_job_may_run(tokens: AttemptTokens, clock: ManualClock) -> None:
    token = tokens.issue(Attempt(7, 2), clock() + timedelta(hours=1))
    assert tokens.caller(token, clock()).attempt == (7, 2)
    clock.advance(hours=1)
    with pytest.raises(NotProven, match="expired"):
        tokens.caller(token, clock())


def test_no_changed_letter_goes_unnoticed(tokens: AttemptTokens, clock: ManualClock) -> None:
    token = tokens.issue(Attempt(7, 2), clock() + timedelta(hours=1))
    for at in range(len(PREFIX), len(token.rstrip("=")) - 1):
        forged = f"{token[:at]}{'A' if token[at] != 'A' else 'B'}{token[at + 1 :]}"
        with pytest.raises(NotProven, match="not one of this server's"):
            tokens.caller(forged, clock())


@pytest.mark.parametrize(
    "content",
    [b'["Alice", "K", "v"]', b'{"a": 1, "b": 2, "c": 3}', b'["session", {"vo": "cms"}]', b"7", b'[7, 1, "x"]'],
)
def test_what_else_is_sealed_with_the_key_is_no_token(content: bytes, clock: ManualClock, monkeypatch: Any) -> None:
    """Users' secrets are: whoever copies one from the database shall not be a pilot by it."""
    monkeypatch.setenv("KEY", Fernet.generate_key().decode())
    seal, tokens = fernet_of("env:KEY"), AttemptTokens.build("env:KEY")
    assert seal is not None and tokens is not None
    with pytest.raises(NotProven):
        tokens.caller(PREFIX + seal.encrypt(content).decode(), clock())
