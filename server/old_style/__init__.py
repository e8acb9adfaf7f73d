"""/server/panda/<method>: the API of PanDA before v1, as far as clients and pilots in use need it.

Each method is one function over those of the new API, and a shape for its answer. Refusals are HTTP 200 in the shape
of the method; a method that there is not, or a caller that is turned away, is 403 and text (client protocol 3.6).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, Response, g, request

from ...core.errors import BambooError, Unavailable
from ..auth.access import UNKNOWN, Access, open_to
from ..auth.errors import NotAdmitted
from ..envelope import as_json
from ..errors import TRANSPORT_STATUSES, database_error, is_away, refuse, when_again
from . import client_methods, pilot_methods
from .methods import Method, read_fields
from .replies import ASK_AGAIN, PILOT, failed, text, turned_away

routes = Blueprint("old_style", __name__)

METHODS: dict[str, Method] = {**client_methods.METHODS, **pilot_methods.METHODS}


def _access(arguments: Mapping[str, Any]) -> Access:
    known = METHODS.get(arguments["method"])
    return UNKNOWN if known is None else known.access


@routes.route("/server/panda/<method>", methods=["GET", "POST"])
@open_to(_access)
def call(method: str) -> Response:
    """Call a method of the old style."""
    known = METHODS.get(method)
    if known is None:
        g.refusal = "BAM-HTTP-001"
        return text(f"ERROR : method {re.sub('[^A-Za-z0-9_]', '_', method[:64])} is forbidden", 403)
    return known.shape.yes(known.act(read_fields()))


@routes.errorhandler(BambooError)
def _refuse(error: BambooError) -> Response:
    """The answer to a request that is refused, by the method or before it."""
    if error.status == 500:
        return refuse(error)
    if _is_get_job() and is_away(error):
        return _later()
    g.refusal = error.code
    known = METHODS.get((request.view_args or {}).get("method", ""))
    if error.status == 401 or isinstance(error, NotAdmitted) or known is None:
        return turned_away(error) if known is not None and known.shape is PILOT else failed(error, 403)
    if error.status in TRANSPORT_STATUSES:
        response = failed(error, error.status)
        response.headers.update(when_again(error))
        return response
    return known.shape.no(error)


@routes.errorhandler(sa.exc.SQLAlchemyError)
def _no_database(error: sa.exc.SQLAlchemyError) -> Response:
    return _later() if _is_get_job() and is_away(error) else database_error(error)


def _is_get_job() -> bool:
    return (request.view_args or {}).get("method") == "getJob"


def _later() -> Response:
    """Have a pilot ask for work again: an HTTP error here would end it (pilot protocol 5), and with it the slot.

    For reports it has to be one, as pilots take whatever they can read for accepted (pilot protocol 7.3).
    """
    g.refusal = Unavailable.code
    return as_json(ASK_AGAIN)
