"""Ends a program in the foreground on Ctrl-C or SIGTERM, at any moment, with everything it started."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from types import FrameType
from typing import Any

from ..core.process import become_subreaper
from .supervisor import kill_descendants

#: When a signal is repeated that came while the interpreter could not raise anything.
AGAIN_SECONDS = 0.01


class Interrupted(BaseException):
    """Raised in the main thread by the first signal; not an Exception, so that no handler swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.status = 128 + number


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into `Interrupted`; a second one, while things are stopped, kills them all.

    Whatever happens inside, no process that was started there outlives it. An `Interrupted` that nobody catches ends
    the program with the signal's exit status.
    """
    become_subreaper()

    def arm(handler: Any) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, handler)

    def first(number: int, frame: FrameType | None) -> None:
        arm(second)
        raise Interrupted(number)

    def unraisable(lost: Any) -> None:
        # Nothing can be raised out of a destructor: the signal would be lost, and the work would go on.
        if not isinstance(lost.exc_value, Interrupted):
            hook_before(lost)
            return
        arm(first)
        Timer(AGAIN_SECONDS, os.kill, (os.getpid(), lost.exc_value.number)).start()

    def second(number: int, frame: FrameType | None) -> None:
        kill_descendants()
        os._exit(128 + number)

    hook_before, sys.unraisablehook = sys.unraisablehook, unraisable
    before = {number: signal.signal(number, first) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except Interrupted as interrupted:
        raise SystemExit(interrupted.status) from None
    finally:
        arm(second)
        kill_descendants()
        sys.unraisablehook = hook_before
        for number, handler in before.items():
            signal.signal(number, handler)
