"""The configurator, with a real HTTP server that answers well, badly, slowly or not at all."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from patience import PATIENCE_SECONDS

from bamboo.core.clock import ManualClock
from bamboo.core.errors import Invalid, TooLarge, Unavailable
from bamboo.core.fetching import Limits, fetch_json
from bamboo.core.settings import load
from bamboo.daemon.chores.configurator import Configured, build
from bamboo.daemon.context import Context
from bamboo.sql import queues, settings
from bamboo.sql import tables as t


class Source:
    """A server of documents: each path has a function that answers, or bytes."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes | Callable[[BaseHTTPRequestHandler], None]] = {}
        self.over = threading.Event()  #: pages that hang wait for it
        source = self

        class _Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = source.pages.get(self.path.partition("?")[0])
                if callable(page):
                    page(self)
                    return
                self.send_response(200 if page is not None else 404)
                self.send_header("Content-Length", str(len(page or b"")))
                self.end_headers()
                self.wfile.write(page or b"")

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: pytest shows stderr."""

        class _Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Readers that gave up cut the connection: that is what is tested."""

        self.http = _Server(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def hang(self, handler: BaseHTTPRequestHandler) -> None:
        self.over.wait(PATIENCE_SECONDS)

    def drip(self, handler: BaseHTTPRequestHandler) -> None:
        """A byte, again and again, each of them soon enough."""
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        while not self.over.wait(0.02):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    def truncate(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"A": {"maxrss"')

    def pack(self, handler: BaseHTTPRequestHandler) -> None:
        packed = gzip.compress(b'{"A": "' + b"x" * 10_000_000 + b'"}')
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(packed)))
        handler.end_headers()
        handler.wfile.write(packed)


@pytest.fixture
def source() -> Iterator[Source]:
    served = Source()
    thread = threading.Thread(target=served.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.over.set()
    served.http.shutdown()
    served.http.server_close()
    thread.join()


def test_documents_come_from_files_and_urls(source: Source, tmp_path: Path) -> None:
    path = tmp_path / "with blank.json"
    path.write_text('{"A": {}}')
    source.pages["/q"] = b'{"B": {}}'
    assert fetch_json(str(path)) == {"A": {}}
    assert fetch_json(path.as_uri()) == {"A": {}}
    assert fetch_json(f"{source.url}/q?json&x=1") == {"B": {}}


#: Nothing is waited for so long in a test that passes.
PATIENT = Limits(connect_seconds=60, total_seconds=60, max_bytes=100_000)


@pytest.mark.parametrize(
    ("page", "limits", "error", "said"),
    [
        ("hang", replace(PATIENT, connect_seconds=0.2), Unavailable, "said nothing for 0.2 s"),
        ("drip", replace(PATIENT, total_seconds=0.2), Unavailable, "took longer than 0.2 s"),
        ("truncate", PATIENT, Unavailable, "cannot be read"),
        ("pack", PATIENT, TooLarge, "more than 100000 bytes"),
    ],
    ids=["hang", "drip", "truncate", "pack"],
)
def test_sources_that_misbehave(source: Source, page: str, limits: Limits, error: type[Exception], said: str) -> None:
    source.pages["/q"] = getattr(source, page)
    with pytest.raises(error, match=said):
        fetch_json(f"{source.url}/q", limits)


def test_sources_that_are_not_there(source: Source, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="HTTP 404"):
        fetch_json(f"{source.url}/nothing")
    with pytest.raises(Unavailable, match="No such file"):
        fetch_json(str(tmp_path / "nothing.json"))
    with pytest.raises(Invalid, match="'ftp' cannot be read"):
        fetch_json("ftp://host/q.json")
    large = tmp_path / "large.json"
    large.write_bytes(b" " * 100_001)
    with pytest.raises(TooLarge):
        fetch_json(str(large), PATIENT)
    nobody = Source()
    nobody.http.server_close()
    with pytest.raises(Unavailable, match="is up"):
        fetch_json(f"{nobody.url}/q")


DOCUMENTS: dict[str, Any] = {
    "CRIC_URL_SCHEDCONFIG": {"A": {"atlas_site": "S", "maxrss": 1}, "B": {"atlas_site": "S"}, "C": {}},
    "CRIC_URL_SITES": {"S": {"cloud": "US"}, "C": {}},
    "CRIC_URL_DDMENDPOINTS": {"DISK": {"site": "S", "se": "root://s", "endpoint": "/d/"}},
    "CRIC_URL_DDMBLACKLIST": {"DISK": {"write_wan": {"status": {"value": "OFF", "reason": "full"}}}},
    "CRIC_URL_CM": [{"src": "S", "dst": "C", "closeness": 4}],
    "CRIC_URL_TAGS": {"A": {"cvmfs": ["atlas"], "cmtconfigs": ["x86_64-centos7-gcc8-opt"], "tags": []}},
    "NWS_URL": {"S:C": {"files": {"queued": {"Express": {"latest": 3}}}, "mbps": {"fts": {"1h": 80.5}}}},
}


@pytest.fixture
def configured(source: Source, engine: sa.Engine, make_context: Callable[..., Context]) -> Context:
    """A context in which all sources are configured, and answer well."""
    for key, document in DOCUMENTS.items():
        source.pages[f"/{key}"] = json.dumps(document).encode()
    return make_context(engine, configurator={key: f"{source.url}/{key}?json" for key in DOCUMENTS})


def states(engine: sa.Engine) -> dict[str, str]:
    with engine.connect() as tx:
        return {row.queue: row.status for row in queues.list_queues(tx)}


def sources(engine: sa.Engine) -> dict[str, Any]:
    with engine.connect() as tx:
        return {row.kind: row for row in tx.execute(sa.select(t.grid_sources))}


def test_all_that_is_described_is_imported(configured: Context, engine: sa.Engine) -> None:
    assert build(configured).run_once() == Configured(added=2 + 1 + 1 + 3 + 1)
    assert build(configured, ("--network",)).run_once() == Configured(added=1, changed=1)
    assert build(configured).run_once() == build(configured, ("--network",)).run_once() == Configured()
    with engine.connect() as tx:
        (disk,) = tx.execute(sa.select(t.storages))
        (link,) = tx.execute(sa.select(t.links))
        site = tx.execute(sa.select(t.sites).where(t.sites.c.site == "S")).one()
        entered, published = tx.execute(
            sa.select(t.queue_history).where(t.queue_history.c.queue == "A").order_by(t.queue_history.c.id)
        )
        software = tx.execute(sa.select(t.software)).one()
    assert (disk.endpoint, disk.attributes["blacklisted"]) == ("root://s", "write_wan: full")
    assert (site.cloud, link.source, link.destination, link.closeness) == ("US", "S", "C", 4)
    assert (entered.actor, entered.source) == (
        "configurator",
        configured.settings.configurator.CRIC_URL_SCHEDCONFIG,
    )
    assert (link.queued, link.queued_files, link.mbps_hour) == ({"Express": 3}, 3, 80.5)
    assert (software.queue, software.document) == ("A", DOCUMENTS["CRIC_URL_TAGS"]["A"])
    assert (published.what, published.after["software.cvmfs"]) == ("software", ["atlas"])
    assert {kind: row.n_entries for kind, row in sources(engine).items()} == {
        "sites": 2, "storages": 1, "blacklist": 1, "queues": 3, "closeness": 1, "software": 1, "network": 1,
    }  # fmt: skip


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("wrong", ["down", "truncated", "wrong types", "too short", "an error"])
def test_what_was_good_stays_when_a_source_is_wrong(
    configured: Context, engine: sa.Engine, source: Source, clock: ManualClock, wrong: str
) -> None:
    build(configured).run_once()
    good_at = clock()
    clock.advance(minutes=5)
    began = clock()
    page = "/CRIC_URL_SCHEDCONFIG"
    source.pages["/CRIC_URL_SITES"] = json.dumps({**DOCUMENTS["CRIC_URL_SITES"], "NEW": {}}).encode()
    if wrong == "down":
        del source.pages[page]
    elif wrong == "truncated":
        source.pages[page] = source.truncate
    else:
        answers = {
            "wrong types": {"A": {"maxrss": "x"}, "B": []},
            "too short": {"A": {}},
            "an error": {"error": "no"},
        }
        source.pages[page] = json.dumps(answers[wrong]).encode()

    for _ in range(2):
        report = build(configured).run_once()
        clock.advance(minutes=5)
    assert report == Configured(failed=1)
    assert states(engine) == {"A": "online", "B": "online", "C": "online"}
    row = sources(engine)["queues"]
    assert (row.good_at, row.failing_since) == (good_at, began)
    assert row.error
    assert sources(engine)["sites"].n_entries == 3  # the others are taken over all the same

    source.pages[page] = json.dumps({"A": {}, "B": {}}).encode()
    assert build(configured).run_once() == Configured(changed=2, vanished=1)  # both lose their site
    assert states(engine) == {"A": "online", "B": "online", "C": "offline"}
    assert sources(engine)["queues"].error is None


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_how_much_may_vanish_is_a_setting(
    configured: Context, engine: sa.Engine, source: Source, clock: ManualClock
) -> None:
    build(configured, ("--json_dump",)).run_once()
    assert set(states(engine)) == {"A", "B", "C"}
    assert sources(engine)["sites"].good_at is None
    source.pages["/CRIC_URL_SCHEDCONFIG"] = b'{"A": {}}'
    assert build(configured).run_once().failed == 1
    with engine.begin() as tx:
        settings.set_value(tx, "configurator", "LARGEST_LOSS", "pandaserver", "0.7", kind="float", now=clock())
    assert build(configured).run_once().vanished == 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_old_history_is_forgotten(configured: Context, engine: sa.Engine, clock: ManualClock) -> None:
    build(configured).run_once()
    clock.advance(days=364)
    assert build(configured).run_once().forgotten == 0
    clock.advance(days=2)
    assert build(configured).run_once().forgotten == 4  # three queues, and software


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_without_sources_nothing_is_done(context: Context) -> None:
    assert build(context).run_once() == build(context, ("--network",)).run_once() == Configured()


@pytest.mark.parametrize("section", ["server", "daemon", "configurator"])
def test_the_documented_parameters_are_read(section: str, tmp_path: Path) -> None:
    """Manual ch. 17 says panda_server.cfg and no section; PanDA reads them from [server]."""
    path = tmp_path / "panda_server.cfg"
    path.write_text("\n".join([f"[{section}]", *(f"{key} = https://cric/{key}/?json&a=b" for key in DOCUMENTS)]))
    found = load([path]).settings.configurator
    assert {key: getattr(found, key) for key in DOCUMENTS} == {
        key: f"https://cric/{key}/?json&a=b" for key in DOCUMENTS
    }
