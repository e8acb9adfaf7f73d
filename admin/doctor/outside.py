"""What lies outside of this process: the server, the mail server, the documents about the grid, a message broker."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

from ...sql import grid_sources, migrate
from ...sql.engine import reading
from .findings import Check, Finding
from .patient import Patient

SERVER = Check("server")
BROKER = Check("broker")
MAIL = Check("mail")
GRID = Check("grid documents")
#: Where messages of other systems, such as a data management, would come in (manual ch. 12).
_NO_BROKER = "message processors are configured, but this version listens to no message broker"


def check(patient: Patient) -> Iterator[Finding]:
    yield from _server(patient)
    yield from _broker(patient)
    yield from _mail(patient)
    yield from _grid(patient)


def _server(patient: Patient) -> Iterator[Finding]:
    section = patient.settings.server
    of_state = patient.state.url.read_text().strip() if patient.state and patient.state.url.is_file() else ""
    url = of_state or patient.environ.get("BAMBOO_URL", "").rstrip("/") or section.public_url
    url = url or f"http://{section.host}:{section.port}"
    try:
        alive = _get(f"{url}/livez", patient.measures.answer_seconds)
        ready = _get(f"{url}/readyz", patient.measures.answer_seconds) if alive == 200 else alive
    except (urllib.error.URLError, OSError, ValueError) as error:
        said = getattr(error, "reason", error)
        yield SERVER.warning(
            url, f"no server answers: {said}", "start it (`bamboo server`, `bamboo up`), or correct the address"
        )
        return
    if ready == 200:
        yield SERVER.ok(url, "it answers, and can work")
    else:
        what = f"it answers, but says that it cannot work (HTTP {ready})"
        yield SERVER.fault(url, what, "its log says why; most often it cannot reach the database")


def _get(url: str, seconds: float) -> int:
    """The HTTP status of an address."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("this is no http or https address")
    try:
        with urllib.request.urlopen(url, timeout=seconds) as reply:  # noqa: S310 - the address of our own server
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def _broker(patient: Patient) -> Iterator[Finding]:
    section = patient.settings.msgprocessor
    if section.modConfig or section.procConfig:
        yield BROKER.warning("[msgprocessor]", _NO_BROKER, "leave the section out: reports come in over HTTP")
    else:
        yield BROKER.ok("[msgprocessor]", "no message broker is needed")


def _mail(patient: Patient) -> Iterator[Finding]:
    section = patient.settings.notify
    if not section.smtp_host:
        return
    where = f"[notify] {section.smtp_host}:{section.smtp_port}"
    try:
        seconds = min(section.seconds, patient.measures.answer_seconds)
        with socket.create_connection((section.smtp_host, section.smtp_port), seconds) as connection:
            greeting = connection.recv(512)
    except OSError as error:
        what = f"the mail server does not answer: {error.strerror or error}"
        yield MAIL.fault(where, what, "correct smtp_host and smtp_port, or start it; mails are kept meanwhile")
        return
    if greeting.startswith(b"220"):
        yield MAIL.ok(where, "the mail server answers")
    else:
        yield MAIL.fault(
            where, f"no mail server answers there, but {greeting[:40]!r}", "correct smtp_host and smtp_port"
        )


def _grid(patient: Patient) -> Iterator[Finding]:
    engine = patient.engine
    if engine is None or migrate.check(engine):
        return
    with reading(engine) as tx:
        found = grid_sources.all_sources(tx)
    for row in found:
        if row.failing_since is not None:
            what = f"it cannot be taken in since {row.failing_since:%Y-%m-%d %H:%M} UTC: {row.error}"
            yield GRID.warning(str(row.source or row.kind), what, "what was imported before stays; see docs/queues.md")
        elif row.good_at is not None:
            yield GRID.ok(str(row.source or row.kind), f"{row.n_entries} entries were taken in")
