"""The database as operators meet it: what is wrong with it is told in one line, with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from alembic.util import CommandError

from ..core.errors import BadSettings, BadState, Fault, Unavailable
from ..sql import migrate
from ..sql.engine import open_engine

UNUSABLE = "the configuration cannot be used"


@contextmanager
def opened(url: str) -> Iterator[sa.Engine]:
    """An engine for an operator's command: one connection, no time limit.

    What goes wrong with it comes out as `BadSettings` (the URL, or its driver), `BadState` (a schema that this version
    does not know) or `Unavailable` (the database does not answer, or refuses).
    """
    try:
        engine = open_engine(url, pool_size=1, statement_seconds=0)
        try:
            yield engine
        finally:
            engine.dispose()
    except sa.exc.ArgumentError as error:
        do = "it looks like postgresql://user@host/name or sqlite:////path"
        raise BadSettings(UNUSABLE, [Fault("the database's URL", str(error), do)]) from error
    except ModuleNotFoundError as error:
        do = "install the extra `postgres`, `mysql` or `oracle` of bamboo-wms"
        raise BadSettings(UNUSABLE, [Fault("the database's URL", f"no driver: {error}", do)]) from error
    except CommandError as error:
        raise BadState(f"the database's schema is not of this version: {error}") from error
    except sa.exc.DBAPIError as error:
        said = str(error.orig).strip().partition("\n")[0]
        shown = sa.make_url(url).render_as_string(hide_password=True)
        hint = "is it running, and are host, port, user and password right?"
        raise Unavailable(f"the database {shown} cannot be used: {said}", hint=hint) from error


def require_schema(url: str) -> None:
    """Raise `BadState` unless the database is at this version's schema, and what `opened` raises."""
    with opened(url) as engine:
        problems = migrate.check(engine)
    if problems:
        raise BadState("; ".join(problems))
