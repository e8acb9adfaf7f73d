"""What the checks look at, and by which measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from ...core.clock import Clock, utc_now
from ...core.settings import Settings
from ..state import StateFolder

GIB = 1 << 30


@dataclass(frozen=True)
class Measures:
    """From where on something is a warning, or a fault."""

    low_disk_bytes: int = 10 * GIB
    no_disk_bytes: int = 1 * GIB
    slow_clock_seconds: float = 2.0
    #: As much as tokens may begin in the future.
    wrong_clock_seconds: float = 60.0
    #: Larger SQLite files are not read as a whole.
    checked_file_bytes: int = 1 * GIB
    #: A lease that ended so long ago should have been seen.
    late_seconds: float = 900.0
    #: Tokens that end so soon are told.
    token_days: float = 3.0
    answer_seconds: float = 5.0


@dataclass(frozen=True)
class Patient:
    """An installation as seen from this machine. `engine` is there when the database could be used."""

    settings: Settings
    url: str
    config_files: tuple[Path, ...]
    environ: Mapping[str, str]
    state: StateFolder | None = None
    engine: sa.Engine | None = None
    clock: Clock = utc_now
    measures: Measures = field(default_factory=Measures)

    @property
    def sqlite_file(self) -> Path | None:
        """The file of the database, if it is one."""
        url = sa.make_url(self.url) if self.url else None
        if url is None or url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
            return None
        return Path(url.database)

    @property
    def shown_url(self) -> str:
        """The database's URL without its password."""
        return sa.make_url(self.url).render_as_string(hide_password=True) if self.url else ""
