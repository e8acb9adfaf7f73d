"""The fast lane: heartbeats are answered there as behind the usual route, and everything else is left to that."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import sqlalchemy as sa
from flask import Flask
from patience import PATIENCE_SECONDS, eventually
from tokens import Issuer

from bamboo.core.clock import ManualClock, utc_now
from bamboo.core.settings import Settings
from bamboo.core.states import JobState
from bamboo.server.app import create_app
from bamboo.server.context import context_of
from bamboo.server.fast_lane import PATH, Beat, FastLane
from bamboo.server.identity import door_of
from bamboo.sql import claims, jobs
from bamboo.tests.server.conftest import World

PROGRAM = Path(__file__).parent / "serving.py"


@pytest.fixture
def app(issuer: Issuer, engine: sa.Engine, clock: ManualClock) -> Flask:
    """Takes tokens, and writes no heartbeat before a test says so."""
    return create_app(Settings(server=issuer.section(collect_seconds=60)), engine, clock)


@pytest.fixture
def lane(app: Flask) -> FastLane:
    return FastLane(context_of(app), door_of(app))


@pytest.fixture
def running(world: World, engine: sa.Engine, clock: ManualClock) -> Callable[[int], list[int]]:
    return lambda n: run_jobs(world, engine, n)


def run_jobs(world: World, engine: sa.Engine, n: int) -> list[int]:
    """So many running jobs, each with an order for its pilot that names it."""
    world.jobs(n)
    now = world.clock()
    with engine.begin() as tx:
        taken = claims.claim(tx, claims.Claim(queue="LOCAL", limit=n), lease_until=now + timedelta(hours=1), now=now)
        ids = sorted(job.pandaid for job in taken)
        for pandaid in ids:
            held = jobs.ref(jobs.get_job(tx, pandaid))
            until = now + timedelta(hours=1)
            jobs.move_job(tx, held, JobState.RUNNING, actor="t", why="t", now=now, lease_until=until)
            jobs.note(tx, jobs.ref(jobs.get_job(tx, pandaid)), command_to_pilot=f"ls {pandaid}", now=now)
    assert len(ids) == n
    return ids


def pilot_token(issuer: Issuer) -> str:
    return issuer.token(sub="p", name="pilot one", groups=["/cms/pilots"])


def beat(token: str, pandaid: int, **more: Any) -> Beat:
    report = {"job_id": pandaid, "attempt_nr": 1, "job_status": "running", **more}
    return Beat(f"Bearer {token}", "cms", json.dumps(report).encode())


def by_the_route(app: Flask, given: Beat) -> Any:
    headers = {"Authorization": given.authorization, "Origin": given.origin}
    return app.test_client().post(PATH, data=given.body, headers=headers)


def known(app: Flask, token: str, pandaid: int) -> str:
    """The token, shown once at the usual door."""
    assert by_the_route(app, beat(token, pandaid)).status_code == 200
    return token


def test_heartbeats_are_answered_as_by_the_route(
    app: Flask, lane: FastLane, issuer: Issuer, running: Any, clock: ManualClock, engine: sa.Engine
) -> None:
    several = running(5)
    token = known(app, pilot_token(issuer), several[0])
    clock.advance(seconds=60)
    beats = [beat(token, pandaid, max_pss=pandaid, job_metrics="leak=0.5") for pandaid in several]
    form = urlencode({"job_id": several[0], "attempt_nr": 1, "job_status": "running", "max_pss": "None"}).encode()
    beats.append(Beat(f"Bearer {token}", "cms", form))
    answers = lane.answers(beats)
    assert [json.loads(answer or b"null") for answer in answers] == [by_the_route(app, one).json for one in beats]
    assert [json.loads(answer or b"null")["data"]["command"] for answer in answers[:5]] == [
        f"ls {pandaid}" for pandaid in several
    ]
    context_of(app).heartbeats.write()
    with engine.connect() as tx:
        assert [jobs.get_job(tx, pandaid).max_pss_kb for pandaid in several] == several


NOT_FOR_THE_LANE: dict[str, Callable[[Issuer, str, int], Beat]] = {
    "a token that was never shown": lambda issuer, token, job: beat(issuer.token(groups=["/cms/pilots"]), job),
    "no token": lambda issuer, token, job: Beat("", "cms", beat(token, job).body),
    "another kind of authorisation": lambda issuer, token, job: Beat("Basic YTpi", "cms", beat(token, job).body),
    "another VO": lambda issuer, token, job: Beat(f"Bearer {token}", "vo.dotted.org", beat(token, job).body),
    "another attempt": lambda issuer, token, job: beat(token, job, attempt_nr=2),
    "another job": lambda issuer, token, job: beat(token, job + 1000),
    "a final report": lambda issuer, token, job: beat(token, job, job_status="finished"),
    "another state": lambda issuer, token, job: beat(token, job, job_status="holding"),
    "metadata": lambda issuer, token, job: beat(token, job, meta_data="{}"),
    "no job": lambda issuer, token, job: beat(token, job, job_id=None),
    "no JSON": lambda issuer, token, job: Beat(f"Bearer {token}", "cms", b"\x1f\x8b{"),
    "too much": lambda issuer, token, job: beat(token, job, stdout="x" * 70_000),
}


@pytest.mark.parametrize("what", NOT_FOR_THE_LANE)
def test_everything_else_is_left_to_the_route(
    app: Flask, lane: FastLane, issuer: Issuer, running: Any, engine: sa.Engine, what: str
) -> None:
    """And changes nothing; a heartbeat beside it is answered all the same."""
    job, other = running(2)
    token = known(app, pilot_token(issuer), other)
    context_of(app).heartbeats.write()
    before = row_of(engine, job)
    given = NOT_FOR_THE_LANE[what](issuer, token, job)
    if what == "too much":
        given = Beat(given.authorization, given.origin, b"\x1f\x8b" + given.body)
    answers = lane.answers([given, beat(token, other)])
    assert answers[0] is None
    assert answers[1] is not None
    context_of(app).heartbeats.write()
    assert row_of(engine, job) == before


def test_a_user_is_no_pilot_here_either(app: Flask, lane: FastLane, issuer: Issuer, running: Any) -> None:
    [job] = running(1)
    token = issuer.token()
    assert by_the_route(app, beat(token, job)).status_code == 403
    assert lane.answers([beat(token, job)]) == [None]


def test_a_token_that_has_expired_or_lost_its_key_is_not_let_in(
    app: Flask, lane: FastLane, issuer: Issuer, running: Any, clock: ManualClock
) -> None:
    [job] = running(1)
    token = known(app, pilot_token(issuer), job)
    assert lane.answers([beat(token, job)]) != [None]
    clock.advance(seconds=3601)
    assert lane.answers([beat(token, job)]) == [None]
    clock.advance(seconds=-3601)
    assert lane.answers([beat(token, job)]) != [None]
    issuer.trust(issuer.rsa)
    assert lane.answers([beat(token, job)]) == [None]


def test_a_job_that_has_ended_and_a_lease_that_is_half_gone_are_the_route_s(
    app: Flask, lane: FastLane, issuer: Issuer, running: Any, engine: sa.Engine, clock: ManualClock
) -> None:
    job, other = running(2)
    token = known(app, pilot_token(issuer), job)
    with engine.begin() as tx:
        jobs.move_job(tx, jobs.ref(jobs.get_job(tx, job)), JobState.FAILED, actor="t", why="t", now=clock())
    assert lane.answers([beat(token, job)]) == [None]
    clock.advance(seconds=2800)
    assert lane.answers([beat(token, other)]) == [None]
    assert by_the_route(app, beat(token, other)).json["data"]["leaseSeconds"] == 1800


def test_without_a_database_the_route_tells(
    app: Flask, lane: FastLane, issuer: Issuer, running: Any, engine: sa.Engine
) -> None:
    [job] = running(1)
    token = known(app, pilot_token(issuer), job)
    with engine.begin() as tx:
        tx.execute(sa.text("ALTER TABLE jobs RENAME TO gone"))
    assert lane.answers([beat(token, job)]) == [None]


def row_of(engine: sa.Engine, pandaid: int) -> Any:
    with engine.connect() as tx:
        return jobs.get_job(tx, pandaid)


@pytest.fixture
def address(database_url: str, tmp_path: Path) -> Iterator[tuple[str, int, Issuer]]:
    """A server in processes of its own, by the machine's clock."""
    issuer = Issuer(tmp_path, utc_now())
    section = issuer.section(port=0, workers=2).model_dump_json()
    command = [sys.executable, str(PROGRAM), database_url, str(tmp_path / "cache"), section]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        parts = urlsplit(process.stdout.readline().strip())
        host, port = parts.hostname or "", parts.port or 0
        try:
            eventually(lambda: is_ready(host, port), "ready")
            yield host, port, issuer
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


