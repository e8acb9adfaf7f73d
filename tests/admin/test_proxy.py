"""Bad networks in user space: what they do to a database and to pilots' requests for work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
import sqlalchemy as sa

from bamboo.admin.chaos.proxy import Proxy, Weather, database_behind


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """Answers every request, and keeps the paths that it was asked for in `asked`."""

    class _Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

    asked: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.asked = asked  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_database_behind_a_bad_network(postgres_url: str, open_database: Callable[[str], sa.Engine]) -> None:
    """It is reached again as soon as the network is good; what was sent may have been done though no answer came."""
    proxy, url = database_behind(postgres_url)
    behind, direct = open_database(url), open_database(postgres_url)
    with direct.begin() as tx:
        tx.execute(sa.text("CREATE TABLE notes (words text)"))

    def note(words: str) -> None:
        with behind.connect().execution_options(isolation_level="AUTOCOMMIT") as tx:
            tx.execute(sa.text("INSERT INTO notes VALUES (:words)"), {"words": words})

    note("fair")
    proxy.change(Weather.CUT)
    with pytest.raises(sa.exc.OperationalError):
        note("cut")
    proxy.change(Weather.FAIR)
    behind.dispose()
    with behind.connect().execution_options(isolation_level="AUTOCOMMIT") as tx:
        tx.execute(sa.text("SELECT 1"))
        proxy.change(Weather.REPLIES_LOST)
        with pytest.raises(sa.exc.OperationalError):
            tx.execute(sa.text("INSERT INTO notes VALUES ('unknown')"))
    proxy.change(Weather.FAIR)
    behind.dispose()
    note("fair again")
    with direct.connect() as tx:
        assert tx.scalars(sa.text("SELECT words FROM notes")).all() == ["fair", "unknown", "fair again"]
    behind.dispose()
    proxy.stop()


def test_only_answers_to_requests_for_work_are_lost(server: ThreadingHTTPServer) -> None:
    proxy = Proxy(("127.0.0.1", server.server_port))
    proxy.change(Weather.WORK_LOST)
    assert requests.get(f"{proxy.url}/update_job", timeout=60).status_code == 204
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{proxy.url}/acquire_jobs", timeout=60)
    assert server.asked == ["/update_job", "/acquire_jobs"]  # type: ignore[attr-defined]
    proxy.stop()
