"""What a claim, a heartbeat and a final report cost a server process: processor time, statements, and what takes it.

The application runs in this process, without a network and one request at a time. Processor time is measured without a
profiler; the parts by library come from a second round under cProfile, which exaggerates code of many small functions.
"""

from __future__ import annotations

import cProfile
import io
import pstats
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from flask import Flask

from bamboo.admin.tokens import ISSUER, KeyFolder
from bamboo.core.clock import utc_now
from bamboo.core.settings import DatabaseSection, ServerSection, Settings
from bamboo.core.states import JobState
from bamboo.server.app import create_app
from bamboo.sql.clock import DatabaseClock
from bamboo.sql.engine import open_engine

from .database import settle
from .load import HEAD_END, Request, http_request
from .measuring import Setting
from .pilots import claim_request, final_report, outputs_of, report_request
from .population import EMPTY_QUEUE, Population
from .report import Report

JOB_STATE = "/api/v1/pilot/get_job_status"
#: Functions that are told of each kind of request, those that take most time themselves.
MOST = 12
#: Requests of each kind before those that count.
WARM = 30


@dataclass(frozen=True)
class Sizes:
    requests: int = 500  #: of each kind, once without and once with the profiler
    jobs: int = 20_000  #: activated
    queues: int = 20


QUICK = Sizes(requests=5, jobs=500, queues=2)

Call = Callable[[Request], bytes]


def run(setting: Setting, sizes: Sizes) -> Report:
    """Each kind of request, measured and then profiled."""
    report = Report(watched={"CPU µs": -1, "statements": -1})
    with setting.databases.new() as url:
        population = Population.start(url, seed=setting.seed, n_queues=sizes.queues)
        population.add_jobs(sizes.jobs, JobState.ACTIVATED)
        running = population.add_jobs(2 * (2 * sizes.requests + WARM), JobState.RUNNING)
        population.finish()
        settle(url)
        with _application(setting, url) as (call, token, statements):
            for kind, requests in _requests(token, population, sizes, running).items():
                for request in requests[:WARM]:
                    call(request)
                measured, profiled = requests[WARM : WARM + sizes.requests], requests[WARM + sizes.requests :]
                _measure(report, kind, call, measured, statements)
                _profile(report, kind, call, profiled)
    return report


def _requests(token: str, population: Population, sizes: Sizes, running: range) -> dict[str, list[Request]]:
    n = WARM + 2 * sizes.requests
    queues = [population.queue(at) for at in range(sizes.queues)]
    return {
        "livez": [Request("livez", http_request("GET", "/livez"))] * n,
        "a job's state": [Request("state", http_request("GET", f"{JOB_STATE}?job_ids={running[0]}", token))] * n,
        "claim": [claim_request(token, queues[at % len(queues)]) for at in range(n)],
        "claim, no work": [claim_request(token, EMPTY_QUEUE)] * n,
        "heartbeat": [report_request("heartbeat", token, pandaid) for pandaid in running[:n]],
        "final report": [final_report(token, pandaid, outputs_of(pandaid)) for pandaid in running[n : 2 * n]],
    }


def _measure(report: Report, kind: str, call: Call, requests: Sequence[Request], statements: Counter[str]) -> None:
    statements.clear()
    began, cpu = time.monotonic(), time.process_time()
    for request in requests:
        call(request)
    n = len(requests)
    figures = {"CPU µs": 1e6 * (time.process_time() - cpu) / n, "all µs": 1e6 * (time.monotonic() - began) / n}
    report.add(kind, {**figures, "statements": sum(statements.values()) / n})
    report.details[f"{kind}: statements"] = {one: times / n for one, times in statements.most_common()}


def _profile(report: Report, kind: str, call: Call, requests: Sequence[Request]) -> None:
    profiler = cProfile.Profile(time.process_time)
    profiler.enable()
    for request in requests:
        call(request)
    profiler.disable()
    told = pstats.Stats(profiler, stream=io.StringIO())
    found: Any = told.stats  # type: ignore[attr-defined]  # it has no other way to be read
    total = sum(own for _, _, own, _, _ in found.values()) or 1.0
    libraries, functions, within = Counter[str](), Counter[str](), Counter[str]()
    for (file, line, function), (_, _, own, together, _) in found.items():
        library, name = _library(file), f"{file.rpartition('/')[2]}:{line} {function}"
        libraries[library] += 100 * own / total
        functions[f"{library} {name}"] += 100 * own / total
        if library == "bamboo":
            within[name] += 100 * together / total
    parts = ", ".join(f"{name} {percent:.0f} %" for name, percent in libraries.most_common(9))
    report.notes.append(f"{kind}: {parts}")
    report.details[f"{kind}: functions, percent of their own"] = dict(functions.most_common(MOST))
    report.details[f"{kind}: ours, percent with what they call"] = dict(within.most_common(3 * MOST))


def _library(file: str) -> str:
    """What a file belongs to: a library, a room of ours, the standard library or the interpreter."""
    if "site-packages/" in file:
        return file.partition("site-packages/")[2].partition("/")[0]
    if "/lib/python" in file:
        return "standard library"
    if file == "~":
        return "built-in"
    return "bamboo"


@contextmanager
def _application(setting: Setting, url: str) -> Iterator[tuple[Call, str, Counter[str]]]:
    """The application as a function of requests, a pilot's token, and a counter of the statements that it sends."""
    folder = setting.databases.folder
    keys = KeyFolder(folder / "auth")
    keys.prepare(utc_now())
    told = {"token_keys": str(keys.trusted_keys), "auth_policies": str(keys.policies), "token_issuer": ISSUER}
    section = ServerSection(cache_dir=folder / "cache", token_authType="oidc", **told)  # noqa: S106 - a kind of token
    engine, statements = open_engine(url), Counter[str]()

    @sa.event.listens_for(sa.Engine, "before_cursor_execute")
    def _counted(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        statements[" ".join(statement.split())[:100]] += 1

    app = create_app(Settings(database=DatabaseSection(url=url), server=section), engine, DatabaseClock(engine))
    yield lambda request: _call(app, request), keys.pilot_token.read_text(), statements
    sa.event.remove(sa.Engine, "before_cursor_execute", _counted)
    engine.dispose()


def _call(app: Flask, request: Request) -> bytes:
    """The body of the answer, which must be what was wanted."""
    head, _, body = request.payload.partition(HEAD_END)
    first, *lines = head.decode().split("\r\n")
    method, target, _ = first.split(" ")
    parts = urlsplit(target)
    headers = dict(line.split(": ", 1) for line in lines)
    answered: list[str] = []
    environment: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": parts.path,
        "QUERY_STRING": parts.query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": headers.get("Content-Type", ""),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        **{f"HTTP_{name.upper()}": value for name, value in headers.items() if "-" not in name},
    }

    def start(status: str, headers: object, error: object = None) -> Callable[[bytes], object]:
        answered.append(status)
        return io.BytesIO().write

    content = b"".join(app(environment, start))
    if not answered[0].startswith("200"):
        raise SystemExit(f"{request.kind}: {answered[0]} {content[:300]!r}")
    return content
