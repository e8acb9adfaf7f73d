"""What adder and watcher share: who gets the inputs of a failed job back, and which tasks that completes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..core.states import JobState
from ..plugins.contracts import FailedJob, JobError, RetryDecision
from ..plugins.manager import Plugins
from ..sql import completion
from ..sql.accounting import Ending, MadeFile
from ..sql.jobs import ref
from ..sql.retries import Needs, Retry, Scopes, rules_text
from ..sql.tables import ERROR_SOURCES, jobs
from .context import Context
from .errors import NOT_THE_ITEMS_FAULT
from .judging import errors_of

log = logging.getLogger(__name__)

#: What has to be known of a job to judge it and to book its end; its row has twice as many columns.
COLUMNS = tuple(
    jobs.c[name]
    for name in (
        *("pandaid", "jeditaskid", "status", "substatus", "attempt_nr", "vo", "prod_source_label", "user_name", "kind"),
        *("is_event_service", "to_be_merged", "command_to_pilot", "reported_status", "trans_exit_code"),
        *("core_count", "min_ram_count_mb", "max_walltime_seconds", "max_pss_kb", "max_rss_kb"),
        *("started_at", "ended_at"),
        *(f"{source}_error_{part}" for source in ERROR_SOURCES for part in ("code", "diag")),
    )
)


def failed(
    scopes: Scopes,
    plugins: Plugins,
    job: Any,
    job_files: Sequence[Any],
    *,
    why: str,
    errors: Mapping[str, Any],
    made: Sequence[MadeFile] = (),
) -> Ending:
    """The end of a failed job: the retry plugin says whether its inputs are tried again, within their attempts."""
    failure = describe(scopes, job, job_files, errors)
    decision: RetryDecision = plugins.first("retry", "retry_input", job.vo, job.prod_source_label, failure=failure)
    if not decision.retry:
        why = f"{why}; not tried again: {decision.why}"
    elif decision.rules:
        why = f"{why}; {decision.why}"
    retry = Retry(
        jeditaskid=job.jeditaskid,
        why=decision.why,
        rules=decision.rules,
        passive=decision.passive,
        max_attempt=decision.max_attempt,
        needs=Needs(decision.ram_count_mb, decision.max_walltime_seconds, decision.max_files_per_job),
        free_attempts=decision.free_attempts,
    )
    if decision.rules:
        errors = {**errors, "retry_rule": rules_text(decision.rules)}
    return failed_unasked(job, job_files, why=why, errors=errors, made=made, may_retry=decision.retry, retry=retry)


def describe(scopes: Scopes, job: Any, job_files: Sequence[Any], errors: Mapping[str, Any] | None = None) -> FailedJob:
    """What the retry plugin is told about a failed job, with the errors about to be entered.

    Only files of the main input count as its input files: the others follow from them.
    """
    new = errors or {}
    scope = scopes(job.jeditaskid)
    ended_at = new.get("ended_at", job.ended_at)
    used_seconds = (ended_at - job.started_at).total_seconds() if ended_at and job.started_at else 0
    return FailedJob(
        pandaid=job.pandaid,
        jeditaskid=job.jeditaskid,
        vo=job.vo,
        prod_source_label=job.prod_source_label,
        attempt_nr=job.attempt_nr,
        errors=tuple(JobError(source, code, diag) for source, code, diag in errors_of(job, new)),
        trans_exit_code=job.trans_exit_code,
        core_count=job.core_count,
        min_ram_count_mb=job.min_ram_count_mb,
        used_ram_mb=(job.max_pss_kb or job.max_rss_kb or 0) // 1024,
        max_walltime_seconds=job.max_walltime_seconds,
        used_walltime_seconds=max(0, int(used_seconds)),
        n_input_files=sum(1 for row in job_files if row.is_master and row.type == "input"),
        architecture=scope.architecture,
        release=scope.release,
        work_queues=scope.work_queues,
    )


def failed_unasked(
    job: Any,
    job_files: Sequence[Any],
    *,
    why: str,
    errors: Mapping[str, Any],
    made: Sequence[MadeFile] = (),
    may_retry: bool = True,
    retry: Retry | None = None,
) -> Ending:
    """The end of a failed job when no plugin is to be asked: every input is charged one attempt that is not free."""
    limit = retry.max_attempt if retry is not None else None

    def may_try_again(row: Any) -> bool:
        charge = 0 if retry is not None and retry.is_free(row) else 1
        return bool(row.failed_attempts + charge < min(row.max_attempt, limit or row.max_attempt))

    give_back = {row.fileid: may_retry and may_try_again(row) for row in job_files if row.fileid is not None}
    return Ending(ref(job), JobState.FAILED, why, made, give_back, charged=True, errors=errors, retry=retry)


def complete_tasks(context: Context, jeditaskids: Iterable[int], *, actor: str) -> int:
    """Move on the tasks whose work is complete, in transactions of their own; returns how many.

    One task that cannot be moved does not hold up the others: then each is tried alone.
    """
    ids = sorted(set(jeditaskids))
    if not ids:
        return 0
    try:
        return _complete(context, ids, actor)
    except NOT_THE_ITEMS_FAULT:
        raise
    except Exception:  # whatever it is: the other tasks must not wait for it
        if len(ids) > 1:
            return sum(complete_tasks(context, [jeditaskid], actor=actor) for jeditaskid in ids)
        log.exception("task could not be completed", extra={"event": "task_not_completed", "jeditaskid": ids[0]})
        return 0


def _complete(context: Context, ids: Sequence[int], actor: str) -> int:
    with context.begin() as tx:
        return len(completion.complete_tasks(tx, ids, actor=actor, now=context.clock()))
