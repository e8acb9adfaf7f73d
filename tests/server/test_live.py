"""Live views: what streams tell, to whom, how long, and what a reader finds who comes again."""

from __future__ import annotations

import http.client
import json
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from patience import PATIENCE_SECONDS, eventually
from served import Served, served

from bamboo.core.clock import ManualClock, utc_now
from bamboo.core.flight_records import KEPT_BYTES
from bamboo.core.states import TaskState
from bamboo.server.live.events import Seen
from bamboo.server.live.streams import MOST_CHARACTERS
from bamboo.server.serve import CONNECTIONS, OTHER_FILES
from bamboo.sql import tasks
from bamboo.tests.server.conftest import World


@dataclass(frozen=True)
class Heard:
    """An event as a reader gets it."""

    name: str
    id: str
    data: dict[str, Any]


class Reader:
    """Reads a stream, event by event."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.answer = answer

    def lines(self) -> Iterator[str]:
        while line := self.answer.readline():
            yield line.decode().rstrip("\n")

    def __iter__(self) -> Iterator[Heard]:
        fields: dict[str, str] = {}
        for line in self.lines():
            name, _, value = line.partition(": ")
            if name:
                fields[name] = value
            if not line:
                if "data" in fields:
                    yield Heard(fields["event"], fields["id"], json.loads(fields["data"]))
                fields = {}

    def next(self, name: str) -> Heard:
        """The next event of a name; others before it are passed over."""
        return next(heard for heard in self if heard.name == name)


@contextmanager
def reading(server: Served, path: str, **headers: str) -> Iterator[Reader]:
    connection = http.client.HTTPConnection(urlsplit(server.address).netloc, timeout=PATIENCE_SECONDS)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request("GET", f"/api/v1/{path}", headers={"X-Bamboo-User": "alice", **sent})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        assert answer.getheader("Content-Type") == "text/event-stream; charset=utf-8"
        yield Reader(answer)
    finally:
        connection.close()


def can_read(server: Served, path: str, **headers: str) -> bool:
    """Whether a stream can be opened."""
    try:
        with reading(server, path, **headers):
            return True
    except AssertionError:
        return False


@pytest.fixture
def world(engine: sa.Engine) -> World:
    """Of the real time, which the server goes by."""
    made = World(engine, ManualClock(utc_now()))
    made.queue()
    return made


@pytest.fixture
def server(database_url: str, tmp_path: Path) -> Iterator[Served]:
    with served(database_url, tmp_path / "cache", workers=1, threads=1, collect_seconds=0.05) as running:
        yield running


def take_job(server: Served, world: World, task: int | None = None) -> int:
    """A job that a pilot has taken and reported as running."""
    (job,) = world.jobs(1, task=task)
    assert server.post("/api/v1/pilot/acquire_jobs", {"computing_element": "LOCAL"}).json["success"]
    report(server, job)
    return job


def report(server: Served, job: int, state: str = "running", **more: Any) -> Any:
    body = {"job_id": job, "attempt_nr": 1, "job_status": state, **more}
    answer = server.post("/api/v1/pilot/update_job", body).json
    assert answer["success"], answer
    return answer["data"]


def move_task(engine: sa.Engine, task: int, to: TaskState) -> None:
    with engine.begin() as tx:
        row = tasks.get_task(tx, task, lock=True)
        tasks.move_task(tx, tasks.ref(row), to, actor="test", why="test", now=utc_now())


def test_a_log_is_read_as_it_grows_and_its_pilot_hears_of_it(server: Served, world: World) -> None:
    """With one thread: a stream holds none. The order is taken back when nobody reads any more."""
    job = take_job(server, world)
    assert report(server, job, record={"stdout": {"at": 0, "text": "one\n"}})["command"] == "NULL"
    with reading(server, f"job/log?job_id={job}") as reader:
        eventually(lambda: report(server, job)["command"] == "debug", "the pilot to be told")
        first = reader.next("stdout")
        assert first.data == {"text": "one\n", "missing": 0}
        report(server, job, record={"stdout": {"at": 4, "text": "two\n"}, "stderr": {"at": 0, "text": "é\n"}})
        assert [heard.data["text"] for heard in (reader.next("stdout"), reader.next("stderr"))] == ["two\n", "é\n"]
    eventually(lambda: report(server, job)["command"].startswith("debugoff"), "the order to be taken back")
    with reading(server, f"job/log?job_id={job}", Last_Event_ID=first.id) as reader:
        assert reader.next("stdout").data["text"] == "two\n"
        last = {"record": {"stdout": {"at": 8, "text": "last words"}}, "job_output_report": "{}"}
        report(server, job, "failed", **last)
        assert reader.next("stdout").data["text"] == "last words"
        end = reader.next("end")
        assert end.data == {"status": "holding"}
        assert list(reader.lines()) == []
    assert server.get(f"/api/v1/job/log?job_id={job}", Last_Event_ID=end.id).status == 204


def order(server: Served, job: int, command: str) -> None:
    assert server.post("/api/v1/job/send_command", {"job_id": job, "command": command}).json["success"]


def test_a_pilot_hears_that_there_is_an_order(server: Served, world: World) -> None:
    """Once of each, also of one that was there before it came; and of the end, whoever brought it about."""
    job = take_job(server, world)
    with reading(server, f"pilot/orders?job_id={job}") as pilot:
        order(server, job, "ls -l")
        first = next(iter(pilot))
        assert (first.name, first.data) == ("order", {})
        assert report(server, job)["command"] == "ls -l"
    with reading(server, f"pilot/orders?job_id={job}") as another:
        assert next(iter(another)) == first
    with reading(server, f"pilot/orders?job_id={job}", Last_Event_ID=first.id) as again:
        order(server, job, "ps -ef")
        heard = iter(again)
        second = next(heard)
        assert second.name == "order" and second.id != first.id
        report(server, job, "failed", job_output_report="{}")
        end = next(heard)
        assert (end.name, end.data) == ("end", {"status": "holding"})
        assert list(heard) == []
    stale = server.get(f"/api/v1/pilot/orders?job_id={job}").json
    assert (stale["code"], stale["data"]["reason"]) == ("BAM-STATE-004", "stale_attempt")


def test_each_process_tells_its_pilots(database_url: str, world: World, tmp_path: Path) -> None:
    """The order is in the database: no process need know of the others."""
    with served(database_url, tmp_path / "cache", workers=2) as server, ExitStack() as open_streams:
        jobs = [take_job(server, world) for _ in range(6)]
        pilots = [open_streams.enter_context(reading(server, f"pilot/orders?job_id={job}")) for job in jobs]
        for job in jobs:
            order(server, job, "ls -l")
        assert [next(iter(pilot)).name for pilot in pilots] == ["order"] * 6


def test_pilots_take_no_room_from_readers(database_url: str, world: World, tmp_path: Path) -> None:
    with served(database_url, tmp_path / "cache", workers=1, max_streams=1, max_listening_pilots=1) as server:
        job = take_job(server, world)
        path, readers_path = f"pilot/orders?job_id={job}", f"job/events?job_id={job}"
        with reading(server, path), reading(server, readers_path):
            for full in (path, readers_path):
                refused = server.get(f"/api/v1/{full}")
                assert (refused.status, refused.headers["retry-after"]) == (503, "5")
            assert server.get("/api/v1/pilot/orders?job_id=999").status == 503  # it takes no look to say so


def test_nobody_takes_the_room_of_all_readers(database_url: str, world: World, tmp_path: Path) -> None:
    with served(database_url, tmp_path / "cache", workers=1, max_streams=8) as server:
        path = f"job/events?job_id={take_job(server, world)}"
        with reading(server, path), reading(server, path):
            assert not can_read(server, path)
            assert can_read(server, path, X_Bamboo_User="bob")
        eventually(lambda: can_read(server, path), "room again")


def test_pilots_leave_files_for_others(database_url: str, world: World, tmp_path: Path) -> None:
    n_streams, n_pilots = 5, 3
    around = ("bash", "-c", f'ulimit -n {n_streams + OTHER_FILES + n_pilots}; exec "$@"', "-")
    with served(database_url, tmp_path / "cache", *around, workers=1, max_streams=n_streams) as server:
        path = f"pilot/orders?job_id={take_job(server, world)}"
        with ExitStack() as open_streams:
            for _ in range(n_pilots):
                open_streams.enter_context(reading(server, path))
            assert server.get(f"/api/v1/{path}").status == 503


def test_a_server_may_ring_for_no_pilot(database_url: str, world: World, tmp_path: Path) -> None:
    with served(database_url, tmp_path / "cache", workers=1, max_listening_pilots=0) as server:
        job = take_job(server, world)
        assert server.get(f"/api/v1/pilot/orders?job_id={job}").json["code"] == "BAM-FIND-001"


def test_streams_leave_room_for_requests(database_url: str, world: World, tmp_path: Path) -> None:
    """Streams do not count among the connections that a process accepts, of which there are 1024 // workers."""
    with served(database_url, tmp_path / "cache", workers=1) as server, ExitStack() as open_streams:
        job, where = take_job(server, world), urlsplit(server.address)
        asked = f"GET /api/v1/pilot/orders?job_id={job} HTTP/1.1\r\nHost: x\r\nX-Bamboo-User: alice\r\n\r\n".encode()
        for _ in range(CONNECTIONS + 50):
            address = (str(where.hostname), int(where.port or 0))
            pilot = open_streams.enter_context(socket.create_connection(address, PATIENCE_SECONDS))
            pilot.sendall(asked)
            assert pilot.recv(64).startswith(b"HTTP/1.1 200")
        assert server.get(f"/api/v1/job/get_status?job_ids={job}").status == 200


