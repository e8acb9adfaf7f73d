"""What pilots send: the requests of a job's life as bytes, and a source of whole lives one after the other."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from .load import Request, http_request

PILOT = {"node": "wn1.example.org", "pilot_id": "bench|SLURM||PR|3.0"}
#: The figures of a heartbeat, as Bamboo's pilot sends them.
FIGURES = {
    "core_count": 1,
    "start_time": "2026-01-01 00:00:00",
    "cpu_consumption_unit": "s+Some Processor @ 2.00GHz",
    "cpu_consumption_time": 1234,
    "max_rss": 1_500_000,
    "max_pss": 1_400_000,
    "max_vmem": 2_900_000,
    "tot_rbytes": 100_000,
    "tot_wbytes": 50_000,
    "stdout": "event 1234 of 10000 done\n" * 20,
}
SUCCESS = re.compile(rb'"success":\s*true')
STEPS = ("claim", "running", "heartbeat", "finished")


def claim_request(token: str, queue: str, n_jobs: int = 1) -> Request:
    """A pilot asks for work."""
    asked = {
        "computing_element": queue,
        "site_name": queue,
        "prod_source_label": "user",
        "memory": 4000,
        "disk_space": 20_000,
    }
    return Request("claim", http_request("POST", ACQUIRE, token, {**PILOT, **asked, "n_jobs": n_jobs}), queue)


def report_request(kind: str, token: str, pandaid: int, **more: Any) -> Request:
    """A pilot reports; `kind` is a step of a life."""
    status = "running" if kind == "heartbeat" else kind
    told = {**PILOT, **FIGURES, "job_id": pandaid, "attempt_nr": 1, "job_status": status, **more}
    return Request(kind, http_request("POST", UPDATE, token, told), pandaid)


def final_report(token: str, pandaid: int, outputs: Sequence[str]) -> Request:
    """A pilot reports a success with its outputs."""
    entry = {"fsize": 21, "adler32": "57060779", "endpoint": "DISK"}
    report = {lfn: {**entry, "guid": f"guid-{lfn}", "surl": f"file://localhost/storage/{lfn}"} for lfn in outputs}
    more = {
        "end_time": "2026-01-01 01:00:00",
        "trans_exit_code": 0,
        "pilot_error_code": 0,
        "pilot_timing": "1|2|3|4|5|6",
        "job_metrics": "coreCount=1 cpuTime=1234.00 workDirSize=1234567 leak=0.10",
        "job_output_report": json.dumps(report),
    }
    return report_request("finished", token, pandaid, **more)


def outputs_of(pandaid: int) -> tuple[str, str]:
    """The names of the outputs of a job of a population."""
    return f"output.{pandaid}", f"log.{pandaid}"


def first_job(body: bytes) -> int:
    """The id of the job that a claim got."""
    return int(json.loads(body)["data"]["jobs"][0]["PandaID"])


def what_is_wrong(status: int, body: bytes) -> str:
    """Nothing when a request of a pilot was answered as wanted."""
    if status == 200 and SUCCESS.search(body):
        return ""
    return f"HTTP {status} {body[:200]!r}"


ACQUIRE = "/api/v1/pilot/acquire_jobs"
UPDATE = "/api/v1/pilot/update_job"
