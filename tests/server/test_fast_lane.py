"""The fast lane: reports do there what they do behind the usual route, to which everything else is left."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from flask import Flask
from patience import PATIENCE_SECONDS, eventually
from tokens import Issuer

from bamboo.core.clock import ManualClock, utc_now
from bamboo.core.settings import Settings
from bamboo.core.states import JobState
from bamboo.server.app import create_app
from bamboo.server.auth.caller import Attempt
from bamboo.server.context import context_of
from bamboo.server.fast_lane import PATH, FastLane, Sent, Stepping
from bamboo.server.identity import door_of
from bamboo.sql import claims, jobs
from bamboo.sql.tables import job_events, job_reports
from bamboo.tests.server.conftest import World

PROGRAM = Path(__file__).parent / "serving.py"


@pytest.fixture
def app(issuer: Issuer, engine: sa.Engine, clock: ManualClock) -> Flask:
    """Takes tokens, and writes no heartbeat before a test says so."""
    key = issuer.folder / "secrets_key"
    key.write_bytes(Fernet.generate_key())
    section = issuer.section(collect_seconds=60, secrets_key=f"file:{key}")
    return create_app(Settings(server=section), engine, clock)


@pytest.fixture
def lane(app: Flask) -> FastLane:
    return FastLane(context_of(app), door_of(app))


@pytest.fixture
def running(world: World, engine: sa.Engine, clock: ManualClock) -> Callable[[int], list[int]]:
    return lambda n: run_jobs(world, engine, n)


@pytest.fixture
def sent_jobs(world: World, engine: sa.Engine) -> Callable[[int], list[int]]:
    return lambda n: take_jobs(world, engine, n)


def take_jobs(world: World, engine: sa.Engine, n: int) -> list[int]:
    """So many jobs that a pilot has taken, by their ids."""
    world.jobs(n)
    now = world.clock()
    with engine.begin() as tx:
        taken = claims.claim(tx, claims.Claim(queue="LOCAL", limit=n), lease_until=now + timedelta(hours=1), now=now)
    assert len(taken) == n
    return sorted(job.pandaid for job in taken)


def run_jobs(world: World, engine: sa.Engine, n: int) -> list[int]:
    """So many running jobs, each with an order for its pilot that names it."""
    ids, now = take_jobs(world, engine, n), world.clock()
    with engine.begin() as tx:
        for pandaid in ids:
            held = jobs.ref(jobs.get_job(tx, pandaid))
            until = now + timedelta(hours=1)
            jobs.move_job(tx, held, JobState.RUNNING, actor="t", why="t", now=now, lease_until=until)
            jobs.note(tx, jobs.ref(jobs.get_job(tx, pandaid)), command_to_pilot=f"ls {pandaid}", now=now)
    return ids


def pilot_token(issuer: Issuer) -> str:
    return issuer.token(sub="p", name="pilot one", groups=["/cms/pilots"])


def answers_of(lane: FastLane, sent: list[Sent]) -> list[bytes | None]:
    """What the gateway does with what has come."""
    judged = lane.judge(sent)
    taken = iter(lane.take([one for one in judged if isinstance(one, Stepping)]))
    return [next(taken) if isinstance(one, Stepping) else one for one in judged]


def beat(token: str, pandaid: int, **more: Any) -> Sent:
    report = {"job_id": pandaid, "attempt_nr": 1, "job_status": "running", **more}
    return Sent(f"Bearer {token}", "cms", f"r.{pandaid}", json.dumps(report).encode())


def by_the_route(app: Flask, given: Sent) -> Any:
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
    answers = answers_of(lane, beats)
    beats.append(Sent(f"Bearer {token}", "cms", "r", form))
    answers += answers_of(lane, beats[5:])
    assert [json.loads(answer or b"null") for answer in answers] == [by_the_route(app, one).json for one in beats]
    assert [json.loads(answer or b"null")["data"]["command"] for answer in answers[:5]] == [
        f"ls {pandaid}" for pandaid in several
    ]
    context_of(app).heartbeats.write()
    with engine.connect() as tx:
        assert [jobs.get_job(tx, pandaid).max_pss_kb for pandaid in several] == several


def test_what_cannot_be_stored_costs_nobody_else_a_heartbeat(
    app: Flask, lane: FastLane, issuer: Issuer, running: Any, clock: ManualClock, engine: sa.Engine
) -> None:
    """However it is encoded: what is collected is written together."""
    mine, *others = running(4)
    token = known(app, pilot_token(issuer), mine)
    clock.advance(seconds=60)
    beats = [beat(token, pandaid, max_pss=7, stdout="\x00\ud800") for pandaid in others]
    escaped, wide, half = (one.body.decode() for one in beats)
    bodies = escaped.encode(), wide.encode("utf-16"), half.replace("\\ud800", "\ud800").encode("utf-8", "surrogatepass")
    beats = [replace(one, body=body) for one, body in zip(beats, bodies, strict=True)]
    first, *rest = answers_of(lane, [beat(token, mine, max_pss=7), *beats])
    assert first is not None and rest[0] is not None
    assert [by_the_route(app, one).status_code for one in beats[1:]] == [400, 400]
    context_of(app).heartbeats.write()
    with engine.connect() as tx:
        assert [jobs.get_job(tx, pandaid).max_pss_kb for pandaid in (mine, *others)] == [7, 7, None, None]


@pytest.mark.parametrize("status", ["running", "finished"])
def test_a_token_for_one_attempt_is_for_no_other(
    app: Flask, lane: FastLane, running: Any, engine: sa.Engine, clock: ManualClock, status: str
) -> None:
    """Its own reports are taken without the usual door having seen it."""
    mine, other = running(2)
    tokens = door_of(app).attempts
    assert tokens is not None
    of = {
        attempt: tokens.issue(attempt, clock() + timedelta(hours=1)) for attempt in (Attempt(mine, 1), Attempt(mine, 2))
    }
    before = row_of(engine, mine), row_of(engine, other)
    for attempt, job in ((Attempt(mine, 1), other), (Attempt(mine, 2), mine)):
        assert answers_of(lane, [beat(of[attempt], job, job_status=status)]) == [None]
        refused = by_the_route(app, beat(of[attempt], job, job_status=status)).json
        assert (refused["code"], refused["data"]["command"]) == ("BAM-AUTH-002", "NULL")
        assert f"but the token is for {attempt} only" in refused["message"]
    assert (row_of(engine, mine), row_of(engine, other)) == before
    [answer] = answers_of(lane, [beat(of[Attempt(mine, 1)], mine, job_status=status)])
    assert json.loads(answer or b"null")["success"]
    clock.advance(hours=1)
    assert answers_of(lane, [beat(of[Attempt(mine, 1)], mine, job_status=status)]) == [None]


@pytest.mark.parametrize("status", ["running", "finished"])
def test_a_token_for_certain_queues_is_for_no_other(
    app: Flask, lane: FastLane, issuer: Issuer, running: Any, engine: sa.Engine, status: str
) -> None:
    """Neither its heartbeats nor its steps; the route says so."""
    [job] = running(1)
    here, elsewhere = (
        known(app, issuer.token(sub="p", groups=["/cms/pilots"], bamboo_queues=[queue]), job)
        for queue in ("LOCAL", "OTHER")
    )
    context_of(app).heartbeats.write()
    before = row_of(engine, job)
    assert answers_of(lane, [beat(elsewhere, job, job_status=status)]) == [None]
    refused = by_the_route(app, beat(elsewhere, job, job_status=status)).json
    assert (refused["status"], refused["code"]) == (403, "BAM-AUTH-002")
    context_of(app).heartbeats.write()
    assert row_of(engine, job) == before
    assert answers_of(lane, [beat(here, job, job_status=status)]) != [None]


NOT_FOR_THE_LANE: dict[str, Callable[[Issuer, str, int], Sent]] = {
    "a token that was never shown": lambda issuer, token, job: beat(issuer.token(groups=["/cms/pilots"]), job),
    "no token": lambda issuer, token, job: Sent("", "cms", "r", beat(token, job).body),
    "another kind of authorisation": lambda issuer, token, job: Sent("Basic YTpi", "cms", "r", beat(token, job).body),
    "another VO": lambda issuer, token, job: Sent(f"Bearer {token}", "vo.dotted.org", "r", beat(token, job).body),
    "another attempt": lambda issuer, token, job: beat(token, job, attempt_nr=2),
    "another job": lambda issuer, token, job: beat(token, job + 1000),
    "a lingering state": lambda issuer, token, job: beat(token, job, job_status="holding"),
    "a state that is over": lambda issuer, token, job: beat(token, job, job_status="starting"),
    "metadata": lambda issuer, token, job: beat(token, job, meta_data="{}"),
    "no job": lambda issuer, token, job: beat(token, job, job_id=None),
    "no JSON": lambda issuer, token, job: Sent(f"Bearer {token}", "cms", "r", b"\x1f\x8b{"),
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
        given = Sent(given.authorization, given.origin, "r", b"\x1f\x8b" + given.body)
    answers = answers_of(lane, [given, beat(token, other)])
    assert answers[0] is None
    assert answers[1] is not None
    context_of(app).heartbeats.write()
    assert row_of(engine, job) == before


FINAL = {
    "job_status": "failed",
    "exe_error_code": 65,
    "exe_error_diag": 'a "quoted" {text}, with \\ and NULL',
    "cpu_consumption_time": 12.5,
    "job_output_report": json.dumps({"a.root": {"guid": "g", "fsize": 3, "adler32": "0a"}}),
    "stdout": "last words",
    "start_time": "2026-01-01 00:00:00",
}
REPORTS: dict[str, dict[str, Any]] = {
    "the start": {"job_status": "running", "max_pss": 7, "start_time": None},
    "the start, told of before": {"job_status": "starting"},
    "a success": {"job_status": "finished", "n_events": 5},
    "a failure": FINAL,
    "an unreadable output report": {"job_status": "finished", "job_output_report": "{"},
    "an end that Harvester tells": {"job_status": "failed", "job_sub_status": "missed", "pilot_log": "x"},
}


@pytest.mark.parametrize("what", REPORTS)
def test_a_report_leaves_the_same_rows_as_by_the_route(
    app: Flask, lane: FastLane, issuer: Issuer, sent_jobs: Any, engine: sa.Engine, what: str
) -> None:
    """One of two jobs that are alike goes by the lane, the other by the route."""
    fast, slow, other = sent_jobs(3)
    token = pilot_token(issuer)
    by_the_route(app, beat(token, other, job_status="starting"))  # the token is known then
    [answer] = answers_of(lane, [beat(token, fast, **REPORTS[what])])
    assert answer is not None
    assert json.loads(answer) == by_the_route(app, beat(token, slow, **REPORTS[what])).json
    assert traces(engine, fast) == traces(engine, slow)


def test_one_step_of_many_that_is_too_late_stops_no_other(
    app: Flask, lane: FastLane, issuer: Issuer, sent_jobs: Any, engine: sa.Engine, clock: ManualClock
) -> None:
    """Reports of different kinds, two of one job, and one of a job that somebody moves between look and step."""
    several = sent_jobs(6)
    token = pilot_token(issuer)
    by_the_route(app, beat(token, several[5], job_status="starting"))
    late = several[2]
    with engine.begin() as tx:
        tx.execute(sa.text(TOO_LATE[engine.dialect.name]))
    kinds = [*REPORTS.values()][:5]
    answers = answers_of(lane, [beat(token, job, **how) for job, how in zip(several[:5], kinds, strict=True)])
    assert [answer is None for answer in answers] == [job == late for job in several[:5]]
    with engine.connect() as tx:
        states = [jobs.get_job(tx, job).status for job in several[:5]]
    assert states == ["running", "starting", "sent", "holding", "holding"]
    twice = answers_of(lane, [beat(token, several[0], job_status="finished"), beat(token, several[0])])
    assert [answer is None for answer in twice] == [False, True]


#: Whoever wants to end the third job finds that it has moved on: the fence does not hold any more.
TOO_LATE = {
    "sqlite": "CREATE TRIGGER late BEFORE UPDATE ON jobs WHEN OLD.serial_nr = 3 BEGIN SELECT RAISE(IGNORE); END",
    "postgresql": """
        CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER late BEFORE UPDATE ON jobs FOR EACH ROW WHEN (OLD.serial_nr = 3) EXECUTE FUNCTION leave()
    """,
}


def traces(engine: sa.Engine, pandaid: int) -> list[Any]:
    """All that a report leaves of a job, but for names."""
    with engine.connect() as tx:
        row = jobs.get_job(tx, pandaid)._asdict()
        found = [{name: row[name] for name in row if name not in ("pandaid", "serial_nr", "command_to_pilot")}]
        for table in (job_reports, job_events):
            for one in tx.execute(sa.select(table).where(table.c.pandaid == pandaid).order_by(*table.primary_key)):
                kept = one._asdict()
                found.append({name: kept[name] for name in kept if name not in ("id", "pandaid", "request_id")})
    return found


def test_a_user_is_no_pilot_here_either(app: Flask, lane: FastLane, issuer: Issuer, running: Any) -> None:
    [job] = running(1)
    token = issuer.token()
    assert by_the_route(app, beat(token, job)).status_code == 403
    assert answers_of(lane, [beat(token, job)]) == [None]


def test_a_token_that_has_expired_or_lost_its_key_is_not_let_in(
    app: Flask, lane: FastLane, issuer: Issuer, running: Any, clock: ManualClock
) -> None:
    [job] = running(1)
    token = known(app, pilot_token(issuer), job)
    assert answers_of(lane, [beat(token, job)]) != [None]
    clock.advance(seconds=3601)
    assert answers_of(lane, [beat(token, job)]) == [None]
    clock.advance(seconds=-3601)
    assert answers_of(lane, [beat(token, job)]) != [None]
    issuer.trust(issuer.rsa)
    assert answers_of(lane, [beat(token, job)]) == [None]


def test_a_job_that_has_ended_and_a_lease_that_is_half_gone_are_the_route_s(
    app: Flask, lane: FastLane, issuer: Issuer, running: Any, engine: sa.Engine, clock: ManualClock
) -> None:
    job, other = running(2)
    token = known(app, pilot_token(issuer), job)
    with engine.begin() as tx:
        jobs.move_job(tx, jobs.ref(jobs.get_job(tx, job)), JobState.FAILED, actor="t", why="t", now=clock())
    assert answers_of(lane, [beat(token, job)]) == [None]
    clock.advance(seconds=2800)
    assert answers_of(lane, [beat(token, other)]) == [None]
    assert by_the_route(app, beat(token, other)).json["data"]["leaseSeconds"] == 1800


def test_without_a_database_the_route_tells(
    app: Flask, lane: FastLane, issuer: Issuer, running: Any, engine: sa.Engine
) -> None:
    [job] = running(1)
    token = known(app, pilot_token(issuer), job)
    with engine.begin() as tx:
        tx.execute(sa.text("ALTER TABLE jobs RENAME TO gone"))
    assert answers_of(lane, [beat(token, job)]) == [None]


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