def test_who_reads_too_late_is_told_how_much_is_missing(server: Served, world: World) -> None:
    job = take_job(server, world)
    report(server, job, record={"stdout": {"at": 1000, "text": "the end\n"}})
    with reading(server, f"job/log?job_id={job}") as reader:
        assert reader.next("stdout").data == {"text": "the end\n", "missing": 1000}


def test_a_stream_ends_when_it_has_brought_much(server: Served, world: World) -> None:
    """What a reader does not take is not kept without bounds; who has taken it goes on where it was."""
    job, at, text = take_job(server, world), 0, "x" * KEPT_BYTES
    with reading(server, f"job/log?job_id={job}") as reader:
        last, heard = "", iter(reader)
        while at <= MOST_CHARACTERS:
            piece = {"at": at, "text": text}
            report(server, job, record={"stdout": piece, "stderr": piece})
            at += KEPT_BYTES
            both = [next(heard, None), next(heard, None)]
            if None in both:
                break
            last = str(both[1] and both[1].id)
        assert list(heard) == [] and MOST_CHARACTERS / 2 - 2 * KEPT_BYTES < at < MOST_CHARACTERS
    with reading(server, f"job/log?job_id={job}", Last_Event_ID=last) as reader:
        assert reader.next("stdout").data == {"text": text, "missing": 0}