def is_ready(host: str, port: int) -> bool:
    try:
        with closing(http.client.HTTPConnection(host, port, timeout=PATIENCE_SECONDS)) as connection:
            return ask(connection, "GET", "/readyz")[0] == 200
    except OSError:
        return False


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, Any, str]:
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    content = answer.read()
    return answer.status, content, answer.getheader("X-Request-Id", "")


def test_over_the_wire_each_pilot_gets_its_own_answer(
    address: tuple[str, int, Issuer], engine: sa.Engine, clock: ManualClock
) -> None:
    """Many heartbeats at once, of which some are no heartbeats, on kept connections."""
    host, port, issuer = address
    clock.now = utc_now()
    world = World(engine, clock)
    world.queue()
    several = run_jobs(world, engine, 12)
    token = pilot_token(issuer)

    def pilot(pandaid: int) -> list[tuple[int, Any, str]]:
        connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_SECONDS)
        told = []
        for turn in range(10):
            given = beat(token, pandaid if turn != 5 else pandaid + 5000)
            headers = {"Authorization": given.authorization, "Origin": given.origin}
            name = f"r{turn}.{pandaid}"
            told.append(ask(connection, "POST", PATH, given.body, X_Request_Id=name, **headers))
        connection.close()
        return told

    with ThreadPoolExecutor(len(several)) as pool:
        for pandaid, told in zip(several, pool.map(pilot, several), strict=True):
            for turn, (status, content, name) in enumerate(told):
                answer = json.loads(content)
                assert (status, name) == (200, f"r{turn}.{pandaid}"), content
                assert answer["success"] == (turn != 5)
                assert turn == 5 or answer["command"] == f"ls {pandaid}"
