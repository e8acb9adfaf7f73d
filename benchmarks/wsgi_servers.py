"""Which WSGI server carries the real application best: replies, claims without work, and heartbeats.

Each server runs the application with two processes over one database. Those that are not installed are left out:
granian is always there; `pip install gunicorn waitress` for the others.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bamboo.core.settings import DatabaseSection, ServerSection, Settings
from bamboo.core.states import JobState
from bamboo.sql.clock import DatabaseClock
from bamboo.sql.engine import open_engine

from .database import settle
from .load import Request, Source, Tally, http_request, run_load
from .measuring import LOAD_PROCESSES, Setting
from .pilots import claim_request, report_request
from .population import EMPTY_QUEUE, Population
from .report import Report
from .sources import InTurn, Repeated

SERVERS = ("granian", "gunicorn", "waitress")
URL_VARIABLE = "BAMBOO_BENCHMARK_URL"
FOLDER_VARIABLE = "BAMBOO_BENCHMARK_FOLDER"
WORKERS, THREADS = 2, 4
READY_SECONDS = 30.0
STOP_SECONDS = 15.0


@dataclass(frozen=True)
class Sizes:
    seconds: float = 4.0  #: for each load
    runs: int = 3  #: the median counts
    connections: int = 8


QUICK = Sizes(seconds=0.5, runs=1)


def run(setting: Setting, sizes: Sizes) -> Report:
    """Rounds over all servers, so that none has the better minute."""
    report = Report(watched={"of granian": 1})
    names = [name for name in SERVERS if importlib.util.find_spec(name)]
    seen: dict[tuple[str, str], list[Tally]] = {}
    with setting.databases.new() as url:
        population = Population.start(url, seed=setting.seed, n_queues=1, n_tasks=1)
        running = population.add_jobs(400, JobState.RUNNING)
        population.finish()
        settle(url)
        for _ in range(sizes.runs):
            for name in names:
                with _serving(name, url, setting.databases.folder) as port:
                    for what, sources in scenarios(running).items():
                        run_load([("127.0.0.1", port)], sources, connections=1, seconds=sizes.seconds / 8)
                        n = sizes.connections // LOAD_PROCESSES
                        got = run_load([("127.0.0.1", port)], sources, connections=n, seconds=sizes.seconds)
                        seen.setdefault((what, name), []).append(got)
    for (what, name), tallies in seen.items():
        rate, first = _median_rate(tallies), _median_rate(seen[what, names[0]])
        p99 = statistics.median(one.p_ms(99) for one in tallies)
        errors = sum(sum(one.errors.values()) for one in tallies)
        report.add(f"{what}: {name}", {"per s": rate, f"of {names[0]}": rate / first, "p99 ms": p99, "errors": errors})
    return report


def _median_rate(tallies: Sequence[Tally]) -> float:
    return statistics.median(one.rate() for one in tallies)


def scenarios(running: range) -> dict[str, list[Source]]:
    """What is asked, by each process of the load."""
    beats = [report_request("heartbeat", "", pandaid) for pandaid in running]
    alive = Request("livez", http_request("GET", "/livez"))
    return {
        "/livez": [Repeated(alive) for _ in range(LOAD_PROCESSES)],
        "claim, no work": [Repeated(claim_request("", EMPTY_QUEUE)) for _ in range(LOAD_PROCESSES)],
        "heartbeat": [InTurn(beats[at::LOAD_PROCESSES]) for at in range(LOAD_PROCESSES)],
    }


@contextmanager
def _serving(name: str, url: str, folder: Path) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "bamboo.benchmarks.wsgi_servers", name, str(port)]
    environment = {**os.environ, URL_VARIABLE: url, FOLDER_VARIABLE: str(folder / "cache")}
    with subprocess.Popen(command, env=environment, start_new_session=True) as server:
        try:
            _wait_for(port)
            yield port
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as reply:
                if reply.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise SystemExit("the server did not start")


# In the processes that are measured.


def _settings(port: int) -> Settings:
    section = ServerSection(port=port, workers=WORKERS, threads=THREADS, cache_dir=Path(os.environ[FOLDER_VARIABLE]))
    return Settings(database=DatabaseSection(url=os.environ[URL_VARIABLE]), server=section)


def application() -> Any:
    """What gunicorn and waitress serve."""
    from bamboo.server.app import create_app

    settings = _settings(1)
    engine = open_engine(settings.database.sqlalchemy_url())
    return create_app(settings, engine, DatabaseClock(engine))


def serve_with(name: str, port: int) -> None:
    """Serve until killed."""
    if name == "granian":
        from bamboo.server.serve import serve

        serve(_settings(port))
    elif name == "gunicorn":
        bind = ["--bind", f"127.0.0.1:{port}", "--workers", str(WORKERS), "--threads", str(THREADS)]
        program = [sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--keep-alive", "30", *bind]
        program += ["--log-level", "warning", "bamboo.benchmarks.wsgi_servers:application()"]
        os.execv(sys.executable, program)  # noqa: S606 - it becomes the server
    else:
        import waitress

        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(1024)
        for _ in range(WORKERS - 1):  # waitress has one process: the others share its socket
            if os.fork() == 0:
                break
        waitress.serve(application(), sockets=[listener], threads=THREADS)


if __name__ == "__main__":
    serve_with(sys.argv[1], int(sys.argv[2]))
