"""Every kind of caller, an application that knows them apart, and objects that one of them owns."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from cryptography.fernet import Fernet
from flask import Flask
from tokens import Issuer

from bamboo.core.clock import ManualClock
from bamboo.core.settings import Settings
from bamboo.core.states import JobState
from bamboo.server.app import create_app
from bamboo.sql import claims, jobs, tasks
from bamboo.sql import sandboxes as sandboxes_sql
from bamboo.tests.server.conftest import World
from bamboo.tests.server.operations import SECRET, Objects, task_parameters

OWNER = "Alice Example"
PILOT_HERE, PILOT_ELSEWHERE = "pilot of the queue", "pilot of another queue"
PRODUCTION_ELSEWHERE = "production elsewhere"
#: The callers, by what their tokens say; they differ from the owner's in that alone.
CALLERS: dict[str, dict[str, Any] | None] = {
    "nobody": None,
    "other user": {"name": "Carol", "preferred_username": "carol", "groups": ["dotted"]},
    "same group": {"name": "Bob", "preferred_username": "bob"},
    "owner": {},
    "production": {"name": "Paula", "preferred_username": "paula", "groups": ["/cms", "/cms/prod"]},
    PRODUCTION_ELSEWHERE: {"name": "Emil", "preferred_username": "emil", "groups": ["dotted", "dotted/prod"]},
    PILOT_HERE: {"name": "p1", "preferred_username": "p1", "groups": ["/cms/pilots"], "bamboo_queues": ["LOCAL"]},
    PILOT_ELSEWHERE: {"name": "p2", "preferred_username": "p2", "groups": ["/cms/pilots"], "bamboo_queues": ["OTHER"]},
    "admin": {"name": "Ada", "preferred_username": "ada", "groups": ["/cms/admins"]},
}


def guarded_app(issuer: Issuer, engine: sa.Engine, clock: ManualClock, tmp_path: Path) -> Flask:
    """An application that wants tokens, and keeps secrets."""
    key = tmp_path / "secrets_key"
    key.write_bytes(Fernet.generate_key() + b"\n")
    section = issuer.section(collect_seconds=0, secrets_key=f"file:{key}")
    return create_app(Settings(server=section), engine, clock)


def headers_of(issuer: Issuer, caller: str) -> dict[str, str]:
    """What a caller sends to show who it is."""
    claims_of = CALLERS[caller]
    if claims_of is None:
        return {}
    vo = "vo.dotted.org" if "dotted" in claims_of.get("groups", ()) else "cms"
    return {"Authorization": f"Bearer {issuer.token(**claims_of)}", "Origin": vo}


def owned_objects(world: World, guarded: Flask, issuer: Issuer) -> Objects:
    """The owner's task that runs with three jobs, of which pilots have two, and the owner's other things."""
    world.queue("OTHER")
    client, headers, now = guarded.test_client(), headers_of(issuer, "owner"), world.clock()
    given = {"task_parameters": task_parameters()}
    task = client.post("/api/v1/task/submit", json=given, headers=headers).json["data"]
    of_owner = {"task": task, "vo": "cms", "user_name": OWNER}
    (job,) = world.jobs(1, **of_owner)
    (event_job,) = world.jobs(1, **of_owner, is_event_service=True)
    until = now + timedelta(hours=1)
    with world.engine.begin() as tx:
        for held in claims.claim(tx, claims.Claim(queue="LOCAL", limit=2), lease_until=until, now=now):
            row = jobs.get_job(tx, held.pandaid)
            jobs.move_job(tx, jobs.ref(row), JobState.RUNNING, actor="t", why="t", now=now, lease_until=until)
        tasks.update_task(tx, task, status="running")
    world.jobs(1, **of_owner)
    made = Objects(task, job, event_job)
    file = {"lfn": "f", "url": "file:///data/f", "size_bytes": 1, "adler32": "1"}
    client.post("/api/v1/dataset/add_files", json={"dataset": made.dataset, "files": [file]}, headers=headers)
    client.post("/api/v1/creds/set_user_secrets", json={"key": "K", "value": SECRET}, headers=headers)
    with world.engine.begin() as tx:
        sandboxes_sql.insert(tx, made.sandbox, user_name=OWNER, size_bytes=6, checksum="1", now=now)
    path = guarded.extensions["bamboo"].settings.server.cache_dir / made.sandbox
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"sandbo")
    return made
