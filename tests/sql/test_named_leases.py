"""Named leases: one holder at a time, with a fence, and a period that counts over all machines."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.core.errors import LeaseLost
from bamboo.sql import leases
from bamboo.sql.leases import Lease


@pytest.fixture
def acquire(engine: sa.Engine, clock: ManualClock) -> Callable[..., Lease | None]:
    """Tries to get the lease `chore` for a minute."""

    def _acquire(owner: str, period_seconds: float = 0, name: str = "chore") -> Lease | None:
        until = clock() + timedelta(minutes=1)
        with engine.begin() as tx:
            return leases.acquire(tx, name, owner, until=until, now=clock(), period_seconds=period_seconds)

    return _acquire


def release(engine: sa.Engine, held: Lease | None) -> None:
    assert held is not None
    with engine.begin() as tx:
        leases.release(tx, held)


def test_one_holder_at_a_time(engine: sa.Engine, acquire: Callable[..., Lease | None]) -> None:
    held = acquire("a")
    assert held == Lease("chore", "a", 1)
    assert acquire("b") is None
    assert acquire("a") is None
    assert acquire("b", name="other") is not None
    release(engine, held)
    assert acquire("b") == Lease("chore", "b", 2)


def test_of_many_at_once_one_gets_it(acquire: Callable[..., Lease | None], at_once: Callable[..., Any]) -> None:
    got = [lease for lease in at_once(6, lambda n: acquire(f"a{n}")) if lease is not None]
    assert [lease.term for lease in got] == [1]


def test_the_dead_lose_it_and_the_fence_keeps_them_out(
    engine: sa.Engine, clock: ManualClock, acquire: Callable[..., Lease | None]
) -> None:
    slow = acquire("a")
    assert slow is not None
    clock.advance(minutes=1, seconds=1)
    quick = acquire("b")
    assert quick == Lease("chore", "b", 2)
    with engine.begin() as tx:
        with pytest.raises(LeaseLost, match="no longer held by a"):
            leases.renew(tx, slow, until=clock() + timedelta(hours=1))
        leases.release(tx, slow)
    assert acquire("c") is None  # what the late one gave back was not its own any more
    with engine.begin() as tx:
        leases.renew(tx, quick, until=clock() + timedelta(hours=1))
    clock.advance(minutes=59)
    assert acquire("c") is None


def test_even_the_same_owner_has_a_new_term(clock: ManualClock, acquire: Callable[..., Lease | None]) -> None:
    assert acquire("a") == Lease("chore", "a", 1)
    clock.advance(minutes=2)
    assert acquire("a") == Lease("chore", "a", 2)


def test_the_period_counts_from_the_last_beginning(
    engine: sa.Engine, clock: ManualClock, acquire: Callable[..., Lease | None]
) -> None:
    release(engine, acquire("a", 30))
    clock.advance(seconds=29)
    assert acquire("b", 30) is None
    with engine.connect() as tx:
        assert leases.free_at(tx, "chore", period_seconds=30) == clock() + timedelta(seconds=1)
        assert leases.free_at(tx, "never", period_seconds=30) is None
    clock.advance(seconds=1)
    assert acquire("b", 30) is not None


def test_the_work_of_the_known_dead_is_due_again(engine: sa.Engine, acquire: Callable[..., Lease | None]) -> None:
    assert acquire("a", 3600) is not None
    with engine.begin() as tx:
        leases.forget(tx, "chore", "somebody else")
    assert acquire("b", 3600) is None
    with engine.begin() as tx:
        leases.forget(tx, "chore", "a")
    assert acquire("b", 3600) == Lease("chore", "b", 2)
