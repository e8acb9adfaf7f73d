"""Hostile, broken and oversize requests, and a database that is away: never a 500, always an envelope."""

from __future__ import annotations

import gzip
import json
import re
import resource
from typing import Any
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa
from flask import Flask
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st

from bamboo.core.clock import ManualClock
from bamboo.core.settings import Settings
from bamboo.server.app import create_app
from bamboo.server.auth.access import ANYONE, open_to
from bamboo.server.old_style import METHODS
from bamboo.sql.clock import DatabaseClock
from bamboo.sql.engine import open_engine


def routes(app: Flask, method: str) -> list[str]:
    return sorted(
        rule.rule
        for rule in app.url_map.iter_rules()
        if method in (rule.methods or ()) and "<" not in rule.rule and not rule.rule.startswith("/static")
    )


def test_every_route_answers_in_the_envelope(app: Flask) -> None:
    client = app.test_client()
    for method in ("GET", "POST"):
        for path in routes(app, method):
            if path.startswith("/api/v1/"):
                answer = client.open(path, method=method, json={} if method == "POST" else None)
                assert answer.status_code == 200, path
                assert {"success", "message", "data"} <= answer.json.keys()
                assert isinstance(answer.json["message"], str)
                assert answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("body", "status", "http"),
    [
        (b"", 400, 400),
        (b"not json", 400, 400),
        (b'{"a": NaN}', 400, 400),
        (b'{"a": -Infinity}', 400, 400),
        (b'{"a": 1e999}', 400, 400),
        (b'{"job_id": ' + b"9" * 10_000 + b"}", 400, 400),
        (b"\xff\xfe\x00", 400, 400),
        (b'{"broken', 400, 400),
        ('{"job_id": 1, "node": "\\u0000"}'.encode("utf-16"), 400, 400),
        (b'{"job_id": 1, "node": "\xed\xa0\x80"}', 400, 400),
        (b"\x1f\x8b", 400, 400),
        (b"\x1f\x8bgarbage", 400, 400),
        (gzip.compress(b'{"a": 1}', mtime=0)[:-9], 400, 400),
        (b"[]", 422, 200),
        (b"null", 422, 200),
        (b'{"a":' * 100 + b"1" + b"}" * 100, 413, 413),
        (b"[" * 100_000, 413, 413),
        (b"x" * 300_000, 413, 413),
        (gzip.compress(b"[" + b"0," * 50_000_000 + b"0]", mtime=0), 413, 413),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_unreadable_bodies(app: Flask, body: bytes, status: int, http: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in ("/api/v1/task/submit", "/api/v1/pilot/update_job"):
        answer = app.test_client().post(path, data=body)
        assert (answer.status_code, answer.json["status"]) == (http, status), answer.text
        assert answer.json["success"] is False
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB


def test_unknown_addresses_and_methods(app: Flask) -> None:
    client = app.test_client()
    assert client.get("/api/v1/task/dance").json["status"] == client.get("/api/v1/task/dance").status_code == 404
    answer = client.get("/api/v1/task/kill")
    assert (answer.status_code, answer.json["status"]) == (405, 405)
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize(
    ("given_id", "is_kept"), [("abc-1.2_3", True), ("a b", False), ("x" * 65, False), ("<b>", False)]
)
def test_request_ids(app: Flask, given_id: str, is_kept: bool) -> None:
    answer = app.test_client().get("/api/v1/task/get_status?task_id=1", headers={"X-Request-Id": given_id})
    assert (answer.headers["X-Request-Id"] == given_id) is is_kept
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]


def test_a_bug_tells_nothing_but_the_request_id(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise RuntimeError("the secret of the house")

    app.add_url_rule("/api/v1/system/broken", "broken", open_to(ANYONE)(broken))
    answer = app.test_client().get("/api/v1/system/broken", headers={"X-Request-Id": "r1"})
    assert (answer.status_code, answer.json["code"], answer.json["request_id"]) == (500, "BAM-500", "r1")
    assert "secret" not in answer.text
    assert any(getattr(record, "request_id", "") == "r1" and record.exc_info for record in caplog.records)


@pytest.fixture
def away(settings: Settings, clock: ManualClock) -> Any:
    """The application over a database that does not answer."""
    engine = open_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
    yield create_app(settings, engine, clock).test_client()
    engine.dispose()


def test_a_database_that_is_away(away: Any) -> None:
    for path, body in (
        ("pilot/acquire_jobs", {"computing_element": "LOCAL"}),
        ("pilot/update_job", {"job_id": 1, "attempt_nr": 1, "job_status": "running"}),
        ("task/kill", {"task_id": 1}),
    ):
        answer = away.post(f"/api/v1/{path}", json=body)
        assert (answer.status_code, answer.json["status"], answer.json["success"]) == (503, 503, False)
        assert int(answer.headers["Retry-After"]) > 0
    answer = away.post("/server/panda/updateJob", data={"jobId": 1, "state": "running"})
    assert answer.status_code == 503  # any other answer would count as accepted
    assert away.get("/livez").status_code == 200
    assert away.get("/api/v1/system/is_alive").json["success"]
    assert away.get("/readyz").status_code == 503


def test_pages_say_that_the_database_is_away(settings: Settings) -> None:
    """Its clock is away with it, by which everybody is asked who they are."""
    engine = open_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
    pages = create_app(settings, engine, DatabaseClock(engine)).test_client()
    for accept in ("*/*", "text/html,application/xhtml+xml,*/*;q=0.8"):
        for path in ("/tasks/", "/agents/", "/task/1/", "/nothing"):
            answer = pages.get(path, headers={"Accept": accept})
            assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0
            assert "the database does not answer" in answer.text
        assert pages.get("/static/nothing", headers={"Accept": accept}).status_code == 404
        ready = pages.get("/readyz", headers={"Accept": accept})
        assert ready.status_code == 503 and "cannot be reached" in ready.json["problems"][0]


def test_a_pilot_waits_for_a_database_that_is_away(away: Any) -> None:
    """An HTTP error as the answer to getJob ends it (pilot protocol 5)."""
    answer = away.post("/server/panda/getJob", data={"siteName": "LOCAL"})
    assert answer.status_code == 200
    assert answer.json["StatusCode"] == 10
    assert None not in answer.json.values()


def test_a_locked_database_is_away_too(settings: Settings, sqlite_url: str, clock: ManualClock) -> None:
    writer, engine = open_engine(sqlite_url), open_engine(sqlite_url)

    @sa.event.listens_for(engine, "connect")
    def _impatient(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA busy_timeout=50")

    client = create_app(settings, engine, clock).test_client()
    with writer.begin():
        assert client.post("/api/v1/pilot/acquire_jobs", json={"computing_element": "LOCAL"}).status_code == 503
        assert client.post("/server/panda/getJob", data={"siteName": "LOCAL"}).json["StatusCode"] == 10
        assert client.get("/api/v1/queue/list").json["success"]  # readers wait for nobody
    assert client.post("/api/v1/pilot/acquire_jobs", json={"computing_element": "LOCAL"}).status_code == 200
    writer.dispose()
    engine.dispose()


def test_ready_means_the_schema_is_there(app: Flask, settings: Settings, clock: ManualClock) -> None:
    assert app.test_client().get("/readyz").json == {"status": "ready", "problems": []}
    empty = open_engine("sqlite://")
    answer = create_app(settings, empty, clock).test_client().get("/readyz")
    assert answer.status_code == 503 and "bamboo db upgrade" in answer.json["problems"][0]
    empty.dispose()


texts = st.text(alphabet=st.characters(exclude_categories=()), max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4))
keys = st.sampled_from(
    [
        *("task_id", "soft", "new_parameters", "task_parameters", "parent_tid", "job_id", "attempt_nr", "job_status"),
        *(
            "computing_element",
            "memory",
            "n_jobs",
            "node",
            "pilot_id",
            "prod_source_label",
            "worker_id",
            "harvester_id",
        ),
        *("status", "dataset", "files", "create", "queue", "attributes", "file_size", "checksum", "max_rss", "stdout"),
        *(
            "job_ids",
            "mode",
            "command",
            "job_list",
            "event_ranges",
            "increase",
            "dry_run",
            "start_time",
            "site",
            "host_name",
        ),
    ]
)
likely = st.sampled_from(
    ["running", "finished", "LOCAL", "started", 1, "x", "NULL", 2**63, -1, [{}], {"taskName": "x"}]
)
OLD_FIELDS = (
    *("jediTaskID", "taskParams", "newParams", "soft", "ids", "jobs", "pandaID", "modeOn", "eventRanges", "timeRange"),
    *("siteName", "mem", "nJobs", "jobId", "state", "attemptNr", "xml", "metaData", "startTime", "endTime", "fileSize"),
    *(
        "checkSum",
        "workerID",
        "harvesterID",
        "status",
        "increasedNr",
        "task_id",
        "dataset_types",
        "dryRun",
        "minTaskID",
    ),
)
bodies = values | st.dictionaries(keys | texts, likely | values, max_size=8)


def test_no_json_makes_a_bug(settings: Settings, sqlite_url: str, postgres_url: str, clock: ManualClock) -> None:
    engines = [open_engine(sqlite_url), open_engine(postgres_url)]
    apps = [create_app(settings, engine, clock) for engine in engines]
    paths = [path for path in routes(apps[0], "POST") if path.startswith("/api") and "upload_cache" not in path]

    @examples(150)
    @given(path=st.sampled_from(paths), body=bodies)
    def holds(path: str, body: Any) -> None:
        for app in apps:
            answer = app.test_client().post(path, data=json.dumps(body).encode())
            assert answer.status_code in (200, 413), (path, body, answer.text)
            assert isinstance(answer.json["success"], bool)

    @examples(60)
    @given(
        path=st.sampled_from([path for path in routes(apps[0], "GET") if path.startswith("/api")]),
        query=st.dictionaries(
            st.sampled_from(["task_id", "filters", "since", "job_ids", "after", "limit", "pattern", "job_task_ids"])
            | texts,
            texts | st.sampled_from(["1", "[1]", "{'a': 1}", "[[", "None", "2025-01-01"]),
        ),
    )
    def queries_hold(path: str, query: dict[str, str]) -> None:
        sendable = {key.encode("utf-8", "replace"): value.encode("utf-8", "replace") for key, value in query.items()}
        for app in apps:
            answer = app.test_client().get(path, query_string=sendable)
            assert answer.status_code in (200, 400, 413), (path, query, answer.text)

    @examples(80)
    @given(
        method=st.sampled_from(sorted(set(METHODS) - {"putFile"})),
        fields=st.dictionaries(st.sampled_from(OLD_FIELDS), likely | values, max_size=6),
        is_form=st.booleans(),
    )
    def the_old_style_holds(method: str, fields: dict[str, Any], is_form: bool) -> None:
        words = [(key.encode(), str(value).encode("utf-8", "replace")) for key, value in fields.items()]
        body = urlencode(words).encode() if is_form else gzip.compress(json.dumps(fields).encode())
        for app in apps:
            answer = app.test_client().post(f"/server/panda/{method}", data=body)
            assert answer.status_code in (200, 400, 404, 409, 413, 422, 501, 403), (method, fields, answer.text)

    holds()
    queries_hold()
    the_old_style_holds()
    for engine in engines:
        engine.dispose()


@pytest.mark.parametrize("part", ["9" * 30, "%00", "x%00y", "%ff", "%ed%a0%80", "x" * 3000, "..%2f.."])
def test_no_part_of_an_address_makes_a_bug(part: str, app: Flask) -> None:
    """A number that no database can hold was one, and so was a NUL to PostgreSQL."""
    client, asked = app.test_client(), 0
    for rule in app.url_map.iter_rules():
        for verb in (rule.methods or set()) & {"GET", "POST"} if rule.arguments else ():
            answer = client.open(re.sub("<.*?>", part, rule.rule), method=verb, json={} if verb == "POST" else None)
            assert answer.status_code < 500, (verb, rule.rule, answer.text)
            asked += 1
    assert asked > 10


def test_a_replica_is_for_readers(settings: Settings, postgres_url: str, clock: ManualClock) -> None:
    """A server over a replica shows what there is; whoever wants to write is sent away, and may come again."""
    engine = open_engine(postgres_url)
    with engine.begin() as tx:
        tx.exec_driver_sql(
            f"ALTER DATABASE {sa.make_url(postgres_url).database} SET default_transaction_read_only = on"
        )
    engine.dispose()  # what is set holds for new connections
    client = create_app(settings, engine, clock).test_client()
    for path in ("/", "/tasks/", "/readyz", "/api/v1/queue/list", "/cache/schedconfig/pandaqueues.json"):
        assert client.get(path).status_code == 200, path
    answer = client.post("/api/v1/queue/set", json={"queue": "Q", "attributes": {}})
    assert answer.status_code == 503
    assert "the database can only be read here" in answer.json["message"]
    assert client.post("/api/v1/pilot/acquire_jobs", json={"computing_element": "LOCAL"}).status_code == 503
    assert client.post("/server/panda/getJob", data={"siteName": "LOCAL"}).json["StatusCode"] == 10
    engine.dispose()
