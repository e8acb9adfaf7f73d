"""When a task will be done: a range that the jobs themselves give."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from bamboo.core.forecast import forecast

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def ended(*minutes_ago: float, inputs: int = 1) -> list[tuple[datetime, int]]:
    return [(NOW - timedelta(minutes=minutes), inputs) for minutes in minutes_ago]


def test_the_pace_is_that_of_the_last_jobs() -> None:
    found = forecast(10, ended(*range(61)), now=NOW)
    assert found is not None
    assert found.per_hour == 60
    assert NOW + timedelta(minutes=8) < found.earliest < NOW + timedelta(minutes=10)
    assert found.latest is not None
    assert NOW + timedelta(minutes=10) < found.latest < NOW + timedelta(minutes=13)


def test_a_task_that_stands_still_gets_slower() -> None:
    going, standing = forecast(10, ended(0, 1, 2, 3), now=NOW), forecast(10, ended(60, 61, 62, 63), now=NOW)
    assert going is not None and standing is not None
    assert standing.per_hour < going.per_hour / 15


def test_too_little_to_tell_by() -> None:
    assert forecast(0, ended(*range(100)), now=NOW) is None
    assert forecast(5, ended(0, 1), now=NOW) is None
    assert forecast(5, ended(0, 0, 0), now=NOW) is None
    few = forecast(1000, ended(0, 1, 2), now=NOW)
    assert few is not None and few.earliest > NOW


@given(
    st.integers(1, 10**6),
    st.lists(st.tuples(st.floats(0, 10**5), st.integers(0, 100)), min_size=3, max_size=50),
)
def test_the_range_is_one(n_left: int, jobs: list[tuple[float, int]]) -> None:
    found = forecast(n_left, [(NOW - timedelta(minutes=minutes), n) for minutes, n in jobs], now=NOW)
    if found is not None:
        assert found.earliest > NOW
        assert found.latest is None or found.latest >= found.earliest
