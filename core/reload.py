"""Reading the configuration again while a part runs (SIGHUP): it is taken as a whole, or not at all."""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections.abc import Callable
from types import FrameType

from .settings import Settings

log = logging.getLogger(__name__)

#: A trial of new settings that takes longer has failed.
TRIAL_SECONDS = 60.0


class Reload:
    """Hears SIGHUP, and reads settings then. `trial` raises when they cannot be used; `wake` ends a wait.

    The trial runs in a process of its own: what it loads of other people's plugins must not reach this one.
    """

    def __init__(
        self, read: Callable[[], Settings], trial: Callable[[Settings], object], wake: Callable[[], object]
    ) -> None:
        self._read = read
        self._trial = trial
        self._wake = wake
        self._is_asked = False

    def listen(self) -> None:
        """Hear SIGHUP from now on; it is not inherited by what is forked, if that calls `ignore`."""
        signal.signal(signal.SIGHUP, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._is_asked = True
        self._wake()

    def settings(self) -> Settings | None:
        """New settings, if somebody has asked for them and they can be used; the log says what is wrong with others."""
        if not self._is_asked:
            return None
        self._is_asked = False
        try:
            settings = self._read()
        except Exception as error:  # the part goes on, whatever it is
            log.exception(
                "the new configuration cannot be used: the old one stays",
                extra={"event": "reload_refused", "why": str(error)},
            )
            return None
        process = multiprocessing.get_context("fork").Process(target=self._try, args=(settings,))
        process.start()
        process.join(TRIAL_SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
        if process.exitcode != 0:
            log.error("the new configuration was refused: the old one stays", extra={"event": "reload_refused"})
            return None
        log.info("configuration read again", extra={"event": "reloaded"})
        return settings

    def _try(self, settings: Settings) -> None:
        ignore()
        try:
            self._trial(settings)
        except Exception as error:  # whatever it is
            log.exception("the new configuration fails", extra={"event": "reload_failed", "why": str(error)})
            raise SystemExit(1) from None


def ignore() -> None:
    """Leave SIGHUP to the first process of the part."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
