"""A database that is away, slow, locked or full, a disk without room, too much to do: told, survived, and over.

Faults F07, F08, F15, F16 and F32 of the list in docs/trust.md.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from own_postgres import own_postgres
from patience import PATIENCE_SECONDS, eventually, until_somebody_waits
from served import Asking, Reply, Served, all_at_once, served

from bamboo.core.clock import ManualClock, utc_now
from bamboo.core.settings import Settings
from bamboo.server.app import create_app
from bamboo.sql import queues
from bamboo.sql.engine import open_engine
from bamboo.tests.server.conftest import World, parameters

CLAIM = ("/api/v1/pilot/acquire_jobs", {"computing_element": "LOCAL"})
ALICE = {"X-Bamboo-User": "alice"}
STATUS = "/api/v1/task/get_status?task_id={}"


def is_told_to_come_again(reply: Reply, status: int = 503) -> bool:
    return reply.status == status and int(reply.headers["retry-after"]) > 0 and reply.json["success"] is False


def busy(server: Served, task: int) -> Callable[[], Reply]:
    return lambda: server.get(STATUS.format(task))


def _enter_queue(url: str) -> None:
    """The queue that the pilots here ask work for."""
    engine = open_engine(url)
    with engine.begin() as tx:
        queues.set_queue(tx, "LOCAL", {}, now=utc_now())
    engine.dispose()


def test_a_killed_database_is_survived_without_a_restart(tmp_path: Path) -> None:
    """F07. Nobody gets anything but an answer or 503, and the workers that were there go on."""
    with own_postgres() as database, served(database.url, tmp_path / "cache") as server:
        _enter_queue(database.url)
        workers = server.workers()
        with Asking(lambda: server.post(*CLAIM)) as asking:
            asking.more()
            assert asking.statuses() == {200}
            for _ in range(2):
                database.kill()
                asking.more()
                assert is_told_to_come_again(server.post(*CLAIM))
                assert server.get("/livez").status == 200
                assert server.get("/readyz").status == 503
                assert server.post("/server/panda/getJob", b"siteName=LOCAL").json["StatusCode"] == 10
                database.start()
                eventually(lambda: server.post(*CLAIM).status == 200, "the server to be back")
                asking.more()
        assert asking.lost == []
        assert asking.statuses() == {200, 503}
        assert all(is_told_to_come_again(reply) for reply in asking.replies if reply.status == 503)
        assert asking.replies[-1].status == 200
        assert server.workers() == workers


def test_a_stopped_database_is_noticed_and_survived(tmp_path: Path) -> None:
    """F08. Nobody waits for it for long, also who asked before; when it goes on, so does the server."""
    with own_postgres() as database, served(f"{database.url}&connect_timeout=2", tmp_path / "cache") as server:
        _enter_queue(database.url)
        workers = server.workers()
        with Asking(lambda: server.post(*CLAIM)) as asking:
            asking.more()
            assert asking.statuses() == {200}
            with database.stopped():
                eventually(lambda: asking.statuses() == {200, 503}, "somebody to be told")
                asking.more(100)
                assert server.get("/livez").status == 200
                assert server.get("/readyz").status == 503
                assert server.post("/server/panda/getJob", b"siteName=LOCAL").json["StatusCode"] == 10
            eventually(lambda: server.post(*CLAIM).status == 200, "the server to be back")
            asking.more()
        assert asking.lost == []
        assert all(is_told_to_come_again(reply) for reply in asking.replies if reply.status != 200)
        assert asking.replies[-1].status == 200
        assert server.workers() == workers


@pytest.fixture
def engine(postgres_url: str, open_database: Callable[[str], sa.Engine]) -> sa.Engine:
    return open_database(postgres_url)


@pytest.fixture
def world(engine: sa.Engine) -> World:
    made = World(engine, ManualClock(utc_now()))
    made.queue()
    return made


def test_a_locked_table_holds_up_nobody_for_long(
    postgres_url: str, engine: sa.Engine, world: World, tmp_path: Path
) -> None:
    """F08. Whoever needs it is told to come again, pilots report meanwhile, and afterwards all is as before."""
    (job,) = world.jobs(1)
    task = world.task("user.alice.other/")
    with served(postgres_url, tmp_path / "cache", workers=1, threads=2, lock_seconds=1) as server:
        assert server.post(*CLAIM).json["success"]
        with engine.begin() as tx:
            tx.exec_driver_sql("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
            replies = all_at_once([busy(server, task)] * 6)
            assert len(replies) == 6 and all(is_told_to_come_again(reply) for reply in replies)
            report = {"job_id": job, "attempt_nr": 1, "job_status": "running"}
            assert server.post("/api/v1/pilot/update_job", report).json["success"]
            assert server.get("/livez").status == 200
        assert all_at_once([busy(server, task)] * 6) and server.get(STATUS.format(task)).json["success"]


def test_more_than_can_wait_are_sent_away_at_once(
    postgres_url: str, engine: sa.Engine, world: World, tmp_path: Path
) -> None:
    """One request is worked on, one waits, and the others need not: they would be too late in any case."""
    task = world.task()
    replies: list[Reply] = []
    with served(postgres_url, tmp_path / "cache", workers=1, threads=1, max_waiting=1, lock_seconds=60) as server:
        assert server.get(STATUS.format(task)).json["success"]
        with engine.begin() as tx:
            tx.exec_driver_sql("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
            asks = [busy(server, task)] * 5
            together = threading.Thread(target=all_at_once, args=(asks, replies))
            together.start()
            eventually(lambda: len(replies) == 3, "three refusals")
            until_somebody_waits(engine)
            assert all(is_told_to_come_again(reply) for reply in replies)
            assert "too much to do" in replies[0].json["message"]
            assert server.post("/server/panda/getJob", b"siteName=LOCAL").json["StatusCode"] == 10
            assert server.get("/livez").json == {"status": "alive"}
        together.join()
        assert sorted(reply.status for reply in replies) == [200, 200, 503, 503, 503]


def test_listeners_leave_room_for_requests_to_wait(
    postgres_url: str, engine: sa.Engine, world: World, tmp_path: Path
) -> None:
    """Thousands come at once when a process ends: they take half of the room, and come again much later."""
    task = world.task()
    with served(postgres_url, tmp_path / "cache", workers=1, threads=1, max_waiting=1, lock_seconds=60) as server:
        with engine.begin() as tx:
            tx.exec_driver_sql("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
            replies: list[Reply] = []
            together = threading.Thread(target=all_at_once, args=([busy(server, task)], replies))
            together.start()
            until_somebody_waits(engine)
            assert is_told_to_come_again(server.get("/api/v1/pilot/orders?job_id=1"))
        together.join()
        assert [reply.status for reply in replies] == [200]


UPLOAD = "/api/v1/file_server/upload_cache_file"


def upload(server: Served, name: str, n_bytes: int) -> Reply:
    body, headers = upload_of(name, n_bytes)
    return server.post(UPLOAD, body, **headers)


def upload_of(name: str, n_bytes: int) -> tuple[bytes, dict[str, str]]:
    """A file as clients send it, and the headers that belong to it."""
    head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    body = head + os.urandom(n_bytes) + b"\r\n--b--\r\n"
    return body, {"Content-Type": "multipart/form-data; boundary=b"}


@pytest.mark.parametrize("n_bytes", [900_000, 3_000_000], ids=["while it is stored", "while it arrives"])
def test_a_full_disk_keeps_no_halves(sqlite_url: str, tmp_path: Path, n_bytes: int) -> None:
    """F15. The cache is a disk of 1 MB; when there is room again, nothing needs a restart."""
    cache = tmp_path / "cache"
    cache.mkdir()
    mount = f'mount -t tmpfs -o size=1m tmpfs "{cache}" && exec "$@"'
    around = ["unshare", *([] if os.geteuid() == 0 else ["-U", "-r"]), "-m", "sh", "-c", mount, "sh"]
    with served(sqlite_url, cache, *around) as server:
        inside = Path(f"/proc/{server.pid}/root{cache}")
        (inside / "filler").write_bytes(b"x" * 300_000)
        workers = server.workers()
        for _ in range(3):
            refused = upload(server, "jobO.large.tar.gz", n_bytes)
            assert is_told_to_come_again(refused, 507), refused
            assert refused.json["code"] == "BAM-SPACE-001"
        eventually(lambda: files(inside) == {"filler"}, "nothing to be left")
        assert upload(server, "jobO.small.tar.gz", 50_000).json["success"]
        (inside / "filler").unlink()
        assert upload(server, "jobO.larger.tar.gz", 400_000).json["success"]
        assert files(inside) == {"jobO.small.tar.gz", "jobO.larger.tar.gz"}
        assert server.workers() == workers


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def test_a_server_out_of_files_keeps_no_halves_and_recovers(sqlite_url: str, tmp_path: Path) -> None:
    """F16. Clients have all the files that its one worker may open: who has a connection is answered, others wait."""
    cache = tmp_path / "cache"
    with served(sqlite_url, cache, "prlimit", "--nofile=64", workers=1) as server, ExitStack() as stack:
        workers, host = server.workers(), urlsplit(server.address).netloc
        clients = [HTTPConnection(host, timeout=PATIENCE_SECONDS) for _ in range(80)]
        for client in clients:
            client.connect()
            stack.callback(client.close)
        (worker,) = workers
        eventually(lambda: len(list(Path(f"/proc/{worker}/fd").iterdir())) >= 64, "all to be open")
        body, headers = upload_of("jobO.large.tar.gz", 3_000_000)
        for path, sent in (("/livez", None), ("/trf/user/runGen-00-00-02", None), (UPLOAD, body)):
            client = clients.pop(0)
            client.request("POST" if sent else "GET", path, sent, headers)
            answer = client.getresponse()
            told = json.loads(answer.read())
            if path == "/livez":
                assert answer.status == 200
            else:
                assert (answer.status, told["code"]) == (503, "BAM-AWAY-001") and int(answer.headers["Retry-After"])
                assert "as many files open as it may" in told["message"]
            stack.callback(client.close)
        assert files(cache) == set()
        stack.close()
        eventually(server.is_ready, "the server to have files again")
        assert upload(server, "jobO.large.tar.gz", 50_000).json["success"]
        assert files(cache) == {"jobO.large.tar.gz"}
        assert server.workers() == workers


def test_a_full_database_is_told_as_such(settings: Settings, sqlite_url: str, clock: ManualClock) -> None:
    """F15. SQLite's own limit stands for the disk's."""
    engine = open_engine(sqlite_url)

    def limit(connection: Any, record: Any) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count={pages}")

    sa.event.listen(engine, "connect", limit)
    client = create_app(settings, engine, clock).test_client()
    big = {"task_parameters": parameters(taskName="user.alice.big/", cliParams="x" * 60_000)}
    for _ in range(2):
        answer = client.post("/api/v1/task/submit", json=big, headers=ALICE)
        assert (answer.status_code, answer.json["code"]) == (507, "BAM-SPACE-001"), answer.text
        assert int(answer.headers["Retry-After"]) > 0
    assert client.get("/api/v1/queue/list").json["success"]
    sa.event.remove(engine, "connect", limit)
    engine.dispose()
    assert client.post("/api/v1/task/submit", json=big, headers=ALICE).json["success"]
    engine.dispose()
