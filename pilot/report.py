"""What the pilot tells the server about a job, and what it does with the answer."""

from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable

from .capture import tail
from .errors import Code, StaleAttempt
from .job import Job, Phase
from .metrics import cpu_model
from .server_calls import Patience
from .slot import Slot

log = logging.getLogger(__name__)

STDOUT_CHARACTERS = 2048
PILOT_LOG_CHARACTERS = 1024
DIAG_CHARACTERS = 500
METADATA_BYTES = 1 << 20
BATCH_IDS = ("PBS_JOBID", "SLURM_JOB_ID", "LSB_JOBID", "JOB_ID", "CREAM_JOBID", "GRID_GLOBAL_JOBID")
TIMED = ("getjob", "stagein", "payload", "stageout", "initial setup", "setup")


def wire_time(epoch_seconds: float | None) -> str | None:
    """Write a moment as the v1 API wants it, in UTC."""
    return None if epoch_seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(epoch_seconds))


class Reporter:
    """Sends updates, renews the lease with the accepted ones, and obeys the commands that come back."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot

    def heartbeat(self, job: Job, patience: Patience) -> None:
        """Tell how far the job is, unless its final report is on its way. Raises ServerAway, Refused, StaleAttempt."""
        with job.reporting:
            if not job.reported:
                state = "starting" if job.phase in (Phase.CLAIMED, Phase.STAGE_IN) else "running"
                self._send(job, self.fields(job, state), patience)

    def final(self, job: Job, patience: Patience) -> str:
        """Report `finished` or `failed`; gives the state. Raises ServerAway, Refused, StaleAttempt."""
        # A heartbeat that hangs must not cost a stopping pilot its last word.
        waited = job.reporting.acquire(timeout=max(0.0, min(60.0, self._slot.seconds_to_stop(reserve=2.0))))
        try:
            job.reported = True
            state = "finished" if job.failure is None else "failed"
            self._send(job, {**self.fields(job, state), **self._final_fields(job)}, patience)
            return state
        finally:
            if waited:
                job.reporting.release()

    def fields(self, job: Job, state: str) -> dict[str, Any]:
        """Give the fields of every update; unset ones are left out."""
        spec = job.spec
        fields = {
            **self._slot.identity(),
            "job_id": spec.pandaid,
            "job_status": state,
            "attempt_nr": spec.attempt_nr,
            "core_count": spec.core_count,
            "batch_id": next((os.environ[name][:80] for name in BATCH_IDS if os.environ.get(name)), None),
            "start_time": wire_time(job.started_at),
            "cpu_consumption_unit": f"s+{cpu_model()}",
            "stdout": tail(job.stdout_path, STDOUT_CHARACTERS),
            "record": job.recorder.unsent() or None,
            "cpu_consumption_time": round(job.cpu_seconds),
            "max_rss": job.peaks.rss_kb,
            "max_pss": job.peaks.pss_kb,
            "max_vmem": job.peaks.vmem_kb,
            "tot_rchar": job.peaks.io_total("rchar") // 1024,
            "tot_wchar": job.peaks.io_total("wchar") // 1024,
            "tot_rbytes": job.peaks.io_total("read_bytes") // 1024,
            "tot_wbytes": job.peaks.io_total("write_bytes") // 1024,
        }
        return {key: value for key, value in fields.items() if value not in (None, "", 0) or key == "attempt_nr"}

    def _final_fields(self, job: Job) -> dict[str, Any]:
        job_report = _job_report(job.directory)
        timing = {"initial setup": self._slot.setup_seconds, **job.timing}
        fields: dict[str, Any] = {
            "end_time": wire_time(job.ended_at or time.time()),
            "pilot_error_code": 0,
            "pilot_error_diag": "",
            "trans_exit_code": job.payload_exit or 0,
            "exe_error_code": job_report.get("exitCode", 0) if job.payload_exit else 0,
            "exe_error_diag": str(job_report.get("exitMsg", ""))[:DIAG_CHARACTERS] if job.payload_exit else "",
            "pilot_timing": "|".join(str(round(timing.get(name, 0))) for name in TIMED),
            "job_output_report": json.dumps(_output_report(job)),
            "job_metrics": _job_metrics(job),
        }
        metadata = _metadata(job.directory)
        if metadata:
            fields["meta_data"] = metadata
        if job.failure is not None:
            fields["pilot_error_code"] = int(job.failure.code)
            fields["pilot_error_diag"] = job.failure.diag[:DIAG_CHARACTERS]
            fields["pilot_log"] = tail(self._slot.pilot_log, PILOT_LOG_CHARACTERS, since=job.log_from)
        return fields

    def _send(self, job: Job, fields: dict[str, Any], patience: Patience) -> None:
        try:
            reply = self._slot.server.update(fields, patience, job.spec.token)
        except StaleAttempt as error:
            log.warning("job is not ours any more", extra={"event": "stale", "reason": str(error), **job.label})
            job.lose(str(error))
            raise
        if reply.accepted:
            job.lease.renew(reply.sent_at, reply.lease_seconds)
            job.recorder.accepted()
            job.is_watched = is_watched(reply.command)
            self._slot.keeper.set_deadline(job.lease.kill_at)
            log.debug("update accepted", extra={"event": "update", "state": fields["job_status"], **job.label})
        if "softkill" in reply.command and job.spec.event_service and "tobekilled" not in reply.command:
            log.info("no more event ranges, on the server's command", extra={"event": "drain", **job.label})
            job.draining.set()
        elif "tobekilled" in reply.command or "softkill" in reply.command:
            log.warning("server ends the job", extra={"event": "command", "command": reply.command, **job.label})
            job.interrupt(Code.KILLED_BY_SERVER, "killed on the server's command", self._slot.payload_grace)


def is_watched(command: str) -> bool:
    """Whether the server says that somebody looks at the job's output: PanDA's debug mode."""
    return "debug" in command and "debugoff" not in command


def _job_metrics(job: Job) -> str:
    """Give figures as `k=v k=v`: the largest work directory in bytes, and how PSS grew in kB/s, among others."""
    words = [f"coreCount={job.spec.core_count}", f"cpuTime={job.cpu_seconds:.2f}"]
    if job.peaks.work_dir_bytes:
        words.append(f"workDirSize={job.peaks.work_dir_bytes}")
    leak = job.peaks.memory.slope()
    if leak is not None:
        words.append(f"leak={leak:.2f}")
    return " ".join(words)


def _output_report(job: Job) -> dict[str, dict[str, Any]]:
    """Give what was stored, by file name; a failed job only shows its log (pilot protocol, output report)."""
    log_name = job.spec.log.lfn if job.spec.log else ""
    report = {}
    for lfn, stored in job.output_report.items():
        if job.failure is None or lfn == log_name:
            line = asdict(stored)
            line["fsize"] = line.pop("size_bytes")
            report[lfn] = line
    return report


def _job_report(directory: Path) -> dict[str, Any]:
    try:
        report = json.loads(_limited(directory / "jobReport.json"))
    except ValueError:
        return {}
    return report if isinstance(report, dict) else {}


def _metadata(directory: Path) -> str:
    """Give jobReport.json as it is, else the user's own metadata wrapped, else nothing."""
    whole = _limited(directory / "jobReport.json")
    if whole:
        return whole
    try:
        return json.dumps({"user_job_metadata": json.loads(_limited(directory / "userJobMetadata.json"))})
    except ValueError:
        return ""


def _limited(path: Path) -> str:
    """Read a small text file; empty when it is missing, too large or unreadable."""
    try:
        if not path.is_file():
            return ""
        if path.stat().st_size <= METADATA_BYTES:
            return path.read_text(errors="replace")
    except OSError:
        return ""
    log.warning("metadata too large, not sent", extra={"event": "metadata", "path": path})
    return ""


def lease_patience(job: Job, tries: int) -> Patience:
    """Insist while the lease holds; one call never eats more than a quarter of it."""
    return Patience(tries, lambda: job.lease.stop_at, min(30.0, max(1.0, job.lease.seconds / 4)))


def final_patience(job: Job, stop_until: Callable[[], float]) -> Patience:
    """Insist on the final report until the lease is long gone, or the pilot must be."""
    return Patience(
        1_000_000, lambda: min(job.lease.report_until, stop_until()), min(30.0, max(1.0, job.lease.seconds / 4))
    )
