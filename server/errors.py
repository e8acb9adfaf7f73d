"""One place where errors become answers.

PanDA's rule (client protocol 3.4): a request that is understood and refused is HTTP 200 with `success` false; the
status that would fit stands in `status`. Outside /api/v1/, and for what is no logical refusal (the database away, too
many bytes, unreadable JSON, unknown routes, bugs), the HTTP status says it too.
"""

from __future__ import annotations

import errno
import logging
import math
import sqlite3

import sqlalchemy as sa
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from ..core.errors import BadState, BambooError, Duplicate, NoSpace, NotFound, TooLarge, TooMany, Unavailable
from .auth.errors import NotAdmitted
from .context import request_id
from .envelope import as_json, refused

log = logging.getLogger(__name__)

API = "/api/v1/"
RETRY_AFTER_SECONDS = 5
#: Room on a disk is made by people, or by a chore that comes once an hour.
NO_SPACE_SECONDS = 60
#: PostgreSQL's code for a write where there can be none.
READ_ONLY = "25006"
#: PostgreSQL's code for a disk without room.
DISK_FULL = "53100"
#: What the system says when there is no room on a disk, or none left for this user.
FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})
#: What it says when this process, or the whole machine, has too many files open.
OPEN_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE})
#: Statuses that a caller must not take for a refusal of what it asked: 429, 503 and 507 come with `Retry-After`.
TRANSPORT_STATUSES = frozenset({400, 413, 415, 429, 503, 507})
#: PanDA's numbers for refused commands (client protocol 6.2, 6.4), which its clients read in `data`. There is none
#: for "not allowed": PanDA's 3 reads as accepted when a retry brings new parameters.
PANDA_NUMBERS: tuple[tuple[type[BambooError], int], ...] = ((NotFound, 2), (Duplicate, 2), (BadState, 4))


#: Addresses whose callers print why they are refused, which they do when the HTTP status is 200 alone (client protocol
#: 3.4, 13): too much is a refusal like others there, once the request was read.
PRINTED = frozenset(f"{API}{path}" for path in ("file_server/upload_cache_file", "creds/set_user_secrets"))


class NoSuchRoute(BambooError):
    """The address, or the method used on it, means nothing here."""

    code = "BAM-HTTP-001"


class NotYet(BambooError):
    """Something that PanDA has and this server does not."""

    code = "BAM-NOTYET-001"
    status = 501


class Internal(BambooError):
    """A bug. What went wrong is in the server's log, under the id of the request."""

    code = "BAM-500"


def register(app: Flask) -> None:
    """Make every error of the application an answer in the envelope."""
    app.register_error_handler(BambooError, refuse)
    app.register_error_handler(sa.exc.SQLAlchemyError, database_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(OSError, _os_error)
    app.register_error_handler(Exception, _bug)


def refuse(error: BambooError) -> Response:
    """The answer to a request that is refused."""
    if error.status == 500:
        return _bug(error)
    number = next((number for kind, number in PANDA_NUMBERS if isinstance(error, kind)), None)
    return answer(error, number)


def answer(error: BambooError, data: object = None, **more: object) -> Response:
    """The answer to a request that is refused, with what the route's callers look for in it."""
    g.refusal = error.code
    outside = error.status == 401 or error.status in TRANSPORT_STATUSES or isinstance(error, NotAdmitted)
    is_printed = error.status == 413 and request.path in PRINTED
    logical = request.path.startswith(API) and (is_printed or not outside)
    response = as_json(refused(error, request_id(), data, **more), 200 if logical else error.status)
    response.headers.update(when_again(error))
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="bamboo"'
    return response


def when_again(error: BambooError) -> dict[str, str]:
    """The header that says when to ask again, for errors that pass."""
    if isinstance(error, TooMany):
        seconds = max(1, math.ceil(error.seconds))
    elif error.status in (503, 507):
        seconds = NO_SPACE_SECONDS if error.status == 507 else RETRY_AFTER_SECONDS
    else:
        return {}
    return {"Retry-After": str(seconds)}


def is_away(error: Exception) -> bool:
    """Whether an error means that the database does not answer, has no time, or may only be read for now."""
    if isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError | sa.exc.TimeoutError | Unavailable):
        return True
    return isinstance(error, sa.exc.DBAPIError) and (error.connection_invalidated or is_read_only(error))


def is_read_only(error: Exception) -> bool:
    """Whether an error means that the database may only be read: a replica, or one that was the primary before."""
    return isinstance(error, sa.exc.DBAPIError) and getattr(error.orig, "sqlstate", None) == READ_ONLY


def is_full(error: Exception) -> bool:
    """Whether an error means that there is no room on the database's disk."""
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    if getattr(error.orig, "sqlstate", None) == DISK_FULL:
        return True
    return getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def no_space(error: OSError) -> NoSpace | Unavailable:
    """What is said when a file cannot be stored, or opened."""
    if error.errno in FULL_ERRNOS:
        return NoSpace("the server has no room for files", hint="try again later, and tell the administrator")
    if error.errno in OPEN_ERRNOS:
        hint = "try again soon, and tell the administrator (ulimit -n)"
        return Unavailable("the server has as many files open as it may", hint=hint)
    return Unavailable(f"the server cannot store files: {error.strerror}")


def database_error(error: sa.exc.SQLAlchemyError) -> Response:
    """The answer to a request over which the database failed."""
    if is_full(error):
        log.error("database full", extra={"event": "database_full", "request_id": request_id()})
        hint = "try again later, and tell the administrator"
        return refuse(NoSpace("the database has no room on its disk", hint=hint))
    if not is_away(error):
        return _bug(error)
    log.warning(
        "database away", extra={"event": "database_away", "request_id": request_id(), "problem": str(error)[:300]}
    )
    if is_read_only(error):
        return refuse(Unavailable("the database can only be read here", hint="ask a server of the primary database"))
    return refuse(Unavailable("the database does not answer", hint="try again in a few seconds"))


def _http_error(error: HTTPException) -> Response:
    if error.code == 413:
        return refuse(TooLarge("the request has more bytes than are accepted"))
    hint = "/api/ and docs/api.md list what there is"
    told = NoSuchRoute(f"{request.method} {request.path[:200]}: {error.name}", hint=hint)
    told.status = error.code or 500
    g.refusal = told.code
    response = as_json(refused(told, request_id()), told.status)
    for name, value in error.get_headers():
        if name == "Allow":
            response.headers[name] = value
    return response


def _os_error(error: OSError) -> Response:
    """No room for a file, or none for one more that is open: these pass. What else nobody expected is a bug."""
    return refuse(no_space(error)) if error.errno in FULL_ERRNOS | OPEN_ERRNOS else _bug(error)


def _bug(error: Exception) -> Response:
    log.error("request failed", exc_info=error, extra={"event": "request_failed", "request_id": request_id()})
    told = Internal("the server failed on this request", hint="report it with the request id")
    g.refusal = told.code
    return as_json(refused(told, request_id()), 500)
