"""Log lines as events: constant words, then the data as key=value."""

from __future__ import annotations

import logging
import time
from pathlib import Path

_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class EventFormatter(logging.Formatter):
    """`2026-11-20T06:00:00Z INFO payload started pandaid=17 attempt_nr=1`, one line each, UTC."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return time.strftime(datefmt or "%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        data = [f"{key}={value}" for key, value in vars(record).items() if key not in _OWN_FIELDS and key != "event"]
        first, newline, rest = line.partition("\n")
        return " ".join([first, *data]).replace("\n", "\\n") + newline + rest


def set_up(pilot_log: Path, debug: bool) -> None:
    """Send log lines to stderr and to the pilot's own file; a full disk loses lines, never the pilot."""
    logging.raiseExceptions = False
    root = logging.getLogger("bamboo")
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    for handler in (logging.StreamHandler(), logging.FileHandler(pilot_log)):
        handler.setFormatter(EventFormatter())
        root.addHandler(handler)
