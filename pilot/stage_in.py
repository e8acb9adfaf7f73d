"""Stage-in: brings a job's inputs into its directory and makes sure they are the right ones."""

from __future__ import annotations

import errno
import logging
from pathlib import Path
from urllib.parse import urlsplit

from ..core.backoff import Backoff
from ..core.checksums import adler32, md5
from .copytools import Guard, choose
from .errors import Code, PilotError, from_os_error
from .job import Job
from .job_spec import InputFile
from .metrics import free_disk_mb
from .slot import Slot

log = logging.getLogger(__name__)

TRIES = 3


class _WrongContent(PilotError):
    """The file came, but it is another one; `seen` is what it looks like."""

    def __init__(self, code: Code, diag: str, seen: str) -> None:
        super().__init__(code, diag)
        self.seen = seen


def stage_in(job: Job, slot: Slot, guard: Guard) -> None:
    """Make all inputs available; raises PilotError with what is wrong with which file, or Cancelled."""
    addresses = [(file, file.url or _built_url(file, slot)) for file in job.spec.inputs]
    _check_room(job, [file for file, url in addresses if urlsplit(url).scheme not in ("file", "")])
    for file, url in addresses:
        _with_retries(file, url, job, slot, guard)
        log.info("input is there", extra={"event": "stage_in", "lfn": file.lfn, **job.label})


def _check_room(job: Job, downloads: list[InputFile]) -> None:
    """Refuse at once what cannot fit on this machine's disk; links take no room."""
    needed_mb = sum(file.size_bytes or 0 for file in downloads) >> 20
    free_mb = free_disk_mb(job.directory)
    if needed_mb > free_mb:
        raise PilotError(
            Code.NO_LOCAL_SPACE, f"the inputs need {needed_mb} MB, {free_mb} MB are free on this machine's disk"
        )


def _built_url(file: InputFile, slot: Slot) -> str:
    storage = file.endpoint or slot.queue.storage_for("read_lan", "pr")
    if not storage:
        raise PilotError(Code.NO_STORAGE, f"input {file.lfn} has no address and no storage to read it from")
    return slot.storages.url(storage, "read_lan", file.scope, file.lfn)


def _with_retries(file: InputFile, url: str, job: Job, slot: Slot, guard: Guard) -> None:
    """Try a bounded number of times; content that is wrong in the same way twice is not tried again."""
    tool = choose(slot.queue.copytools_for("read_lan") or slot.queue.copytools_for("pr"), url)
    target = job.directory / file.lfn
    backoff = Backoff(1.0, 10.0)
    seen = ""
    while True:
        guard.check()
        try:
            tool.fetch(url, target, guard)
            _verify(file, target, url, guard)
        except _WrongContent as error:
            target.unlink(missing_ok=True)
            if error.seen == seen or backoff.tries + 1 >= TRIES:
                raise
            seen = error.seen
        except OSError as error:
            target.unlink(missing_ok=True)
            if backoff.tries + 1 >= TRIES or error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _explain(file, url, error) from error
        else:
            return
        delay = backoff.next_seconds()
        log.info("input did not come, trying again", extra={"event": "stage_in", "lfn": file.lfn, **job.label})
        job.interrupted.wait(delay)


def _explain(file: InputFile, url: str, error: OSError) -> PilotError:
    if isinstance(error, FileNotFoundError):
        return PilotError(Code.INPUT_MISSING, f"input {file.lfn} is missing at {url}")
    return from_os_error(f"input {file.lfn} cannot be read from {url}", error, Code.STAGE_IN_FAILED)


def _verify(file: InputFile, path: Path, url: str, guard: Guard) -> None:
    """Compare size and checksum with what the server said; what it did not say is not compared."""
    size = path.stat().st_size
    if file.size_bytes is not None and size != file.size_bytes:
        raise _WrongContent(
            Code.STAGE_IN_FAILED, f"input {file.lfn} at {url} has {size} bytes instead of {file.size_bytes}", str(size)
        )
    kind, _, wanted = file.checksum.rpartition(":")
    if not wanted:
        return
    if kind in ("ad", "adler32", "") and len(wanted) <= 8:
        found, code = adler32(path, guard.check), Code.INPUT_ADLER32_MISMATCH
        wanted = wanted.lower().zfill(8)
    elif kind in ("md", "md5", "") and len(wanted) == 32:
        found, code = md5(path, guard.check), Code.INPUT_MD5_MISMATCH
        wanted = wanted.lower()
    else:
        raise PilotError(Code.UNKNOWN_CHECKSUM, f"input {file.lfn} has a checksum of unknown kind: {file.checksum}")
    if found != wanted:
        raise _WrongContent(code, f"input {file.lfn} at {url} is damaged: checksum {found} instead of {wanted}", found)
