"""The web application: stateless, one process or many, everything it knows is in the database."""

from __future__ import annotations

import logging
import time

import sqlalchemy as sa
from flask import Flask, Response, current_app, g, request

from ..core import logs
from ..core.clock import Clock
from ..core.settings import Settings
from . import addresses, entity_tags, errors, identity, old_style, views
from .api import (
    auth,
    creds,
    dataset,
    downloads,
    event,
    file_server,
    job,
    metaconfig,
    metrics,
    pages,
    pilot,
    queue,
    reference,
    system,
    task,
    workflow,
)
from .auth.access import Need, access_to
from .context import REQUEST_ID_HEADER, Context, context, request_id
from .database_figures import DatabaseFigures
from .heartbeats import Heartbeats
from .rates import Rates
from .secret_box import SecretBox
from .share_order import ShareOrder
from .uploads import UploadRequest
from .why.asker import Asker

log = logging.getLogger(__name__)

SLOW_SECONDS = 1.0
#: Routes that ask with a POST, and change nothing.
ASKING = frozenset({"/api/v1/file_server/validate_cache_file"})


def create_app(settings: Settings, engine: sa.Engine, clock: Clock) -> Flask:
    """The WSGI application over one database; it opens no connection before the first request."""
    app = Flask(__name__, static_folder=None)
    app.request_class = UploadRequest
    addresses.install(app)
    app.config["MAX_CONTENT_LENGTH"] = settings.server.max_body_bytes
    app.extensions["bamboo"] = Context(
        settings,
        engine,
        clock,
        ShareOrder(engine, clock),
        Asker(settings, engine, clock),
        Heartbeats(engine, settings.server.collect_seconds),
        Rates(settings.server.requests_per_minute),
        DatabaseFigures(engine, clock),
        SecretBox.build(settings.server.secrets_key),
    )
    for noun in (task, job, pilot, file_server, dataset, queue, event, metaconfig, workflow, system, creds):
        app.register_blueprint(noun.routes, url_prefix=f"/api/v1/{noun.routes.name}")
    for place in (downloads, pages, reference, metrics, auth, old_style, views):
        app.register_blueprint(place.routes)
    errors.register(app)
    app.before_request(_begin)
    identity.install(app, settings.server, clock)
    app.after_request(_end)
    app.after_request(entity_tags.tag)  # the last one is the first to run
    return app


def _begin() -> None:
    g.begun_at = time.monotonic()
    logs.about(request_id=request_id())


def _end(response: Response) -> Response:
    response.headers[REQUEST_ID_HEADER] = request_id()
    seconds, refusal = time.monotonic() - g.begun_at, g.get("refusal", "")
    route = request.url_rule.rule if request.url_rule else "(none)"
    context().figures.request(route, request.method, response.status_code, seconds, refusal=refusal)
    failed = response.status_code >= 400 or refusal
    level = logging.INFO if failed or seconds > SLOW_SECONDS or _is_change(route) else logging.DEBUG
    if log.isEnabledFor(level):
        what = {"method": request.method, "path": request.path, "status": response.status_code}
        more = {"seconds": round(seconds, 3), "refusal": refusal, "request_id": request_id()}
        who = {"user": g.caller.user_name} if "caller" in g else {}
        log.log(level, "request", extra={"event": "request", **what, **who, **more})
    logs.forget()
    return response


def _is_change(route: str) -> bool:
    """Whether somebody changed something, who is in the log then; what pilots tell is in the events of their jobs."""
    if request.method != "POST" or route in ASKING:
        return False
    return access_to(current_app, request).need is not Need.PILOT
