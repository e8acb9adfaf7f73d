"""The last rounds of services: entered now and then, at once when something changes, and never at a service's cost."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.core.service import Round
from bamboo.sql import service_rounds
from bamboo.sql.service_rounds import RoundNotes


@pytest.fixture
def notes(engine: sa.Engine, clock: ManualClock) -> RoundNotes:
    return RoundNotes(engine, clock, section="test")


def last(engine: sa.Engine) -> Any:
    with engine.connect() as tx:
        (row,) = service_rounds.last_rounds(tx)
    return row


def test_rounds_that_find_nothing_are_entered_once(notes: RoundNotes, engine: sa.Engine, clock: ManualClock) -> None:
    notes.note(Round("one", 0.5, 1.0))
    first = last(engine)
    assert (first.service, first.began_at, first.worked_at) == ("test/one", clock() - timedelta(seconds=0.5), None)
    clock.advance(seconds=1)
    notes.note(Round("one", 0.5, 1.0))
    assert last(engine) == first


def test_failures_are_entered_at_once_and_their_end_too(
    notes: RoundNotes, engine: sa.Engine, clock: ManualClock
) -> None:
    notes.note(Round("one", 0.1, 1.0, worked=True))
    error = sa.exc.IntegrityError("INSERT a secret", {}, Exception("a key is there twice"))
    notes.note(Round("one", 0.1, 1.0, error=error))
    failed = last(engine)
    assert failed.failures == 1 and "a key is there twice" in failed.error and "secret" not in failed.error
    notes.note(Round("one", 0.1, 1.0, error=error))
    assert last(engine) == failed
    notes.note(Round("one", 0.1, 1.0))
    assert (last(engine).failures, last(engine).error) == (0, None)


@pytest.mark.parametrize("text", ["what somebody sent: \udcff", "a\0b"])
def test_an_error_may_say_what_no_database_takes(notes: RoundNotes, engine: sa.Engine, text: str) -> None:
    notes.note(Round("one", 0.1, 1.0, error=ValueError(text)))
    assert last(engine).error == "ValueError: " + text.replace("\udcff", "?").replace("\0", "\ufffd")


def test_an_error_without_words_harms_no_round(notes: RoundNotes) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise LookupError

    notes.note(Round("one", 0.1, 1.0, error=Mute()))


def test_a_database_that_is_away_harms_no_round(clock: ManualClock) -> None:
    away = sa.create_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    RoundNotes(away, clock, section="test").note(Round("one", 0.1, 1.0))


def test_a_service_is_late_after_a_period_a_minute_and_its_last_round(
    notes: RoundNotes, engine: sa.Engine, clock: ManualClock
) -> None:
    notes.note(Round("one", 30.0, 600.0))
    row = last(engine)
    assert service_rounds.lag(row, clock() + timedelta(seconds=690)) == timedelta(0)
    assert service_rounds.lag(row, clock() + timedelta(seconds=700)) == timedelta(seconds=10)


@pytest.mark.parametrize("period_seconds", [0.3, 1.0, 7.0, 45.0, 59.0, 60.0, 600.0])
def test_a_service_that_works_is_never_late(
    engine: sa.Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, period_seconds: float
) -> None:
    """Whatever its period is, and whether it fails or not."""
    monkeypatch.setattr(time, "monotonic", lambda: clock().timestamp())
    notes = RoundNotes(engine, clock, section="test")
    for error, pause in ((None, max(5.0, period_seconds)), (ValueError("no"), max(60.0, period_seconds))):
        for _ in range(30):
            notes.note(Round("one", 0.01, period_seconds, error=error))
            clock.advance(seconds=pause - 0.001)
            assert service_rounds.lag(last(engine), clock()) == timedelta(0)


def test_machines_that_are_gone_hide_no_other(notes: RoundNotes, engine: sa.Engine, clock: ManualClock) -> None:
    """Containers have a new name with each start, and are kept for a week."""
    for host in ("pod1", "pod2", "pod3"):
        with engine.begin() as tx:
            service_rounds.enter(tx, Round("daemon/adder", 0.1, 1.0), host, failures=0, now=clock())
        clock.advance(hours=1)
    notes.note(Round("one", 0.1, 1.0))
    with engine.connect() as tx:
        shown = [(row.service, row.host) for row in service_rounds.last_rounds(tx, limit=2)]
    assert shown[0] == ("daemon/adder", "pod3") and shown[1][0] == "test/one"


def test_services_of_machines_that_are_gone_are_forgotten(
    notes: RoundNotes, engine: sa.Engine, clock: ManualClock
) -> None:
    notes.note(Round("one", 0.1, 1.0))
    with engine.begin() as tx:
        assert service_rounds.forget(tx, before=clock()) == 0
        assert service_rounds.forget(tx, before=clock() + timedelta(seconds=1)) == 1
