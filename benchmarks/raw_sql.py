"""The limit of the dispatcher: the four statements of a job's life, bare, each client on a connection of its own.

Each statement is a transaction. Nothing is checked, logged or looked up, and no share has its turn: what the server
does beyond this is what it costs.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

from .load import Tally, together
from .pilots import STEPS

CLAIM = """
WITH best AS (
  SELECT pandaid FROM jobs WHERE status = 'activated' AND queue = {queue}
  ORDER BY current_priority DESC, pandaid LIMIT 1 {lock}
)
UPDATE jobs SET status = 'sent', lease_until = {later}, heartbeat_at = {now}, modified_at = {now},
  state_changed_at = {now}
WHERE pandaid IN (SELECT pandaid FROM best) RETURNING pandaid
"""
RUNNING = """
UPDATE jobs SET status = 'running', lease_until = {later}, heartbeat_at = {now}, modified_at = {now},
  state_changed_at = {now}, started_at = {now}
WHERE pandaid = {pandaid} AND attempt_nr = 1 AND status = 'sent'
"""
HEARTBEAT = """
UPDATE jobs SET lease_until = {later}, heartbeat_at = {now}, modified_at = {now}, cpu_consumption_seconds = 1234,
  max_rss_kb = 1500000
WHERE pandaid = {pandaid} AND attempt_nr = 1 AND status = 'running'
"""
FINISHED = """
UPDATE jobs SET status = 'holding', lease_until = NULL, reported_status = 'finished', heartbeat_at = {now},
  modified_at = {now}, state_changed_at = {now}, ended_at = {now}
WHERE pandaid = {pandaid} AND attempt_nr = 1 AND status = 'running'
"""
WORDS = {
    "postgresql": {
        "queue": "%s",
        "pandaid": "%s",
        "now": "now()",
        "later": "now() + interval '30 minutes'",
        "lock": "FOR UPDATE SKIP LOCKED",
    },
    "sqlite": {
        "queue": "?",
        "pandaid": "?",
        "now": "datetime('now')",
        "later": "datetime('now', '+30 minutes')",
        "lock": "",
    },
}
Execute = Callable[[str, str | int], int]


def run_raw(
    url: str, queues: Sequence[str], *, clients: int, limit: int, seconds: float, seed: int, n_steps: int = len(STEPS)
) -> Tally:
    """Lives, or their first steps, by so many clients in processes of their own, which claim `limit` jobs at most."""
    parts = [(url, list(queues), limit // clients, seconds, seed + client, n_steps) for client in range(clients)]
    return together(_client, parts)


def _client(
    ready: Callable[[], float], url: str, queues: Sequence[str], limit: int, seconds: float, seed: int, n_steps: int
) -> Tally:
    kind, dice, tally = url.partition(":")[0].partition("+")[0], random.Random(seed), Tally()
    statements = [one.format(**WORDS[kind]) for one in (CLAIM, RUNNING, HEARTBEAT, FINISHED)]
    execute = _sqlite(url) if kind == "sqlite" else _postgres(url)
    begin_at = ready()
    cpu, end = time.process_time(), begin_at + seconds
    for _ in range(limit):
        about: str | int = dice.choice(queues)
        for step, statement in zip(STEPS[:n_steps], statements, strict=False):
            began = time.monotonic()
            changed = execute(statement, about)
            tally.seconds[step].append(time.monotonic() - began)
            if not changed:
                tally.errors[f"{step}: changed nothing"] += 1
                break
            about = changed if step == "claim" else about
        if time.monotonic() > end:
            break
    tally.elapsed, tally.cpu_seconds = time.monotonic() - begin_at, time.process_time() - cpu
    return tally


# Each runs a statement in a transaction of its own; gives the id that it returned, or how many rows it changed.


def _postgres(url: str) -> Execute:
    import psycopg  # the clients of a SQLite file need none

    connection = psycopg.connect(url.replace("postgresql+psycopg:", "postgresql:", 1), autocommit=True)
    connection.prepare_threshold = 0

    def execute(statement: str, about: str | int) -> int:
        found: Any = connection.execute(statement.encode(), (about,))
        row = found.fetchone() if found.description else None
        return int(row[0]) if row else int(found.rowcount)

    return execute


def _sqlite(url: str) -> Execute:
    from bamboo.sql.engine import PRAGMAS, SQLITE_BUSY_SECONDS  # with a library that takes long to load

    connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=SQLITE_BUSY_SECONDS, isolation_level=None)
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")

    def execute(statement: str, about: str | int) -> int:
        connection.execute("BEGIN IMMEDIATE")
        found = connection.execute(statement, (about,))
        row = found.fetchone() if found.description else None
        changed = int(row[0]) if row else int(found.rowcount)
        connection.execute("COMMIT")
        return max(0, changed)

    return execute
