"""Who may do what: every operation that there is, asked for by every kind of caller, is held to what it declares.

The operations come from the application itself, so that a new route is tried as soon as it is there: without a request
in `operations.py` the test fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask, g
from tokens import Issuer

from bamboo.admin import access_page
from bamboo.core.clock import ManualClock
from bamboo.server.auth.access import Access, Check, Need, must_all_be_declared
from bamboo.server.auth.caller import Attempt
from bamboo.server.identity import door_of
from bamboo.sql.tables import metadata, sandboxes, secrets
from bamboo.tests.server.callers import (
    CALLERS,
    OWNER,
    PILOT_ELSEWHERE,
    PILOT_HERE,
    PRODUCTION_ELSEWHERE,
    guarded_app,
    headers_of,
    owned_objects,
)
from bamboo.tests.server.conftest import World
from bamboo.tests.server.operations import NOTHING, REQUESTS, SECRET, Objects, says_no, send

#: What a pilot hears whose attempt is over.
STALE = "BAM-STATE-004"
#: Pilots with the token that came with a job: the one that an operation is about, another attempt at it, another job.
HOLDER, ATTEMPT_BEFORE, HOLDER_ELSEWHERE = "pilot of the job", "pilot of another attempt", "pilot of another job"
HOLDERS = (HOLDER, ATTEMPT_BEFORE, HOLDER_ELSEWHERE)
USERS = {"other user", "same group", "owner", "production", PRODUCTION_ELSEWHERE, "admin"}
MEETS = {
    Need.NOBODY: set(CALLERS),
    Need.ANYONE: set(CALLERS) - {"nobody"},
    Need.USER: USERS,
    Need.PILOT: {PILOT_HERE, PILOT_ELSEWHERE, "admin"},
    Need.ADMIN: {"admin"},
}
ABOVE = {"owner", "production", "admin"}
#: Who passes a check, of those who may come. Nothing that the requests ask for is kept for production.
PASSES = {
    Check.OWN: set(CALLERS),
    Check.TASK: ABOVE,
    Check.JOB: ABOVE,
    Check.DATASET: {*ABOVE, PRODUCTION_ELSEWHERE},  # datasets are of no VO
    Check.NAMES: {*ABOVE, PRODUCTION_ELSEWHERE},
    Check.PARAMETERS: set(CALLERS) - {PRODUCTION_ELSEWHERE},  # theirs is not the task's VO, so that its names count
    Check.QUEUE: {PILOT_HERE, "admin"},
    Check.ATTEMPT: {PILOT_HERE, HOLDER, "admin"},
}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Who may is decided by the same code over every database."""
    return sqlite_url


@pytest.fixture
def guarded(issuer: Issuer, engine: sa.Engine, clock: ManualClock, tmp_path: Path) -> Flask:
    return guarded_app(issuer, engine, clock, tmp_path)


@pytest.fixture
def objects(world: World, guarded: Flask, issuer: Issuer) -> Objects:
    made = owned_objects(world, guarded, issuer)
    guarded.extensions["objects"] = made
    return made


def holders_headers(app: Flask, name: str, caller: str) -> dict[str, str]:
    """What a pilot sends that got one of the jobs: those that ask for event ranges have another than the others."""
    made, tokens = app.extensions["objects"], door_of(app).attempts
    mine, other = (made.event_job, made.job) if "vent" in name else (made.job, made.event_job)
    attempt = {HOLDER: Attempt(mine, 1), ATTEMPT_BEFORE: Attempt(mine, 0), HOLDER_ELSEWHERE: Attempt(other, 1)}[caller]
    token = tokens.issue(attempt, app.extensions["bamboo"].now() + timedelta(hours=1))
    return {"Authorization": f"Bearer {token}", "Origin": "cms"}


@dataclass(frozen=True)
class Heard:
    """What a caller heard: the HTTP status, the code of the refusal if it was one, and the answer."""

    status: int
    refusal: str
    said_no: bool
    text: str

    @property
    def verdict(self) -> str:
        if self.status in (401, 403):  # the old style has 403 for both (client protocol 3.6)
            by_code = {"BAM-AUTH-001": "unknown", "BAM-AUTH-002": "refused", "BAM-AUTH-003": "turned away"}
            return by_code.get(self.refusal, "")
        is_refused = self.said_no or self.refusal == STALE or self.refusal.startswith("BAM-AUTH-")
        return "refused" if is_refused else "allowed"


def ask(app: Flask, issuer: Issuer, name: str, caller: str, objects: Objects) -> Heard:
    with app.test_client() as client:
        shown = holders_headers(app, name, caller) if caller in HOLDERS else headers_of(issuer, caller)
        headers = {**shown, "X-Request-Id": "r1", "Accept": "application/json"}
        answer = send(client, name, objects, headers)
        return Heard(answer.status_code, g.get("refusal", ""), says_no(name, answer), answer.text)


def expected(access: Access, caller: str) -> str:
    """What a declaration means for a caller."""
    if caller in HOLDERS:
        if Check.ATTEMPT not in access.checks:
            return "allowed" if access.need is Need.NOBODY else "turned away"
    elif caller not in MEETS[access.need]:
        return "unknown" if caller == "nobody" else "turned away"
    return "allowed" if all(caller in PASSES[check] for check in access.checks) else "refused"


