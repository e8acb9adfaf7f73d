"""Regular expressions that somebody typed, over messages that somebody else wrote: none may take for ever.

Python's engine tries all ways to match, which can be 2^n for n characters. It looks for signals while it does so:
a timer ends a search that takes too much of the CPU, however busy the machine is with other things. That works in the
main thread, which is where daemon and commands match.
"""

from __future__ import annotations

import re
import signal
import threading
from types import FrameType

from .job_errors import DIAG_CHARACTERS

#: No more of a message is looked at than a job keeps of it.
MESSAGE_CHARACTERS = DIAG_CHARACTERS


class TooSlow(Exception):
    """A search was ended before it came to a result."""


class _TimeUp(BaseException):
    """Raised by the timer, in the middle of a search."""


def search_within(pattern: re.Pattern[str], message: str, seconds: float) -> bool:
    """Whether a pattern occurs in a message; raises `TooSlow` after `seconds` of CPU time."""
    text = message[:MESSAGE_CHARACTERS]
    if threading.current_thread() is not threading.main_thread():
        return pattern.search(text) is not None
    before = signal.signal(signal.SIGVTALRM, _time_up)
    try:
        try:
            signal.setitimer(signal.ITIMER_VIRTUAL, max(seconds, 0.001))
            return pattern.search(text) is not None
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except _TimeUp:
        raise TooSlow(f"{pattern.pattern!r} took more than {seconds:g} seconds of CPU") from None
    finally:
        signal.signal(signal.SIGVTALRM, before)


def _time_up(number: int, frame: FrameType | None) -> None:
    raise _TimeUp


def slow_message(pattern: re.Pattern[str], seconds: float) -> str | None:
    """A message over which the pattern takes too long, of those that are apt to find one; None if there is none.

    What makes a pattern slow is a text that it almost matches: its own letters, over and over, and then another.
    """
    letters = "".join(dict.fromkeys(letter for letter in pattern.pattern if letter.isalnum())) or "a"
    units = [*letters[:8], " ", "0", "/", letters, pattern.pattern]
    for unit in dict.fromkeys(units):
        message: str = (unit * MESSAGE_CHARACTERS)[: MESSAGE_CHARACTERS - 1] + "\x00"
        try:
            search_within(pattern, message, seconds)
        except TooSlow:
            return message
    return None
