"""The web application: stateless, one process or many, everything it knows is in the database."""

from __future__ import annotations

import logging
import time

import sqlalchemy as sa
from flask import Flask, Response, g, request

from ..core.clock import Clock
from ..core.settings import Settings
from . import errors, identity, old_style
from .api import (
    auth,
    creds,
    dataset,
    downloads,
    event,
    file_server,
    job,
    metaconfig,
    monitor,
    pages,
    pilot,
    queue,
    system,
    task,
    workflow,
)
from .context import REQUEST_ID_HEADER, Context, request_id
from .heartbeats import Heartbeats
from .secret_box import SecretBox
from .share_order import ShareOrder
from .uploads import UploadRequest
from .why.asker import Asker

log = logging.getLogger(__name__)

SLOW_SECONDS = 1.0


def create_app(settings: Settings, engine: sa.Engine, clock: Clock) -> Flask:
    """The WSGI application over one database; it opens no connection before the first request."""
    app = Flask(__name__, static_folder=None)
    app.request_class = UploadRequest
    app.config["MAX_CONTENT_LENGTH"] = settings.server.max_body_bytes
    box, order = SecretBox.build(settings.server.secrets_key), ShareOrder(engine, clock)
    beats = Heartbeats(engine, settings.server.collect_seconds)
    app.extensions["bamboo"] = Context(settings, engine, clock, order, Asker(settings, engine, clock), beats, box)
    for noun in (task, job, pilot, file_server, dataset, queue, event, metaconfig, workflow, system, creds):
        app.register_blueprint(noun.routes, url_prefix=f"/api/v1/{noun.routes.name}")
    for place in (downloads, monitor, pages, auth, old_style):
        app.register_blueprint(place.routes)
    errors.register(app)
    app.before_request(_begin)
    identity.install(app, settings.server, clock)
    app.after_request(_end)
    return app


def _begin() -> None:
    g.begun_at = time.monotonic()


def _end(response: Response) -> Response:
    response.headers[REQUEST_ID_HEADER] = request_id()
    seconds = time.monotonic() - g.begun_at
    failed = response.status_code >= 400 or "refusal" in g
    level = logging.INFO if failed or seconds > SLOW_SECONDS else logging.DEBUG
    if log.isEnabledFor(level):
        what = {"method": request.method, "path": request.path, "status": response.status_code}
        more = {"seconds": round(seconds, 3), "refusal": g.get("refusal", ""), "request_id": request_id()}
        log.log(level, "request", extra={"event": "request", **what, **more})
    return response