def test_a_task_is_followed_to_its_end(server: Served, world: World, engine: sa.Engine) -> None:
    task = world.task()
    with reading(server, f"task/events?task_id={task}") as reader:
        assert reader.next("step").data["new"] == "registered"
        assert reader.next("state").data["jobs"] == {}
        for state in (TaskState.DEFINED, TaskState.TOBROKEN, TaskState.BROKEN):
            move_task(engine, task, state)
        assert reader.next("step").data["old"] == "registered"
        end = reader.next("end")
        assert end.data == {"status": "broken"}
    (mark,) = [end.id.partition(".")[2].removesuffix(".end")]
    with reading(server, f"task/events?task_id={task}", Last_Event_ID=f"0.{mark}") as reader:
        names = [heard.name for heard in reader]
    assert names == ["step"] * 4 + ["end"]


def test_a_job_is_followed_with_its_figures(server: Served, world: World) -> None:
    job = take_job(server, world)
    with reading(server, f"job/events?job_id={job}") as reader:
        assert reader.next("state").data["jobStatus"] == "running"
        report(server, job, max_rss=1234)
        eventually(lambda: reader.next("state").data["maxRSS"] == 1234, "the figure")


def test_there_are_only_so_many_streams(database_url: str, world: World, tmp_path: Path) -> None:
    task = world.task()
    with served(database_url, tmp_path / "cache", workers=1, max_streams=2) as server:
        path = f"task/events?task_id={task}"
        with reading(server, path), reading(server, path, X_Bamboo_User="bob"):
            refused = server.get(f"/api/v1/{path}")
            assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        eventually(lambda: can_read(server, path), "room for another")


def test_a_server_that_ends_waits_for_no_stream(server: Served, world: World) -> None:
    task = world.task()
    with reading(server, f"task/events?task_id={task}") as reader:
        reader.next("state")
        server.process.send_signal(signal.SIGTERM)
        assert list(reader) == []  # closed in order: one that is cut off raises
        assert server.process.wait(PATIENCE_SECONDS) == 0


def test_without_a_gateway_the_answer_is_what_there_is(api: Any, world: World, claim: Callable[..., Any]) -> None:
    """And its reader comes again, as browsers do."""
    answer = api.client.get(f"/api/v1/task/events?task_id={world.task()}", headers={"X-Bamboo-User": "alice"})
    assert answer.text.startswith("retry: 2000\n\nevent: step\n")
    assert answer.text.count("event: state") == 1


def test_what_there_is_not_has_no_stream(api: Any) -> None:
    for path, name in (
        ("task/events", "task_id"),
        ("job/events", "job_id"),
        ("job/log", "job_id"),
        ("pilot/orders", "job_id"),
    ):
        assert api.get(path, **{name: 1})["code"] == "BAM-FIND-001"


def test_a_log_is_its_owners(api: Any, bob: Any, claim: Callable[..., Any]) -> None:
    job = claim()["PandaID"]
    assert bob.get("job/log", job_id=job)["code"] == "BAM-AUTH-002"


def test_another_attempt_does_not_hear_orders(api: Any, claim: Callable[..., Any]) -> None:
    job = claim()["PandaID"]
    assert api.get("pilot/orders", job_id=job, attempt_nr=2)["code"] == "BAM-STATE-004"


@pytest.mark.parametrize("text", ["", "x", "1", "1.", "9" * 30 + ".0", "1.zz", "1.0.end.end"])
def test_a_place_that_is_not_ours_is_the_beginning(text: str) -> None:
    assert Seen.parse(text) == Seen()


@pytest.mark.parametrize("seen", [Seen(), Seen(7, "ff"), Seen(7, "0", over=True)])
def test_a_place_is_understood_again(seen: Seen) -> None:
    assert Seen.parse(str(seen)) == seen
