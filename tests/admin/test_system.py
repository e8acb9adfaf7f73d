"""How `bamboo up` chooses what its parts meet by, in this process and without starting them."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from bamboo.admin.database import opened
from bamboo.admin.state import StateFolder
from bamboo.admin.system import QUEUE, Plan, System
from bamboo.pilot.metrics import machine_memory_mb
from bamboo.sql import queues

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def port_of(state: StateFolder, port: int = 0, host: str = "127.0.0.1") -> int:
    return System(Plan(state, state.sqlite_url, host=host, port=port)).port


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path)


def test_a_port_of_our_choice_is_that_of_before(state: StateFolder) -> None:
    """Jobs that wait have the address of the server in their parameters: at another port they found no sandbox."""
    first = port_of(state)
    state.url.write_text(f"http://127.0.0.1:{first}")
    assert port_of(state) == first
    assert port_of(state, host="localhost") != first  # jobs know it by another address anyway


def test_the_port_of_before_is_left_to_who_has_it(state: StateFolder) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = int(other.getsockname()[1])
        state.url.write_text(f"http://127.0.0.1:{taken}")
        assert port_of(state) not in (0, taken)


def test_a_port_that_is_given_is_taken(state: StateFolder) -> None:
    state.url.write_text(f"http://127.0.0.1:{port_of(state)}")
    wanted = port_of(StateFolder(state.root / "other"))
    assert port_of(state, wanted) == wanted


@pytest.mark.parametrize("text", ["", "http://127.0.0.1", "http://127.0.0.1:x", "http://127.0.0.1:99999"])
def test_an_address_that_makes_no_sense_is_passed_over(state: StateFolder, text: str) -> None:
    state.url.write_text(text)
    assert port_of(state) > 0


def queue_after_starts(state: StateFolder, *between: dict[str, int]) -> sa.Row[tuple[object, ...]]:
    """The local queue after a first preparation, and after one more for each edit by hand."""
    system = System(Plan(state, state.sqlite_url, port=0))
    state.make()
    system.prepare_database()
    with opened(state.sqlite_url) as engine:
        for edit in between:
            with engine.begin() as tx:
                queues.set_queue(tx, QUEUE, dict(edit), now=NOW)
            system.prepare_database()
        with engine.connect() as tx:
            return queues.get_queue(tx, QUEUE)


def test_a_new_queue_has_what_the_machine_has(state: StateFolder) -> None:
    """Without a limit jobs that no pilot could take were sent there, and waited without a word."""
    queue = queue_after_starts(state)
    assert (queue.max_rss_mb, queue.core_count) == (machine_memory_mb(), os.cpu_count())
    assert queue.max_rss_mb > 0


def test_a_queue_that_is_there_is_left_alone(state: StateFolder) -> None:
    queue = queue_after_starts(state, {"maxrss": 0, "corecount": 3})
    assert (queue.max_rss_mb, queue.core_count) == (0, 3)


def test_pilots_are_told_another_address_where_a_proxy_is_in_front(state: StateFolder) -> None:
    own = System(Plan(state, state.sqlite_url, port=0))
    assert own.public_url == own.url
    behind = System(Plan(state, state.sqlite_url, port=0, public_url="http://proxy.test:80"))
    assert behind.public_url == "http://proxy.test:80"
    assert behind.url.startswith("http://127.0.0.1:")
