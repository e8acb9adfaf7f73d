"""The methods of pilots up to 3.11 (pilot protocol 5 to 10), on the same functions as /api/v1/pilot/."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

from flask import Response, request

from ...sql import job_queries
from ..api.event import acquire, update
from ..api.job import DebugMode, debug
from ..api.metaconfig import resource_types
from ..api.pilot import NO_JOBS, JobIds, WorkerTold, take, tell_worker
from ..auth import access
from ..auth.access import FOR_QUEUE, HOLDER, NOBODY, OF_JOB
from ..context import context
from ..envelope import as_json
from ..event_reports import Reported, Wanted
from ..job_handout import WorkWanted, hand_out
from ..pilot_reports import PilotReport
from .methods import Fields, Method, renamed
from .replies import PILOT, TEXT, VALUE, Shape, failed

#: Pilots before 3.10 run transformations from this address only, and reach us there through `http_proxy`
#: (pilot protocol 12.1); with a token they call themselves curl.
OLD_PILOTS_URL = "http://pandaserver-doma.cern.ch:25080"
_OLD_PILOT = re.compile(r"pilot/3\.\d\.|curl/")

_WORK = {
    "siteName": "site_name",
    "computingElement": "computing_element",
    "prodSourceLabel": "prod_source_label",
    "diskSpace": "disk_space",
    "mem": "memory",
    "remaining_time": "remaining_time",
    "node": "node",
    "nJobs": "n_jobs",
    "resourceType": "resource_type",
    "workingGroup": "working_group",
    "schedulerID": "scheduler_id",
    "harvester_id": "harvester_id",
    "worker_id": "worker_id",
}
_REPORT = {
    "jobId": "job_id",
    "state": "job_status",
    "attemptNr": "attempt_nr",
    "jobSubStatus": "job_sub_status",
    "node": "node",
    "pilotID": "pilot_id",
    "batchID": "batch_id",
    "startTime": "start_time",
    "endTime": "end_time",
    "cpuConsumptionTime": "cpu_consumption_time",
    "cpuConsumptionUnit": "cpu_consumption_unit",
    "maxRSS": "max_rss",
    "maxPSS": "max_pss",
    "maxVMEM": "max_vmem",
    "totRBYTES": "tot_rbytes",
    "totWBYTES": "tot_wbytes",
    "nEvents": "n_events",
    "transExitCode": "trans_exit_code",
    "pilotErrorCode": "pilot_error_code",
    "pilotErrorDiag": "pilot_error_diag",
    "exeErrorCode": "exe_error_code",
    "exeErrorDiag": "exe_error_diag",
    "supErrorCode": "sup_error_code",
    "supErrorDiag": "sup_error_diag",
    "ddmErrorCode": "ddm_error_code",
    "ddmErrorDiag": "ddm_error_diag",
    "jobMetrics": "job_metrics",
    "pilotTiming": "pilot_timing",
    "pilotLog": "pilot_log",
    "stdout": "stdout",
    "xml": "job_output_report",
    "metaData": "meta_data",
}
_WORKER = {"workerID": "worker_id", "harvesterID": "harvester_id", "status": "status", "node_id": "node_id"}


def _get_job(fields: Fields) -> dict[str, Any]:
    wanted = renamed(WorkWanted, fields, _WORK)
    is_old = _OLD_PILOT.match(request.headers.get("User-Agent", "")) is not None
    jobs = hand_out(wanted, transform_url=OLD_PILOTS_URL if is_old else "")
    if not jobs:
        return {"StatusCode": 20, "errorDialog": NO_JOBS}
    return jobs[0] if wanted.n_jobs == 1 else {"jobs": jobs}


def _update_job(fields: Fields) -> dict[str, Any]:
    return take(renamed(PilotReport, fields, _REPORT)).data()


def _get_status(fields: Fields) -> dict[str, Any]:
    ids = renamed(JobIds, fields, {"ids": "job_ids"}).job_ids
    with context().reading() as tx:
        found = job_queries.states_of(tx, ids)
    rows = [found.get(job_id, ("notfound", 0)) for job_id in ids]
    attempts = ",".join(str(attempt) for _, attempt in rows)
    return {"StatusCode": 0, "status": ",".join(status for status, _ in rows), "attemptNr": attempts}


def _as_asked(value: dict[str, Any]) -> Response:
    """JSON for those who ask for it, else an URL-encoded text (pilot protocol 3)."""
    if "application/json" in request.headers.get("Accept", ""):
        return as_json(value)
    return Response(urlencode(value), mimetype="text/plain")


def _update_worker(fields: Fields) -> dict[str, Any]:
    tell_worker(renamed(WorkerTold, fields, _WORKER))
    return {}


def _set_debug_mode(fields: Fields) -> str:
    wanted = renamed(DebugMode, fields, {"pandaID": "job_id", "modeOn": "mode"})
    return debug(wanted.job_id, wanted.mode)


def _get_ranges(fields: Fields) -> dict[str, Any]:
    return acquire(renamed(Wanted, fields, {"pandaID": "job_id", "nRanges": "n_ranges", "attemptNr": "attempt_nr"}))


def _told_ranges(fields: Fields) -> dict[str, Any]:
    return update(renamed(Reported, fields, {"eventRanges": "event_ranges"}))


def _none(code: int, **more: str) -> Method:
    """A method that has nothing to give, and says so in its own shape (pilot protocol 10)."""
    return Method(lambda fields: {"StatusCode": code, "errorDialog": "not available here", **more}, PILOT, access.PILOT)


METHODS = {
    "getJob": Method(_get_job, PILOT, FOR_QUEUE),
    "updateJob": Method(_update_job, PILOT, HOLDER),
    "getStatus": Method(_get_status, Shape(_as_asked, failed), access.PILOT),
    "updateWorkerPilotStatus": Method(_update_worker, PILOT, access.PILOT),
    "setDebugMode": Method(_set_debug_mode, TEXT, OF_JOB),
    "getResourceTypes": Method(lambda fields: resource_types(), VALUE, NOBODY),
    "getEventRanges": Method(_get_ranges, PILOT, HOLDER),
    "updateEventRanges": Method(_told_ranges, PILOT, HOLDER),
    "getProxy": _none(90, userProxy=""),
    "get_access_token": _none(80, userProxy=""),
    "getKeyPair": _none(80, publicKey="", privateKey=""),
}