def rows(engine: sa.Engine) -> dict[str, list[Any]]:
    """Everything in the database."""
    with engine.connect() as tx:
        return {table.name: sorted(map(repr, tx.execute(sa.select(table)))) for table in metadata.sorted_tables}


def files(app: Flask) -> dict[str, bytes]:
    folder = app.extensions["bamboo"].settings.server.cache_dir
    return {path.name: path.read_bytes() for path in folder.iterdir()}


OPERATIONS = dict(access_page.operations())


def test_every_operation_has_a_request_and_every_request_an_operation() -> None:
    assert set(OPERATIONS) == set(REQUESTS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_for_those_whom_it_names(
    name: str, guarded: Flask, issuer: Issuer, objects: Objects, engine: sa.Engine
) -> None:
    """All others are refused, and have changed nothing; those who own nothing hear nothing of what others own."""
    access, request = OPERATIONS[name], REQUESTS[name]
    wanted = {caller: expected(access, caller) for caller in (*CALLERS, *HOLDERS)}
    before, stored = rows(engine), files(guarded)
    for caller in (caller for caller, verdict in wanted.items() if verdict != "allowed"):
        heard = ask(guarded, issuer, name, caller, objects)
        assert (caller, heard.verdict) == (caller, wanted[caller]), heard
        assert SECRET not in heard.text
        assert (rows(engine), files(guarded)) == (before, stored), caller
        if wanted[caller] != "refused":
            assert ask(guarded, issuer, name, caller, NOTHING) == heard, "an object shows that it is there"
    may = [caller for caller, verdict in wanted.items() if verdict == "allowed"]
    first = next(caller for caller in ("owner", PILOT_HERE, *may) if caller in may)
    heard = ask(guarded, issuer, name, first, objects)
    assert (heard.verdict, heard.refusal) == ("allowed", request.ends_in), heard.text
    assert (rows(engine) != before) == request.changes
    for caller in may:
        heard = ask(guarded, issuer, name, caller, objects)
        assert (caller, heard.verdict) == (caller, "allowed"), heard
        assert caller == "owner" or SECRET not in heard.text


@pytest.mark.parametrize("name", [name for name, access in OPERATIONS.items() if Check.OWN in access.checks])
@pytest.mark.parametrize("caller", sorted(USERS - {"owner"}))
def test_what_is_ones_own_is_nobody_else_s(
    name: str, caller: str, guarded: Flask, issuer: Issuer, objects: Objects, engine: sa.Engine
) -> None:
    """By the same names, others reach their own things."""

    def of_owner() -> list[Any]:
        with engine.connect() as tx:
            found = [tx.execute(sa.select(t).where(t.c.user_name == OWNER)).all() for t in (secrets, sandboxes)]
        assert [len(some) for some in found] == [1, 1]
        return found

    before, stored = of_owner(), files(guarded)
    heard = ask(guarded, issuer, name, caller, objects)
    assert heard.verdict == "allowed"
    assert SECRET not in heard.text and f":{objects.sandbox}" not in heard.text
    assert (of_owner(), files(guarded)) == (before, stored)
    seen = ask(guarded, issuer, "GET /api/v1/creds/get_user_secrets", "owner", objects)
    assert SECRET in seen.text


def test_a_route_that_declares_nothing_keeps_the_application_from_starting(guarded: Flask) -> None:
    must_all_be_declared(guarded)
    guarded.add_url_rule("/api/v1/task/forgotten", "forgotten", lambda: "")
    with pytest.raises(RuntimeError, match=r"do not declare who may come.*: /api/v1/task/forgotten$"):
        must_all_be_declared(guarded)


def test_a_route_that_came_later_without_a_declaration_is_closed(guarded: Flask, issuer: Issuer) -> None:
    guarded.add_url_rule("/api/v1/task/forgotten", "forgotten", lambda: "in")
    answer = guarded.test_client().get("/api/v1/task/forgotten", headers=headers_of(issuer, "admin"))
    assert answer.status_code == 500


def test_the_page_says_what_is_declared() -> None:
    page = Path(access_page.__file__).parents[1] / "docs" / "access.md"
    assert page.read_text() == access_page.page()


def test_another_attempt_is_not_the_holder(guarded: Flask, issuer: Issuer, objects: Objects, engine: sa.Engine) -> None:
    """A pilot whose queue is the job's, but whose attempt is over, changes nothing."""
    before = rows(engine)
    report: Mapping[str, Any] = {"job_id": objects.job, "attempt_nr": 2, "job_status": "finished"}
    headers = headers_of(issuer, PILOT_HERE)
    answer = guarded.test_client().post("/api/v1/pilot/update_job", json=report, headers=headers)
    assert answer.json["data"]["reason"] == "stale_attempt"
    assert rows(engine) == before


def test_what_a_pilot_shows_is_for_the_job_s_owner(
    guarded: Flask, issuer: Issuer, objects: Objects, engine: sa.Engine
) -> None:
    report = {"job_id": objects.job, "attempt_nr": 1, "job_status": "running", "stdout": "canary of the payload"}
    client = guarded.test_client()
    assert client.post("/api/v1/pilot/update_job", json=report, headers=headers_of(issuer, PILOT_HERE)).json["success"]
    for name in ("GET /api/v1/job/get_detailed_info", "GET /api/v1/job/get_stdout"):
        shown = {
            caller for caller in CALLERS if "canary of the payload" in ask(guarded, issuer, name, caller, objects).text
        }
        assert shown == ABOVE
