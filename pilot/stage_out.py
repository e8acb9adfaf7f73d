"""Stage-out: brings a job's outputs and its log to their storages."""

from __future__ import annotations

import ast
import errno
import logging
import shlex
import uuid
from pathlib import Path

from ..core.backoff import Backoff
from ..core.checksums import adler32
from .copytools import Guard, Stamp, choose
from .errors import Code, PilotError
from .job import Job, Transferred
from .job_spec import OutputFile
from .slot import Slot

log = logging.getLogger(__name__)

TRIES = 4


def stage_out(job: Job, slot: Slot, guard: Guard) -> None:
    """Transfer all outputs; raises PilotError naming every missing one before anything is transferred."""
    if job.spec.event_service:
        return  # its outputs went range by range
    for file in made(job):
        transfer(file, job.directory / file.lfn, job, slot, guard, ("pw", "write_lan"))


def made(job: Job) -> list[OutputFile]:
    """The outputs that there are; raises PilotError naming every missing one that must be there."""
    found = [file for file in job.spec.outputs if (job.directory / file.lfn).is_file()]
    required = [file.lfn for file in job.spec.outputs if file not in found and not file.may_be_missing]
    if required:
        raise PilotError(Code.OUTPUT_MISSING, f"the payload did not make {told_missing(job, required)}")
    return found


def told_missing(job: Job, lfns: list[str]) -> str:
    """Files that are missing, by the names that the user's command would have given them, as far as the job says so.

    A run transform is told by `-o "{'o.txt': 'user.alice.1._000001.o.txt'}"` what becomes of what the command makes.
    """
    try:
        words = shlex.split(job.spec.parameters)
        outputs = ast.literal_eval(words[words.index("-o") + 1])
        local = {str(lfn): str(name) for name, lfn in outputs.items()}
    except (ValueError, IndexError, SyntaxError, AttributeError, MemoryError, RecursionError):
        local = {}
    return ", ".join(local.get(lfn, lfn) for lfn in lfns)


def transfer(file: OutputFile, source: Path, job: Job, slot: Slot, guard: Guard, activities: tuple[str, ...]) -> None:
    """Bring one file to its storage and note it in the output report; raises PilotError or Cancelled."""
    storage = file.endpoint or slot.queue.storage_for(*activities, "write_lan", "default")
    if not storage:
        raise PilotError(Code.NO_STORAGE, f"{file.lfn} has no storage to go to: set astorages of the queue")
    url = slot.storages.url(storage, "write_lan", file.scope, file.lfn)
    stamp = Stamp(source.stat().st_size, adler32(source, guard.check))
    tool = choose(slot.queue.copytools_for(activities[0]) or slot.queue.copytools_for("write_lan"), url)
    backoff = Backoff(1.0, 10.0)
    while True:
        guard.check()
        try:
            tool.store(source, url, stamp, guard)
            break
        except OSError as error:
            if backoff.tries + 1 >= TRIES:
                raise _explain(file, url, error) from error
            log.info(
                "output did not go, trying again", extra={"event": "stage_out", "problem": str(error), **job.label}
            )
        slot.pause(backoff.next_seconds())
    guid = file.guid or str(uuid.uuid4()).upper()
    job.output_report[file.lfn] = Transferred(guid, stamp.size_bytes, stamp.adler32, url, storage)
    log.info("output is stored", extra={"event": "stage_out", "lfn": file.lfn, "bytes": stamp.size_bytes, **job.label})


def _explain(file: OutputFile, url: str, error: OSError) -> PilotError:
    reason: str | None = None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason = "no space on the storage"
    return PilotError(Code.STAGE_OUT_FAILED, f"{file.lfn} cannot be written to {url}: {reason or error}")
