"""Entity tags: who asks again for what has not changed gets 304 and no body (RFC 9110, 8.8.3 and 13.1.2)."""

from __future__ import annotations

from hashlib import blake2b

from flask import Response, current_app, g, request

from .auth.access import Access, Check, Need, access_to
from .envelope import JSON

PLACE = "/api/"


def is_tagged(verb: str, path: str, access: Access) -> bool:
    """Whether answers may have a tag: not those for pilots, who never ask for the same, nor what is the caller's own.

    The latter, secrets among it, is kept by nobody on the way.
    """
    return (
        verb in ("GET", "HEAD") and path.startswith(PLACE) and not _is_private(access) and access.need is not Need.PILOT
    )


def tag(response: Response) -> Response:
    """Give an answer its tag, and send none that the asker has already."""
    if response.mimetype != JSON or not request.path.startswith(PLACE):
        return response
    access = access_to(current_app, request)
    if _is_private(access):
        response.headers["Cache-Control"] = "no-store"
    elif response.status_code == 200 and "refusal" not in g and is_tagged(request.method, request.path, access):
        response.set_etag(blake2b(response.get_data(), digest_size=16).hexdigest(), weak=True)
        response.headers["Cache-Control"] = "private, no-cache"  # asked anew each time: others may ask the same
        response.make_conditional(request)
    return response


def _is_private(access: Access) -> bool:
    return Check.OWN in access.checks
