"""Rates and expected ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bamboo.client.errors import ServerUnreachable, WaitTimedOut
from bamboo.client.polling import Poller
from bamboo.client.progress import Progress
from bamboo.client.text import bytes_text, duration_text, printable


def progress_of(*looks: tuple[float, int], total: int = 100) -> Progress:
    progress = Progress()
    for at, done in looks:
        progress.see(at, done, total)
    return progress


def test_nothing_is_foretold_while_nothing_moves() -> None:
    assert progress_of((0, 40), (10, 40)).remaining_seconds() is None
    assert progress_of((0, 40)).remaining_seconds() is None
    assert Progress().remaining_seconds() is None


def test_a_steady_task_ends_around_when_it_should() -> None:
    progress = progress_of(*((second, second) for second in range(51)))
    assert progress.rate_per_second == pytest.approx(1)
    earliest, latest = progress.remaining_seconds() or (0, 0)
    assert earliest < 50 < latest
    assert latest - earliest < 20


def test_a_task_that_slows_down_gets_a_wide_range() -> None:
    fast = [(second, 5 * second) for second in range(11)]
    slow = [(10 + 20 * step, 50 + step) for step in range(1, 11)]
    earliest, latest = progress_of(*fast, *slow).remaining_seconds() or (0, 0)
    assert latest > 2 * earliest > 0


def test_a_retry_starts_the_measurement_again() -> None:
    progress = progress_of((0, 0), (10, 90), (20, 10), (30, 20))
    assert progress.rate_per_second == pytest.approx(1)


@given(
    st.lists(st.tuples(st.floats(0.01, 1000), st.integers(0, 50)), min_size=1, max_size=50),
    st.integers(0, 1000),
)
def test_the_range_is_always_a_range(steps: list[tuple[float, int]], total: int) -> None:
    progress, at, done = Progress(), 0.0, 0
    for seconds, more in steps:
        at, done = at + seconds, min(total, done + more)
        progress.see(at, done, total)
    remaining = progress.remaining_seconds()
    if remaining is not None:
        earliest, latest = remaining
        assert 0 <= earliest <= latest
        assert (latest == 0) == (done == total)


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def poller(self, **more: float) -> Poller:
        return Poller(clock=lambda: self.now, sleep=self.sleep, **more)


def test_pauses_grow_to_a_limit() -> None:
    clock, looks = Clock(), iter(range(20))
    assert clock.poller().until(lambda: next(looks), lambda seen: seen == 12) == 12
    assert clock.slept[:3] == pytest.approx([0.2, 0.3, 0.45])
    assert clock.slept[-1] == 5.0
    assert clock.slept == sorted(clock.slept)


def test_the_deadline_is_kept_and_there_is_a_last_look() -> None:
    clock, looked = Clock(), []
    with pytest.raises(WaitTimedOut):
        clock.poller().until(lambda: looked.append(clock.now), lambda _: False, 7)
    assert clock.now == pytest.approx(7)
    assert looked[-1] == pytest.approx(7)


def test_patience_with_a_server_that_is_away() -> None:
    clock = Clock()

    def look() -> None:
        if clock.now > 1:
            raise ServerUnreachable("away")

    with pytest.raises(ServerUnreachable):
        clock.poller(patience_seconds=60).until(look, lambda _: False)
    assert 60 < clock.now < 70


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89.4, "89 s"), (120, "2 min"), (3 * 3600, "3 h 0 min"), (200000, "2 d 7 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (1e16, "10.0 PB")]
)
def test_sizes(size: float, text: str) -> None:
    assert bytes_text(size) == text


@given(st.text())
def test_printable_text_has_nothing_to_obey(text: str) -> None:
    shown = printable(text, lines=True)
    assert all(char in "\n\t" or char.isprintable() or char.isspace() or ord(char) > 0x9F for char in shown)
    assert "\x1b" not in shown
    assert "\n" not in printable(text)
