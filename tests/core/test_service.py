"""The loop around services: it outlives errors, rests when there is nothing to do, and stops when told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Thread

import pytest
from patience import PATIENCE_SECONDS

from bamboo.core.service import idle, run_service


@dataclass
class Report:
    done: int = 0
    names: list[str] = field(default_factory=list)


class Scripted:
    """Plays one step a round, then stops the loop."""

    name = "scripted"

    def __init__(self, stop: Event, *steps: Callable[[], Report]) -> None:
        self.rounds = 0
        self._stop = stop
        self._steps = steps

    def run_once(self) -> Report:
        step = self._steps[self.rounds]
        self.rounds += 1
        if self.rounds == len(self._steps):
            self._stop.set()
        return step()


def fail() -> Report:
    raise RuntimeError("boom")


def test_a_report_of_defaults_is_idle() -> None:
    assert idle(Report())
    assert not idle(Report(done=1))
    assert not idle(Report(names=["a"]))


def test_work_is_followed_by_the_next_round_at_once() -> None:
    stop = Event()
    service = Scripted(stop, *[lambda: Report(done=1)] * 50)
    thread = Thread(target=run_service, args=(service, stop), kwargs={"period_seconds": 3600.0})
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    assert service.rounds == 50


def test_errors_are_logged_and_outlived(caplog: pytest.LogCaptureFixture) -> None:
    stop = Event()
    service = Scripted(stop, fail, fail, lambda: Report(done=7))
    with caplog.at_level(logging.INFO, logger="bamboo.core.service"):
        run_service(service, stop, period_seconds=0.01, max_backoff_seconds=0.01)
    assert [record.message for record in caplog.records] == ["round failed", "round failed", "round done"]
    assert vars(caplog.records[-1])["round_done"] == 7


def test_rounds_are_left_out_while_there_is_nothing_new() -> None:
    stop, asked = Event(), iter([False, True, True, False, False])
    service = Scripted(stop, Report, Report, Report)
    run_service(service, stop, period_seconds=0.001, may_rest=lambda: next(asked))
    assert service.rounds == 3
    assert next(asked, None) is None


def test_no_round_is_left_out_after_one_that_failed() -> None:
    stop = Event()
    service = Scripted(stop, fail, Report)
    asked = iter([False, True])
    run_service(service, stop, period_seconds=0.001, max_backoff_seconds=0.001, may_rest=lambda: next(asked))
    assert service.rounds == 2


def test_a_resting_loop_stops_when_told() -> None:
    stop, rested = Event(), Event()

    class Idle:
        name = "idle"

        def run_once(self) -> Report:
            rested.set()
            return Report()

    thread = Thread(target=run_service, args=(Idle(), stop), kwargs={"period_seconds": 3600.0})
    thread.start()
    assert rested.wait(PATIENCE_SECONDS)
    stop.set()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
