"""Which WSGI server carries the real application best? Run: python benchmarks/wsgi_servers.py [--seconds 4] [--url URL]

Each server runs the application with two workers over one database, beside a load generator of several processes with
kept-alive connections. Every figure is the median of three runs; the ratios are to the first server.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bamboo.core.clock import utc_now
from bamboo.core.settings import DatabaseSection, ServerSection, Settings
from bamboo.core.states import JobState
from bamboo.sql import generation, migrate, queues, tasks
from bamboo.sql.clock import DatabaseClock
from bamboo.sql.engine import open_engine

WORKERS, THREADS, CLIENTS, RUNS = 2, 4, 8, 3
SERVERS = ("granian", "gunicorn", "waitress")
URL_VARIABLE = "BAMBOO_BENCHMARK_URL"


def settings_for(url: str, port: int) -> Settings:
    section = ServerSection(port=port, workers=WORKERS, threads=THREADS, cache_dir=Path(tempfile.gettempdir()))
    return Settings(database=DatabaseSection(url=url), server=section)


def application() -> Any:
    """What gunicorn and waitress serve."""
    from bamboo.server.app import create_app

    settings = settings_for(os.environ[URL_VARIABLE], 1)
    engine = open_engine(settings.database.sqlalchemy_url())
    return create_app(settings, engine, DatabaseClock(engine))


def run_server(name: str, url: str, port: int) -> None:
    """Serve until killed."""
    if name == "granian":
        from bamboo.server.serve import serve

        serve(settings_for(url, port))
    elif name == "gunicorn":
        bind = ["--bind", f"127.0.0.1:{port}", "--workers", str(WORKERS), "--threads", str(THREADS)]
        program = [sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--keep-alive", "30", *bind]
        os.environ["PYTHONPATH"] = str(Path(__file__).parent)
        os.execv(sys.executable, [*program, "--log-level", "warning", "wsgi_servers:application()"])  # noqa: S606
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


@contextmanager
def running(name: str, url: str) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, __file__, "--serve", name, "--port", str(port), "--url", url]
    environment = {**os.environ, URL_VARIABLE: url}
    with subprocess.Popen(command, env=environment, start_new_session=True) as server:
        try:
            wait_for(port)
            yield port
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.05)
        finally:
            connection.close()
    raise SystemExit("the server did not start")


def pilot(port: int, requests: list[tuple[str, str, str]], until: float, results: Any) -> None:
    """One client: the same requests over and over on one connection. Puts (requests done, seconds of each)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    seconds: list[float] = []
    while time.monotonic() < until:
        method, path, body = requests[len(seconds) % len(requests)]
        begun = time.monotonic()
        connection.request(method, path, body or None, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path}: HTTP {answer.status}")
        seconds.append(time.monotonic() - begun)
    results.put(seconds)


def load(port: int, by_client: list[list[tuple[str, str, str]]], seconds: float) -> tuple[float, float]:
    """Requests per second, and the 99th percentile of their times in milliseconds."""
    results: multiprocessing.Queue[list[float]] = multiprocessing.Queue()
    until = time.monotonic() + seconds
    clients = [multiprocessing.Process(target=pilot, args=(port, each, until, results)) for each in by_client]
    for client in clients:
        client.start()
    times = sorted(one for _ in clients for one in results.get(timeout=seconds + 60))
    for client in clients:
        client.join()
    return len(times) / seconds, 1000 * times[int(len(times) * 0.99)]


def scenarios(held: list[int]) -> dict[str, list[list[tuple[str, str, str]]]]:
    """What each client sends."""
    asks = json.dumps({"computing_element": "EMPTY", "prod_source_label": "user", "node": "n", "n_jobs": 1})
    beats = [
        json.dumps({"job_id": pandaid, "attempt_nr": 1, "job_status": "running", "max_rss": 10_000}) for pandaid in held
    ]
    share = len(beats) // CLIENTS
    return {
        "is_alive": [[("GET", "/api/v1/system/is_alive", "")]] * CLIENTS,
        "acquire_jobs, no work": [[("POST", "/api/v1/pilot/acquire_jobs", asks)]] * CLIENTS,
        "update_job, heartbeat": [
            [("POST", "/api/v1/pilot/update_job", beat) for beat in beats[at * share : (at + 1) * share]]
            for at in range(CLIENTS)
        ],
    }


def prepare(url: str) -> list[int]:
    """A schema, a queue without work, and jobs that run; returns their ids."""
    engine, now = open_engine(url), utc_now()
    migrate.upgrade(engine)
    words = {"task_name": "t", "user_name": "u", "vo": "bamboo", "prod_source_label": "user"}
    zeros = ("min_ram_count_mb", "max_disk_count_mb", "max_walltime_seconds", "n_input_files", "input_file_bytes")
    columns = {
        "attempt_nr": 1,
        "serial_nr": 1,
        "queue": "BUSY",
        "current_priority": 1,
        "gshare": "g",
        "core_count": 1,
        "resource_type": "SCORE",
        "prod_source_label": "user",
        "vo": "bamboo",
        "user_name": "u",
        **dict.fromkeys(zeros, 0),
        "transformation": "t",
        "is_scout": False,
        "lease_until": now,
        "heartbeat_at": now,
    }
    with engine.begin() as tx:
        queues.set_queue(tx, "EMPTY", {}, now=now)
        task = tasks.insert_task(tx, {}, actor="b", now=now, request_id=None, split_rule={}, **words)
        new = [generation.NewJob(columns, "")] * 400
        made = generation.insert_jobs(tx, task, new, status=JobState.RUNNING, actor="b", why="b", now=now)
    engine.dispose()
    return [job.pandaid for job in made]


def measure(url: str, seconds: float) -> None:
    by_scenario = scenarios(prepare(url))
    figures: dict[str, dict[str, list[tuple[float, float]]]] = {
        name: {what: [] for what in by_scenario} for name in SERVERS
    }
    for _ in range(RUNS):
        for name in SERVERS:
            with running(name, url) as port:
                for what, by_client in by_scenario.items():
                    load(port, by_client, 0.5)
                    figures[name][what].append(load(port, by_client, seconds))
    print(f"{WORKERS} workers x {THREADS} threads on {os.cpu_count()} cores, {CLIENTS} clients")
    print(f"median of {RUNS} runs of {seconds:g} s: requests/s, ratio, 99th percentile in ms")
    print(f"{'':24}" + "".join(f"{name:>26}" for name in SERVERS))
    for what in by_scenario:
        rates = {name: statistics.median(rate for rate, _ in figures[name][what]) for name in SERVERS}
        slow = {name: statistics.median(p99 for _, p99 in figures[name][what]) for name in SERVERS}
        cells = (
            f"{rates[name]:8.0f}/s {rates[name] / rates[SERVERS[0]]:5.2f} p99 {slow[name]:5.1f}" for name in SERVERS
        )
        print(f"{what:24}" + "".join(f"{cell:>26}" for cell in cells))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=4)
    options.add_argument("--url", help="an empty database (default: a new SQLite file)")
    options.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    options.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.serve:
        run_server(given.serve, given.url, given.port)
        return
    with tempfile.TemporaryDirectory() as folder:
        url = given.url or f"sqlite:///{folder}/benchmark.db"
        print(sa.make_url(url).get_backend_name())
        measure(url, given.seconds)


if __name__ == "__main__":
    main()
