"""Giving jobs to pilots: what they may ask for, and the definitions that they get (pilot protocol 5, 6 and 11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

import sqlalchemy as sa
from flask import current_app
from pydantic import BeforeValidator, Field

from ..core.errors import Fault, Invalid
from ..sql import claims, job_queries, queues
from ..sql import jobs as jobs_sql
from .auth.caller import Attempt
from .bodies import WireBody
from .context import context, request_id
from .identity import caller, door_of
from .job_wire import Terms, job_dictionary
from .pilot_reports import number

#: Which jobs a pilot with a label takes besides those of that label; unified pilots take all.
LABELS = {"": (), "unified": (), "user": ("user", "panda")}
MAX_JOBS_PER_REQUEST = 100


def _amount(value: Any) -> int:
    """A whole number of something, which pilots give with fractions and as text; 0 when they give none."""
    found = number(value)
    return 0 if found is None else max(0, min(2**53, int(found)))


Amount = Annotated[int, BeforeValidator(_amount)]


class WorkWanted(WireBody):
    """A pilot's request for work."""

    computing_element: str = Field("", max_length=128, description="the queue, where `site_name` is missing")
    site_name: str = Field("", max_length=128, description="the queue")
    prod_source_label: str | None = Field("", max_length=64)
    disk_space: Amount = 0
    memory: Amount = 0
    remaining_time: Amount = 0
    node: str | None = Field(None, max_length=128)
    n_jobs: Annotated[int, Field(ge=1, le=MAX_JOBS_PER_REQUEST)] = 1
    resource_type: str | None = Field(None, max_length=32)
    working_group: str | None = Field(None, max_length=64)
    pilot_id: str | None = Field(None, max_length=200)
    scheduler_id: str | None = Field(None, max_length=128)
    harvester_id: str | None = Field(None, max_length=128)
    worker_id: str | None = Field(None, max_length=64)

    @property
    def queue(self) -> str:
        """The queue: pilots name it twice, Harvester as `site_name` alone and a host as the other."""
        return self.site_name or self.computing_element

    def claim(self, key: str | None, shares: tuple[str, ...] = ()) -> claims.Claim:
        """What to look for in the table, in the order of these shares."""
        label = self.prod_source_label or ""
        return claims.Claim(
            queue=self.queue,
            labels=LABELS.get(label, (label,)),
            memory_mb=self.memory,
            disk_mb=self.disk_space,
            remaining_seconds=self.remaining_time,
            resource_type=self.resource_type or None,
            working_group=self.working_group or None,
            limit=self.n_jobs,
            shares=shares,
            key=key,
            pilot_id=self.pilot_id,
            node=self.node,
            scheduler_id=self.scheduler_id or self.harvester_id,
            worker_id=self.worker_id,
        )


def hand_out(
    wanted: WorkWanted,
    *,
    key: str | None = None,
    is_repeated: bool = False,
    with_tokens: bool = False,
    transform_url: str = "",
) -> list[dict[str, Any]]:
    """The definitions of the jobs that a pilot gets now; none when there is no work.

    The repetition of a request that is named by a key gets the jobs that it had taken. `with_tokens` gives each job a
    token for its attempt; pilots that do not ask for it would write it into their logs. `transform_url` is where the
    pilot gets our transformations, if it may not get them from here. Raises `Invalid`, `NotAllowed` if the
    pilot's token is for other queues, and `NotFound` for the queue.
    """
    if not wanted.queue:
        raise Invalid("a request for work", [Fault("computing_element", "missing", "name the queue")])
    caller().must_serve(wanted.queue, "the work that is asked for")
    now, server = context().now(), context().settings.server
    until = now + timedelta(seconds=server.sent_seconds)
    is_known = context().sightings.note(context().engine, wanted.queue, now)
    order = context().share_order
    claim = wanted.claim(key, order(wanted.queue))
    with context().single() as tx:
        taken = claims.claimed_before(tx, wanted.queue, key) if key and is_repeated else []
        for job in taken:  # the pilot counts its lease from this request on
            jobs_sql.renew(tx, jobs_sql.ref(job), lease_until=until, now=now)
        claimed = [] if taken else claims.claim(tx, claim, lease_until=until, now=now, request_id=request_id())
        if not taken and not claimed and not is_known:
            queues.get_queue(tx, wanted.queue)  # a pilot at a queue that does not exist must hear of it
        definitions = _definitions(tx, taken or claimed, transform_url) if taken or claimed else []
    if with_tokens:
        _give_tokens(definitions, now)
    if not definitions:
        context().unserved.note(context().engine, claim, now)
        return []
    order.note(claimed, now)
    return definitions


def definition(tx: sa.Connection, job: Any) -> dict[str, Any]:
    """The definition of a job whatever its state (a row of `all_jobs`), for its owner: without lease and secrets."""
    parameters = job_queries.parameters_of(tx, [job.pandaid]).get(job.pandaid, "")
    steps = job_queries.multi_steps_of(tx, {job.jeditaskid}) if job.container_name else {}
    files = claims.files_to_move(tx, [job.pandaid])[job.pandaid]
    terms = _terms(context().public_url())
    wire = job_dictionary(job, parameters, files, terms, multi_step=steps.get(job.jeditaskid))
    return {**wire, "computingSite": job.queue, "usesSecrets": bool(job.uses_secrets)}


def _give_tokens(definitions: Sequence[dict[str, Any]], now: datetime) -> None:
    """Put into each definition the token for its attempt, if the server has a key to seal it with."""
    tokens, until = door_of(current_app).attempts, now + timedelta(hours=context().settings.timeouts.running)
    if tokens is not None:
        for job in definitions:
            job["attemptToken"] = tokens.issue(Attempt(job["PandaID"], job["attemptNr"]), until)


def _definitions(tx: sa.Connection, taken: Sequence[Any], transform_url: str) -> list[dict[str, Any]]:
    terms = _terms(transform_url or context().public_url())
    ids = [job.pandaid for job in taken]
    files = claims.files_to_move(tx, ids)
    contained = {job.jeditaskid for job in taken if job.container_name}
    steps: Mapping[int, Any] = job_queries.multi_steps_of(tx, contained) if contained else {}
    box = context().secret_box
    secrets = box.for_jobs(tx, taken) if box else {}
    return [
        job_dictionary(
            job,
            job.job_parameters or "",
            files[job.pandaid],
            terms,
            multi_step=steps.get(job.jeditaskid),
            secrets=secrets.get(job.pandaid),
            may_idle=bool(job.split_rule.get("noLoopingCheck")),
        )
        for job in taken
    ]


def _terms(transform_url: str) -> Terms:
    server = context().settings.server
    return Terms(server.sent_seconds, server.heartbeat_seconds, transform_url)
