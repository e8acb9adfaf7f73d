"""/api/v1/file_server/: sandboxes come in here (client protocol 6.1)."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

import sqlalchemy as sa
from flask import Blueprint, Response, request
from pydantic import Field

from ...core.errors import Duplicate, Fault, Invalid, TooLarge
from ...core.settings import ServerSection
from ...sql import job_queries, sandboxes
from ...sql import tasks as tasks_sql
from ..auth.access import OF_TASK, OWN, open_to
from ..bodies import WireBody
from ..context import context
from ..declared import reads, reads_file
from ..envelope import said, succeeded
from ..errors import NotYet
from ..identity import caller
from ..uploads import measure, put_in_place

routes = Blueprint("file_server", __name__)

#: The part of a multipart body that is the file.
UPLOAD_FIELD = "file"
#: What comes around a file in a multipart body.
FRAMING_BYTES = 4096
#: Lost files that are counted.
MAX_LOST = 10_000
#: Names of files that may be written again end like this.
OVERWRITTEN = "__ow__"
#: Files that jobs have printed; they may be larger, and are not used again (client protocol 6.1).
OUT = ".out"
MAX_OUT_BYTES = 100 << 20
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")


class Known(WireBody):
    file_size: Annotated[int, Field(ge=0, le=2**63 - 1)]
    checksum: Annotated[int, Field(ge=0, le=2**32 - 1, description="the CRC-32 in the gzip trailer")]


class Recovery(WireBody):
    task_id: Annotated[int, Field(ge=1, le=2**63 - 1)]
    dry_run: bool = Field(False, description="only say what is lost")


@routes.post("/validate_cache_file")
@open_to(OWN)
@reads(Known)
def validate_cache_file(body: Known) -> Response:
    """Whether the caller has uploaded these bytes already: `FOUND:<host>:<name>`, the host without its port."""
    return succeeded(None, find_file(body))


def find_file(asked: Known) -> str:
    """Where the caller's bytes are, or `NOTFOUND`."""
    now, user_name = context().now(), caller().user_name
    with context().reading() as tx:
        found = sandboxes.find_like(tx, user_name, asked.file_size, str(asked.checksum))
    if found is None or not (context().settings.server.cache_dir / found.name).is_file():
        return "NOTFOUND"
    with context().writing() as tx:
        sandboxes.note_use(tx, found.name, now=now)
    return f"FOUND:{urlsplit(context().public_url()).hostname}:{found.name}"


@routes.post("/upload_cache_file")
@open_to(OWN)
@reads_file(UPLOAD_FIELD)
def upload_cache_file() -> Response:
    """Take in a sandbox under its name; only the same bytes may be sent again under it."""
    return said(f"{take_file()} is stored")


def take_file() -> str:
    """Take in the file of a multipart body and return its name. Raises `Invalid`, `TooLarge` and `Duplicate`."""
    server = context().settings.server
    # The name is only known when the body has been read: the larger limit comes first.
    request.max_content_length = server.max_sandbox_bytes + FRAMING_BYTES
    part = request.files.get(UPLOAD_FIELD)
    if part is None:
        do = f"send the file as multipart field `{UPLOAD_FIELD}`"
        raise Invalid("the upload", [Fault(UPLOAD_FIELD, "missing", do)])
    name = _safe_name(part.filename or "")
    size, checksum = measure(part.stream)
    _check_size(name, size, server)
    # What jobs print is not looked for again: a checksum that no client asks for.
    _store(name, part.stream, size, f"-{checksum}" if name.endswith(OUT) else str(checksum))
    return name


@routes.post("/upload_file_recovery_request")
@open_to(OF_TASK)
@reads(Recovery)
def upload_file_recovery_request(body: Recovery) -> Response:
    """Say which output files of a task are lost. Making them again is refused: submit their inputs as a new task."""
    return said(recover(body))


def recover(body: Recovery) -> str:
    """What is lost of a task's outputs, as a sentence. Raises `NotFound`, `NotAllowed` and `NotYet`."""
    user, task_id = caller(), body.task_id
    with context().reading() as tx:
        task = tasks_sql.get_task(tx, task_id)
        user.must_own(f"task {task_id}", task.user_name, task.vo)
        lost = job_queries.lost_outputs(tx, task_id, limit=MAX_LOST)
    if not lost:
        return f"no output file of task {task_id} is lost"
    told = f"{len(lost)} output files of task {task_id} are not registered any more: {', '.join(lost[:10])}"
    if body.dry_run:
        return told
    raise NotYet(f"{told}; they cannot be made again", hint="submit a new task over the inputs of those jobs")


def _safe_name(given: str) -> str:
    """The last component of a name, which some clients send with the path on the user's machine."""
    name = re.split(r"[/\\]", given)[-1]
    if not _NAME.fullmatch(name):
        raise Invalid(
            "the upload", [Fault("file", f"{name[:80]!r} is no file name", "letters, digits, '.', '_' and '-'")]
        )
    return name


def _check_size(name: str, size: int, server: ServerSection) -> None:
    if name.startswith("sources."):
        largest = server.max_sandbox_bytes
    elif name.endswith(OUT):
        largest = max(MAX_OUT_BYTES, server.max_small_sandbox_bytes)
    else:
        largest = server.max_small_sandbox_bytes
    if size > largest:
        raise TooLarge(f"{name} has {size} bytes", hint=f"at most {largest} are accepted; give data as input files")


def _store(name: str, stream: object, size: int, checksum: str) -> None:
    """Enter the sandbox and put its file in place, in one transaction: a file without a row is cleaned away."""
    now, user_name, target = context().now(), caller().user_name, context().settings.server.cache_dir / name
    with context().writing() as tx:
        known = sandboxes.find(tx, name)
        if known is None:
            try:
                sandboxes.insert(tx, name, user_name=user_name, size_bytes=size, checksum=checksum, now=now)
            except sa.exc.IntegrityError:
                raise Duplicate(f"{name} is being stored by another request", hint="choose another name") from None
        elif known.user_name != user_name or not (_is_same(known, size, checksum) or name.endswith(OVERWRITTEN)):
            raise Duplicate(f"cannot overwrite file {name}", hint="choose another name")
        else:
            sandboxes.replace(tx, name, size_bytes=size, checksum=checksum, now=now)
        put_in_place(stream, target)


def _is_same(known: sa.Row[tuple[object, ...]], size: int, checksum: str) -> bool:
    return (known.size_bytes, known.checksum) == (size, checksum)
