"""Log lines as events: constant words, and the data beside them, for people or as JSON.

Names in the data: `request_id`, `user`, `task`, `job`, `attempt`, `queue`, `site`, `service`. What all lines of one
piece of work have in common is said once, with `about`.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
#: What the work of this thread is about, as far as it is known.
_about: ContextVar[dict[str, Any] | None] = ContextVar("about", default=None)


def about(**data: Any) -> None:
    """Have all further lines of this thread carry this, too; what is None is left out."""
    _about.set({**(_about.get() or {}), **{key: value for key, value in data.items() if value is not None}})


def forget() -> None:
    """Let no further line carry what was said with `about`: the thread has other work now."""
    _about.set(None)


@contextmanager
def while_about(**data: Any) -> Iterator[None]:
    """Have the lines that are written inside carry this, too."""
    before = _about.get()
    about(**data)
    try:
        yield
    finally:
        _about.set(before)


def _data(record: logging.LogRecord) -> dict[str, Any]:
    own = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    return {**(_about.get() or {}), **own}


class TextFormatter(logging.Formatter):
    """`2026-01-01T00:00:00Z INFO bamboo.jedi.master: agent died (agent=job_generator exit=1)`."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        data = " ".join(f"{key}={value}" for key, value in _data(record).items() if key != "event")
        line = f"{moment} {record.levelname} {record.name}: {record.getMessage()}" + (f" ({data})" if data else "")
        line = line.replace("\n", "\\n")
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_data(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(name: str, *, level: str = "INFO", style: str = "text", folder: Path | None = None) -> None:
    """Send the log of this process to `<folder>/<name>.log`, or to stderr without a folder."""
    if folder is None:
        handler: logging.Handler = logging.StreamHandler(sys.stderr)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(folder / f"{name}.log")
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("alembic").setLevel("WARNING")  # it tells of each look at the schema
