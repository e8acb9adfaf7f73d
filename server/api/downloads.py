"""What pilots and jobs fetch: /cache/ (start-up documents, sandboxes) and /trf/ (transformations).

These are plain documents without the envelope (pilot protocol 4, client protocol 6.1), and real 404s. A name from
outside is looked up, never used as a path.
"""

from __future__ import annotations

import re

from flask import Blueprint, Response, send_file

from ...core.errors import NotFound
from ...sql import queues, sandboxes
from ..auth.access import NOBODY, open_to
from ..context import context
from ..declared import answers_with
from ..envelope import as_json
from ..job_wire import TRANSFORMS
from ..transforms import one_file

routes = Blueprint("downloads", __name__)

BYTES, PYTHON = "application/octet-stream", "text/x-python"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")


@routes.get("/cache/schedconfig/<queue>.all.json")
@open_to(NOBODY)
def queue_document(queue: str) -> Response:
    """The queue as pilots read it."""
    with context().reading() as tx:
        return as_json(queues.queue_document(queues.get_queue(tx, queue)))


@routes.get("/cache/schedconfig/pandaqueues.json")
@open_to(NOBODY)
def queue_documents() -> Response:
    """All queues by name: what pilots look up as a map."""
    with context().reading() as tx:
        return as_json({row.queue: queues.queue_document(row) for row in queues.list_queues(tx)})


@routes.get("/cache/ddmendpoints.json")
@open_to(NOBODY)
def storage_documents() -> Response:
    """All storages by name."""
    with context().reading() as tx:
        return as_json({row.storage: queues.storage_document(row) for row in queues.list_storages(tx)})


@routes.get("/cache/<name>")
@open_to(NOBODY)
@answers_with(BYTES)
def sandbox(name: str) -> Response:
    """A sandbox, byte by byte as it came: with no Content-Encoding, or clients would unpack it on the way."""
    if not _NAME.fullmatch(name):
        raise NotFound("there is no such file in the cache")
    now = context().now()
    with context().reading() as tx:
        found = sandboxes.find(tx, name)
    path = context().settings.server.cache_dir.absolute() / name
    if found is None or not path.is_file():
        raise NotFound(f"there is no file {name} in the cache", hint="it may have been cleaned away: submit again")
    if sandboxes.is_use_worth_noting(found, now):
        with context().writing() as tx:
            sandboxes.note_use(tx, name, now=now)
    return send_file(path, mimetype=BYTES, conditional=False)  # a range of it would go through memory


@routes.get("/trf/user/<name>")
@open_to(NOBODY)
@answers_with(PYTHON)
def transformation(name: str) -> Response:
    """A transformation of ours, by its name on the wire."""
    if name not in TRANSFORMS:
        raise NotFound("there is no such transformation", hint=f"there is {', '.join(TRANSFORMS)}")
    return Response(one_file(TRANSFORMS[name]), mimetype=PYTHON)
