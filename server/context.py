"""What every request may use: settings, engine and clock, and the name of the request."""

from __future__ import annotations

import re
import uuid
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

import sqlalchemy as sa
from flask import Flask, current_app, g, request

from ..core.clock import Clock
from ..core.settings import Settings
from ..sql.engine import looking, reading, single
from .database_figures import DatabaseFigures
from .figures import Figures
from .heartbeats import Heartbeats
from .rates import Rates
from .secret_box import SecretBox
from .share_order import ShareOrder
from .sightings import Sightings
from .unserved import Unserved
from .why.asker import Asker

REQUEST_ID_HEADER = "X-Request-Id"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class Context:
    """The parts of the application that views use; each worker process has its own."""

    settings: Settings
    engine: sa.Engine
    clock: Clock
    share_order: ShareOrder
    plugins: Asker
    heartbeats: Heartbeats
    rates: Rates
    database_figures: DatabaseFigures
    secret_box: SecretBox | None = None
    sightings: Sightings = field(default_factory=Sightings)
    unserved: Unserved = field(default_factory=Unserved)
    figures: Figures = field(default_factory=Figures)

    def reading(self) -> AbstractContextManager[sa.Connection]:
        """A transaction that only reads."""
        return reading(self.engine)

    def writing(self) -> AbstractContextManager[sa.Connection]:
        """A transaction that commits at its end, or changes nothing when an error leaves it."""
        return self.engine.begin()

    def looking(self) -> AbstractContextManager[sa.Connection]:
        """For one statement that only reads."""
        return looking(self.engine)

    def single(self) -> AbstractContextManager[sa.Connection]:
        """For one statement that writes and is whole by itself."""
        return single(self.engine)

    def now(self) -> datetime:
        """The moment that a request happens at; asked for before a transaction begins, for it may need one itself."""
        return self.clock()

    def public_url(self) -> str:
        """How pilots and jobs reach this server."""
        return (self.settings.server.public_url or request.host_url).rstrip("/")


def context() -> Context:
    return context_of(current_app)


def context_of(app: Flask) -> Context:
    """The parts of an application."""
    return cast(Context, app.extensions["bamboo"])


def request_id() -> str:
    """The name of this request: the caller's if it is sound, else a new one. Log lines and event rows carry it."""
    if "request_id" not in g:
        g.request_id = request_id_by(request.headers.get(REQUEST_ID_HEADER, ""))
    return str(g.request_id)


def request_id_by(given: str) -> str:
    """The name of a request that brings one, or none."""
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
