"""Pages: what they show, for whom, and that nobody's names can do anything on them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from flask import Flask
from flask.testing import FlaskClient
from tokens import Issuer

from bamboo.core.clock import ManualClock
from bamboo.core.settings import ServerSection, Settings
from bamboo.server.app import create_app
from bamboo.server.auth.session import COOKIE, SESSION_SECONDS, TICKET_SECONDS
from bamboo.sql import history, job_records
from bamboo.sql import tables as t

PAGES = (
    "/",
    "/tasks/",
    "/jobs/",
    "/errors/",
    "/queues/",
    "/queue/LOCAL/",
    "/sites/",
    "/site/LOCAL/",
    "/workers/",
    "/globalshares/",
    "/users/",
    "/user/alice/",
    "/datasets/",
    "/decisions/",
    "/agents/",
    "/settings/",
    "/api/",
    "/search?q=zzz",
)
#: What hostile people call things.
HOSTILE = "<script>alert(1)</script>'\"&{{7*7}}"


def get(client: FlaskClient, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status, (path, answer.text)
    return answer.text


def ids(client: FlaskClient, query: str, key: str = "jeditaskid") -> list[int]:
    found: Any = client.get(f"{query}{'&' if '?' in query else '?'}json").json
    return [row[key] for row in (found["jobs"] if key == "pandaid" else found)]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_there_empty_and_with_work_and_as_json(pages: FlaskClient, world: Any, path: str) -> None:
    get(pages, path)
    world.jobs(3)
    text = get(pages, path)
    assert "<h1>" in text and 'lang="en"' in text
    answer = pages.get(path + ("&" if "?" in path else "?") + "json")
    assert answer.status_code == 200 and answer.json is not None
    for accept in ("application/json", "application/json, text/plain, */*", "application/json;q=0.9, */*;q=0.8"):
        assert pages.get(path, headers={"Accept": accept}).json == answer.json
    for accept in ("*/*", "text/html,application/xhtml+xml,*/*;q=0.8", "text/html, application/json"):
        assert pages.get(path, headers={"Accept": accept}).mimetype == "text/html"


def test_what_only_a_pilot_may_know_is_on_no_page(pages: FlaskClient, world: Any, clock: ManualClock) -> None:
    """Whoever repeats the request that took a job is given the job."""
    held = {"status": "sent", "lease_until": clock() + timedelta(hours=1)}
    (job,) = world.jobs(1, **held, claim_key="of-the-request", pilot_id="the-pilot")
    for path in (*PAGES, f"/job/{job}/"):
        for answer in (get(pages, path), get(pages, path + ("&" if "?" in path else "?") + "json")):
            assert "of-the-request" not in answer, path
    assert "the-pilot" in get(pages, "/queue/LOCAL/?json")


@pytest.mark.parametrize("path", PAGES)
def test_nothing_is_loaded_from_elsewhere_and_no_script_is_in_a_page(pages: FlaskClient, world: Any, path: str) -> None:
    world.jobs(1)
    answer = pages.get(path)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", answer.text)
    assert not re.search(r"<script(?![^>]* src=)|<style| style=| on\w+=", answer.text)


def test_hostile_names_are_text(pages: FlaskClient, world: Any, engine: sa.Engine, clock: ManualClock) -> None:
    task = world.task(HOSTILE, user=HOSTILE)
    (job,) = world.jobs(1, task=task, user_name=HOSTILE)
    with engine.begin() as tx:
        tx.execute(sa.update(t.tasks).values(error_dialog=HOSTILE))
        held = {"status": "running", "lease_until": clock()}
        tx.execute(sa.update(t.jobs).values(node=HOSTILE, pilot_error_code=1305, pilot_error_diag=HOSTILE, **held))
    for path in ("/tasks/", "/jobs/", f"/task/{task}/", f"/job/{job}/", "/users/", "/workers/"):
        text = get(pages, path)
        assert "<script>alert" not in text and "&lt;script&gt;" in text
    assert "<script>alert" not in get(pages, f"/search?q={HOSTILE}")
    get(pages, f"/tasks/?username={HOSTILE}")
    assert "<script>alert" not in get(pages, f"/jobs/?error={HOSTILE}", 422)


def test_lists_take_what_bigpanda_takes(pages: FlaskClient, world: Any, clock: ManualClock) -> None:
    old = world.task("user.alice.old/", user="alice")
    clock.advance(days=3)
    new = world.task("user.bob.new/", user="bob", working_group="higgs")
    assert ids(pages, "/tasks/") == [new, old]
    assert ids(pages, "/tasks/?days=1") == [new]
    assert ids(pages, "/tasks/?hours=100") == [new, old]
    assert ids(pages, "/tasks/?earlierthandays=1") == [old]
    assert ids(pages, "/tasks/?username=bo*") == [new]
    assert ids(pages, "/tasks/?taskname=*alice*|nothing") == [old]
    assert ids(pages, "/tasks/?status=registered&workinggroup=higgs") == [new]
    assert ids(pages, "/tasks/?tasktype=anal") == [new, old]
    assert ids(pages, "/tasks/?tasktype=prod") == []
    assert ids(pages, f"/tasks/?jeditaskid={old}|{new}&limit=1") == [new]
    assert ids(pages, f"/tasks/?before={new}") == [old]
    day = f"{clock():%Y-%m-%d}"
    assert ids(pages, f"/tasks/?date_from={day}") == [new]
    assert ids(pages, f"/tasks/?date_to={day}") == [old]
    assert ids(pages, "/tasks/?endtimerange=2025-01-01T00:00|2025-01-02T00:00") == []


def test_jobs_are_those_of_the_last_hours_or_of_a_task(pages: FlaskClient, world: Any, clock: ManualClock) -> None:
    task = world.task()
    old = world.jobs(2, task=task)
    clock.advance(hours=13)
    (new,) = world.jobs(1, user_name="bob")
    assert ids(pages, "/jobs/", "pandaid") == [new]
    assert ids(pages, "/jobs/?hours=20", "pandaid") == [new, *reversed(old)]
    assert ids(pages, f"/jobs/?jeditaskid={task}", "pandaid") == old[::-1]
    assert ids(pages, f"/jobs/?pandaid={old[0]}", "pandaid") == old[:1]
    assert ids(pages, "/jobs/?hours=20&jobstatus=activated|failed&produsername=bob", "pandaid") == [new]
    assert ids(pages, "/jobs/?hours=20&error=pilot:1305", "pandaid") == []


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("/tasks/?days=x", "days"),
        ("/tasks/?jeditaskid=x", "jeditaskid"),
        ("/tasks/?endtimerange=1", "endtimerange"),
        ("/tasks/?date_from=yesterday", "date_from"),
        ("/tasks/?display_limit=5000", "display_limit"),
        ("/jobs/?error=nobody:1", "error"),
        ("/jobs/?error=pilot:--5", "error"),
        ("/jobs/?error=pilot:²", "error"),
        ("/jobs/?error=pilot:99999999999", "error"),
        ("/jobs/?pandaid=99999999999999999999", "pandaid"),
    ],
)
def test_what_makes_no_sense_is_said(pages: FlaskClient, query: str, where: str) -> None:
    text = get(pages, query, 422)
    assert "<h1>Not shown</h1>" in text and f"<code>{where}</code>" in text
    assert where in str(pages.get(f"{query}&json").json["errors"])


def test_what_is_not_there(pages: FlaskClient) -> None:
    for path in ("/task/1/", "/job/1/", "/queue/NOWHERE/", "/site/NOWHERE/", "/dataset/?datasetname=none"):
        assert "<h1>Not shown</h1>" in get(pages, path, 404)


def test_the_search_box_leads_to_what_is_meant(pages: FlaskClient, world: Any) -> None:
    task = world.task("user.alice.the-one/")
    (job,) = world.jobs(1, task=task)
    assert pages.get(f"/search?q={task}").headers["Location"] == f"/task/{task}/"
    assert pages.get(f"/search?q={job}").headers["Location"] == f"/job/{job}/"
    assert pages.get("/search?q=the-one").headers["Location"] == f"/task/{task}/"
    assert pages.get(f"/job?pandaid={job}&json", follow_redirects=True).json["job"]["pandaid"] == job
    assert pages.get(f"/task/?json&jeditaskid={task}", follow_redirects=True).json["task"]["jeditaskid"] == task
    assert "LOCAL" in get(pages, "/search?q=l")
    assert "0 found" in get(pages, "/search?q=nothing-like-it")


def test_failures_by_cause(pages: FlaskClient, world: Any, engine: sa.Engine, clock: ManualClock) -> None:
    jobs = world.jobs(3)
    with engine.begin() as tx:
        ended = {"status": "failed", "modified_at": clock(), "pilot_error_code": 1305, "trans_exit_code": 3}
        tx.execute(sa.update(t.jobs).where(t.jobs.c.pandaid.in_(jobs[:2])).values(**ended))
        history.book_step(tx, history.step_of(clock()))
        history.take_sample(tx, history.step_of(clock()))
    found: Any = pages.get("/errors/?json").json
    assert [(one["cause"], one["n"], one["who"]) for one in found["causes"]] == [("pilot:1305", 2, "user")]
    assert (found["n_failed"], found["n_ended"]) == (2, 2)
    dashboard: Any = pages.get("/?json").json
    assert dashboard["jobs"] == {"activated": 1}
    assert dashboard["ended"] == {"failed": 2}
    assert ids(pages, "/jobs/?error=pilot:1305", "pandaid") == jobs[1::-1]
    for path in ("/", "/errors/", "/queue/LOCAL/", "/user/alice/"):
        assert re.search(r'<rect class="(s-failed|o-0)"', get(pages, path))


def test_what_runs_is_not_what_ran(pages: FlaskClient, world: Any, engine: sa.Engine, clock: ManualClock) -> None:
    """A sample that finds no job leaves no row, so that the last one may be of long ago."""
    (job,) = world.jobs(1)
    running = {"status": "running", "lease_until": clock()}
    for status, n in ((running, 1), ({"status": "finished", "lease_until": None}, 0)):
        with engine.begin() as tx:
            tx.execute(sa.update(t.jobs).where(t.jobs.c.pandaid == job).values(**status))
            history.take_sample(tx, history.step_of(clock()))
        found: Any = pages.get("/?json").json
        assert [one["n_jobs"] for one in found["running"]["user_name"]] == [1] * n
        users: Any = pages.get("/users/?json").json
        assert [one["running_cores"] for one in users] == [n]
        clock.advance(seconds=2 * history.STEP.total_seconds())


def test_all_attempts_at_an_input_are_side_by_side(pages: FlaskClient, world: Any, engine: sa.Engine) -> None:
    first, second, other = world.jobs(3)
    with engine.begin() as tx:
        datasetid = tx.scalar(sa.select(t.datasets.c.datasetid).limit(1))
        task = tx.scalar(sa.select(t.jobs.c.jeditaskid).limit(1))
        for job, fileid in ((first, 7), (second, 7), (other, 8)):
            row = {"pandaid": job, "jeditaskid": task, "datasetid": datasetid, "type": "input", "lfn": "f"}
            tx.execute(sa.insert(t.job_files).values(**row, fileid=fileid, status="failed"))
    found: Any = pages.get(f"/job/{first}/?json").json
    assert [one["pandaid"] for one in found["attempts"]] == [first, second]


def test_a_job_that_the_kernel_ended_says_so_with_peak_and_limit(
    app: Flask, world: Any, engine: sa.Engine, clock: ManualClock
) -> None:
    """Its last words are for its owner."""
    (job,) = world.jobs(1)
    samples = [[100, 50_000, 40_000, 1, 0, 0], [102, 99_000, 90_000, 3, 10, 2048], [104, 60_000, 5, 4, 10, 2048]]
    values = {"kernel_limit_kb": 100 * 1024, "oom_kills": 1, "tree": [[1, 0, "python3", 60_000, "S"]]}
    told = job_records.Told(samples, {"stdout": job_records.Piece(0, "last words")}, values)
    with engine.begin() as tx:
        job_records.add(tx, {job: [told]}, now=clock())
    owner = app.test_client().get(f"/job/{job}/", headers={"X-Bamboo-User": "alice"}).text
    other = app.test_client().get(f"/job/{job}/", headers={"X-Bamboo-User": "bob"}).text
    for text in (owner, other):
        assert "the peak was 96 MB, the limit is 100 MB" in text
        assert text.count("<polyline") == 5 and "python3" in text
    assert "last words" in owner and "last words" not in other


def test_figures_that_no_pilot_can_have_are_drawn(
    pages: FlaskClient, world: Any, engine: sa.Engine, clock: ManualClock
) -> None:
    (job,) = world.jobs(1)
    most = [2.0**53] * 5
    samples = [[1e-300, 0, 0, 0, 0, 0], [2e-300, *most], [1, 0, 0, 0, 0, 0], [2.0**53, *most]]
    with engine.begin() as tx:
        job_records.add(tx, {job: [job_records.Told(samples)]}, now=clock())
    assert get(pages, f"/job/{job}/").count("<polyline") == 5


def test_styles_are_kept_by_browsers_and_packed(pages: FlaskClient) -> None:
    address = re.findall(r'"(/static/bamboo\.css[^"]*)"', get(pages, "/"))[0]
    plain = pages.get(address)
    packed = pages.get(address, headers={"Accept-Encoding": "gzip"})
    assert "immutable" in plain.headers["Cache-Control"] and plain.mimetype == "text/css"
    assert packed.headers["Content-Encoding"] == "gzip" and len(packed.data) < len(plain.data) / 2
    for path in ("/static/../app.py", "/static/vendor/README.md", "/static/none.js"):
        assert pages.get(path).status_code in (401, 404)


# signing in


@pytest.fixture
def keyed(issuer: Issuer, engine: sa.Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Flask:
    """An application that wants tokens, and has a key for tickets."""
    monkeypatch.setenv("A_KEY", Fernet.generate_key().decode())
    section = issuer.section().model_copy(update={"secrets_key": "env:A_KEY"})
    return create_app(Settings(server=section), engine, clock)


def sign_in(app: Flask, issuer: Issuer, **claims: Any) -> FlaskClient:
    client = app.test_client()
    bearer = {"Authorization": f"Bearer {issuer.token(**claims)}", "Origin": "cms"}
    told: Any = client.post("/api/v1/system/get_web_ticket", headers=bearer).json
    answer = client.get("/sign_in", query_string={"ticket": told["data"]["ticket"], "page": "/tasks/"})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/tasks/")
    kept = answer.headers["Set-Cookie"]
    assert "HttpOnly" in kept and "SameSite=Lax" in kept
    return client


def test_whoever_signed_in_sees_and_commands_what_is_theirs(keyed: Flask, issuer: Issuer, world: Any) -> None:
    task = world.task(user="Alice Example")
    world.jobs(1, task=task, user_name="Alice Example")
    owner, stranger, nobody = (
        sign_in(keyed, issuer),
        sign_in(keyed, issuer, name="Bob", groups=["/cms"]),
        keyed.test_client(),
    )
    assert "you are Alice Example" in get(owner, "/")
    assert f"/task/{task}/command/pause" not in get(nobody, f"/task/{task}/")
    assert f"/task/{task}/command/pause" not in get(stranger, f"/task/{task}/")
    assert f"/task/{task}/command/kill" in get(owner, f"/task/{task}/")
    get(owner, f"/task/{task}/why/")
    get(stranger, f"/task/{task}/why/", 403)
    get(nobody, f"/task/{task}/why/", 401)
    place, here = f"/task/{task}/command/kill", {"Origin": "http://localhost"}
    assert nobody.post(place, headers=here).status_code == 401
    assert stranger.post(place, headers=here).status_code == 403
    assert owner.post(place).status_code == 403  # from no page of ours
    assert owner.post(place, headers={"Origin": "http://evil.example"}).status_code == 403
    assert owner.post(place, headers=here).status_code == 302
    assert "kill, queued" in get(owner, f"/task/{task}/")


def test_command_lines_are_for_users(keyed: Flask, issuer: Issuer, world: Any, engine: sa.Engine) -> None:
    task = world.task(user="Alice Example")
    one, other = world.jobs(2, task=task, user_name="Alice Example")
    with engine.begin() as tx:
        tx.execute(sa.update(t.job_params).values(job_parameters="--word in-the-job"))
        tx.execute(sa.update(t.task_params).values(parameters={"aWord": "in-the-task", "cliParams": "in-the-line"}))
    stranger, nobody = sign_in(keyed, issuer, name="Bob", groups=["/cms"]), keyed.test_client()
    for client, is_told in ((stranger, True), (nobody, False)):
        for path in (f"/task/{task}/", f"/job/{one}/compare/{other}/"):
            for told in (get(client, path), get(client, f"{path}?json")):
                assert any(word in told for word in ("in-the-task", "in-the-line", "in-the-job")) is is_told, path


def test_tickets_and_cookies_end(keyed: Flask, issuer: Issuer, clock: ManualClock) -> None:
    client = keyed.test_client()
    bearer = {"Authorization": f"Bearer {issuer.token()}", "Origin": "cms"}
    told: Any = client.post("/api/v1/system/get_web_ticket", headers=bearer).json
    signed = sign_in(keyed, issuer, exp=int(clock().timestamp()) + 2 * SESSION_SECONDS)
    clock.advance(seconds=TICKET_SECONDS + 1)
    assert "too old" in get(client, f"/sign_in?ticket={told['data']['ticket']}", 422)
    client.set_cookie(COOKIE, told["data"]["ticket"])  # a ticket is no cookie
    assert "you are" not in get(client, "/")
    assert "you are" in get(signed, "/")
    clock.advance(seconds=SESSION_SECONDS)
    assert "you are" not in get(signed, "/")


def test_nobody_is_signed_in_for_longer_than_their_token_lasts(
    keyed: Flask, issuer: Issuer, clock: ManualClock
) -> None:
    signed = sign_in(keyed, issuer, exp=int(clock().timestamp()) + 600)
    refused = signed.post("/api/v1/system/get_web_ticket", headers={"Origin": "http://localhost"})
    assert (refused.status_code, refused.json["success"]) == (403, False)
    clock.advance(seconds=599)
    assert "you are" in get(signed, "/")
    clock.advance(seconds=1)
    assert "you are" not in get(signed, "/")


def test_a_link_gives_no_command(keyed: Flask, issuer: Issuer, world: Any) -> None:
    """The old style takes commands by GET, and browsers send their cookie along with whatever link is followed."""
    task = world.task(user="Alice Example")
    owner = sign_in(keyed, issuer)
    answer = owner.get(f"/server/panda/killTask?jediTaskID={task}")
    assert answer.status_code == 403 and "page of another server" in answer.text
    assert "kill, queued" not in get(owner, f"/task/{task}/")


def test_signing_out(keyed: Flask, issuer: Issuer) -> None:
    client = sign_in(keyed, issuer)
    assert client.post("/sign_out", headers={"Origin": "http://localhost"}).status_code == 302
    assert "you are" not in get(client, "/")


def test_a_page_to_go_to_is_one_of_ours(keyed: Flask) -> None:
    for page in ("https://evil.example/", "//evil.example/", "/\\evil.example", "/%09/evil.example", "/x%0d%0aA:%20b"):
        assert "<code>page</code>" in get(keyed.test_client(), f"/sign_in?ticket=x&page={page}", 422)


def test_pages_may_be_for_those_who_are_signed_in(
    issuer: Issuer, engine: sa.Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, keyed: Flask, world: Any
) -> None:
    section: ServerSection = keyed.extensions["bamboo"].settings.server
    closed = create_app(Settings(server=section.model_copy(update={"open_pages": False})), engine, clock)
    nobody, somebody = closed.test_client(), sign_in(closed, issuer)
    for path in PAGES:
        get(nobody, path, 401)
        get(somebody, path)
    style = re.findall(r'"(/static/bamboo\.css[^"]*)"', get(nobody, "/", 401))[0]
    get(nobody, style)


def test_an_address_that_asks_too_often_is_told_when_to_come_again(engine: sa.Engine, clock: ManualClock) -> None:
    client = create_app(Settings(server=ServerSection(requests_per_minute=2)), engine, clock).test_client()
    assert [client.get("/decisions/").status_code for _ in range(3)] == [200, 200, 429]
    assert int(client.get("/decisions/").headers["Retry-After"]) > 0
    assert client.get("/static/bamboo.css").status_code == 200


def test_a_cookie_makes_nobody_an_administrator_who_only_was_on_the_right_machine(
    settings: Settings, engine: sa.Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", Fernet.generate_key().decode())
    section = settings.server.model_copy(update={"secrets_key": "env:A_KEY"})
    client = create_app(Settings(server=section), engine, clock).test_client()
    told: Any = client.post("/api/v1/system/get_web_ticket", headers={"X-Bamboo-User": "alice"}).json
    assert client.get("/sign_in", query_string={"ticket": told["data"]["ticket"]}).status_code == 302
    found: Any = client.get("/api/v1/system/whoami").json["data"]
    assert (found["userName"], found["isLocal"]) == ("alice", False)
