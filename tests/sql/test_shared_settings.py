"""Settings in the database, as PanDA's gdpconfig has them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.core.errors import BadSettings
from bamboo.core.tunables import Tunable
from bamboo.sql import settings
from bamboo.sql import tables as t


@pytest.fixture
def put(engine: sa.Engine, clock: ManualClock) -> Callable[..., None]:
    def _put(value: str, kind: str = "int", **where: Any) -> None:
        with engine.begin() as tx:
            settings.set_value(tx, "jobbroker", "LIMIT", "jedi", value, kind=kind, now=clock(), **where)

    return _put


def get(engine: sa.Engine, vo: str | None = None, default: Any = None) -> Any:
    with engine.connect() as tx:
        return settings.get_value(tx, "jobbroker", "LIMIT", "jedi", vo, default)


def test_an_organisation_may_have_its_own(engine: sa.Engine, put: Callable[..., None]) -> None:
    assert get(engine, "atlas", 3) == 3
    put("5")
    put("7", vo="atlas")
    assert (get(engine), get(engine, "cms"), get(engine, "atlas")) == (5, 5, 7)
    put("6")
    assert (get(engine), get(engine, "atlas")) == (6, 7)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [("str", "a b", "a b"), ("int", "-4", -4), ("float", "0.5", 0.5), ("bool", "True", True), ("bool", "off", False)],
)
def test_a_setting_has_its_type(
    engine: sa.Engine, put: Callable[..., None], kind: str, text: str, value: object
) -> None:
    put(text, kind)
    assert get(engine) == value
    assert type(get(engine)) is type(value)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("kind", "text"), [("int", "many"), ("float", ""), ("bool", "maybe"), ("list", "1")])
def test_a_value_that_is_not_of_its_type_is_refused(
    engine: sa.Engine, put: Callable[..., None], kind: str, text: str
) -> None:
    put("5")
    with pytest.raises(BadSettings, match="LIMIT" if kind != "list" else "'list' is no type"):
        put(text, kind)
    assert get(engine) == 5


def test_a_value_that_somebody_spoilt_is_told_with_its_place(engine: sa.Engine, put: Callable[..., None]) -> None:
    put("5")
    with engine.begin() as tx:
        tx.execute(sa.update(t.settings).values(value="five"))
    with pytest.raises(BadSettings, match="settings jedi/jobbroker/LIMIT: 'five' is no int"):
        get(engine)


def test_a_process_sees_a_change_after_some_seconds(
    engine: sa.Engine, put: Callable[..., None], clock: ManualClock
) -> None:
    limit = Tunable("jedi", "jobbroker", "LIMIT", 3, "", "")
    numbers = settings.NumbersCache(engine, clock)
    assert numbers()(limit) == 3
    put("5")
    put("7", vo="atlas")
    assert (numbers()(limit), numbers("atlas")(limit)) == (3, 7)
    clock.advance(seconds=settings.REFRESH_SECONDS.default - 1)
    assert numbers()(limit) == 3
    clock.advance(seconds=1)
    assert (numbers()(limit), numbers("cms")(limit)) == (5, 5)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("seconds", "after_an_hour"), [("1e30", 3), ("0", 5), ("-1", 5)])
def test_how_long_it_keeps_them_is_a_setting_too(
    engine: sa.Engine, put: Callable[..., None], clock: ManualClock, seconds: str, after_an_hour: int
) -> None:
    """No value of it stops a process."""
    with engine.begin() as tx:
        settings.set_value(tx, "settings", "REFRESH_SECONDS", "bamboo", seconds, kind="float", now=clock())
    limit = Tunable("jedi", "jobbroker", "LIMIT", 3, "", "")
    numbers = settings.NumbersCache(engine, clock)
    assert numbers()(limit) == 3
    put("5")
    clock.advance(hours=1)
    assert numbers()(limit) == after_an_hour


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_two_may_enter_a_setting_at_once(engine: sa.Engine, clock: ManualClock) -> None:
    together, done = threading.Barrier(2), list[str]()

    def _put(value: str) -> None:
        with engine.begin() as tx:
            tx.execute(sa.select(1))
            together.wait()
            settings.set_value(tx, "jobbroker", "LIMIT", "jedi", value, kind="int", now=clock())
        done.append(value)

    threads = [threading.Thread(target=_put, args=(value,)) for value in "12"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sorted(done), str(get(engine))) == (["1", "2"], done[-1])
    with engine.connect() as tx:
        assert [line.new_value for line in settings.history(tx)] == done[::-1]
