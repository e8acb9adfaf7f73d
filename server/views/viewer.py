"""Who looks at a page: somebody who has shown who they are, or nobody in particular."""

from __future__ import annotations

import sqlalchemy as sa

from ...core.errors import BambooError
from ..auth.caller import Caller
from ..identity import caller


def viewer() -> Caller | None:
    """The caller of this request, if it shows one that may come in; pages are for everybody.

    Nobody, too, while the database does not tell the time, so that a page can say that it is away.
    """
    try:
        return caller()
    except (BambooError, sa.exc.SQLAlchemyError):
        return None


def is_user() -> bool:
    """Whether it is somebody who may read what users read of each other: parameters and command lines among it."""
    who = viewer()
    return who is not None and who.is_user


def is_administrator() -> bool:
    """Whether it is somebody who looks after the system."""
    who = viewer()
    return who is not None and who.is_administrator
