"""What pilots send, made fit for the tables: senders differ by release, and a final report must not fail on a figure.

Which job and attempt it is about must be right; everything else is taken as far as it makes sense and cut to the
lengths of the wire (pilot protocol 7.2).
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from ..core.errors import BambooError
from .bodies import WireBody, parse_json
from .flight_records import FlightRecord, flight_record

_INT32 = 2**31 - 1
_INT64 = 2**63 - 1


def _text(value: Any, characters: int) -> str | None:
    if value is None:
        return None
    return (value if isinstance(value, str) else json.dumps(value))[:characters]


def number(value: Any) -> float | None:
    """The number that a figure is, as text or as itself; None when it is none."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def _whole(value: Any, largest: int) -> int | None:
    found = number(value)
    return None if found is None else max(-largest, min(largest, int(found)))


def _moment(value: Any) -> datetime | None:
    """A moment as pilots write it: seconds since 1970, or text in UTC (pilot protocol 18.6); None if it is neither."""
    seconds = number(value)
    try:
        if seconds is not None:
            return datetime.fromtimestamp(seconds, UTC)
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _cut(characters: int) -> BeforeValidator:
    return BeforeValidator(lambda value: _text(value, characters))


Id = Annotated[int, Field(ge=1, le=_INT64)]
Whole = Annotated[int | None, BeforeValidator(lambda value: _whole(value, _INT32))]
BigWhole = Annotated[int | None, BeforeValidator(lambda value: _whole(value, _INT64))]
Real = Annotated[float | None, BeforeValidator(number)]
Diag = Annotated[str | None, _cut(500)]
Moment = Annotated[datetime | None, BeforeValidator(_moment)]
Long = Annotated[str | None, BeforeValidator(lambda value: _text(value, _INT32))]

#: Columns of `jobs` that every report may set, by the wire's name.
JOB_COLUMNS = {
    "node": "node",
    "pilot_id": "pilot_id",
    "batch_id": "batch_id",
    "cpu_consumption_time": "cpu_consumption_seconds",
    "cpu_consumption_unit": "cpu_consumption_unit",
    "max_rss": "max_rss_kb",
    "max_pss": "max_pss_kb",
    "max_vmem": "max_vmem_kb",
    "tot_rbytes": "tot_rbytes_kb",
    "tot_wbytes": "tot_wbytes_kb",
    "n_events": "n_events",
}
ERROR_COLUMNS = (
    "pilot_error_code",
    "pilot_error_diag",
    "exe_error_code",
    "exe_error_diag",
    "sup_error_code",
    "sup_error_diag",
    "ddm_error_code",
    "ddm_error_diag",
    "trans_exit_code",
)
#: Columns of `job_reports`, by the wire's name.
REPORT_COLUMNS = {
    "job_metrics": "job_metrics",
    "pilot_timing": "pilot_timing",
    "pilot_log": "pilot_log",
    "stdout": "stdout_tail",
}


class PilotReport(WireBody):
    """One report of a pilot on its job (pilot protocol 11). Without `attempt_nr` it is about the first attempt."""

    job_id: Id
    attempt_nr: Annotated[int, Field(ge=0, le=_INT32)] = 1
    job_status: Literal["starting", "running", "finished", "failed", "holding", "transferring"]
    job_sub_status: Annotated[str | None, _cut(40)] = None
    node: Annotated[str | None, _cut(128)] = None
    pilot_id: Annotated[str | None, _cut(200)] = None
    batch_id: Annotated[str | None, _cut(80)] = None
    start_time: Moment = None
    end_time: Moment = None
    cpu_consumption_time: Real = None
    cpu_consumption_unit: Annotated[str | None, _cut(128)] = None
    max_rss: BigWhole = None
    max_pss: BigWhole = None
    max_vmem: BigWhole = None
    tot_rbytes: BigWhole = None
    tot_wbytes: BigWhole = None
    n_events: BigWhole = None
    trans_exit_code: Whole = None
    pilot_error_code: Whole = None
    pilot_error_diag: Diag = None
    exe_error_code: Whole = None
    exe_error_diag: Diag = None
    sup_error_code: Whole = None
    sup_error_diag: Diag = None
    ddm_error_code: Whole = None
    ddm_error_diag: Diag = None
    job_metrics: Annotated[str | None, _cut(500)] = None
    pilot_timing: Annotated[str | None, _cut(100)] = None
    pilot_log: Annotated[str | None, _cut(1024)] = None
    stdout: Annotated[str | None, _cut(2048)] = None
    job_output_report: Long = None
    meta_data: Long = None
    record: Annotated[FlightRecord | None, BeforeValidator(flight_record)] = None

    def job_columns(self) -> dict[str, Any]:
        """Figures for the job's row, those that were sent."""
        return {**_given(self, JOB_COLUMNS), **_from_metrics(self.job_metrics)}

    def error_columns(self) -> dict[str, Any]:
        """The errors for the job's row, those that were sent."""
        return _given(self, {name: name for name in ERROR_COLUMNS})

    def report_columns(self) -> dict[str, Any]:
        """What goes into the row of reports, as far as it was sent and says anything."""
        return {name: value for name, value in _given(self, REPORT_COLUMNS).items() if value}


def output_report(text: str | None) -> tuple[dict[str, Any], str]:
    """The files in a report, {lfn: {guid, fsize, adler32, surl, endpoint}}, and what is wrong with it if anything is.

    A report that cannot be read is an empty one: the adder then finds every output missing, and says so.
    """
    if text is None or text.strip() in ("", "NULL"):
        return {}, ""
    try:
        report = parse_json(text)
    except BambooError as error:
        return {}, f"the output report cannot be read: {error.message}"
    if not isinstance(report, dict):
        return {}, "the output report is no JSON object"
    odd = [lfn for lfn, entry in report.items() if not isinstance(entry, dict)]
    if odd:
        return {}, f"the output report has no object for {odd[0][:80]}"
    return report, ""


def _from_metrics(text: str | None) -> dict[str, Any]:
    """The columns that pilots tell in `job_metrics` alone: words like `workDirSize=1234 leak=0.5` (protocol 7.2)."""
    told = dict(word.split("=", 1) for word in (text or "").split() if "=" in word)
    values = {
        "work_dir_bytes": _whole(told.get("workDirSize"), _INT64),
        "memory_leak_kb_per_second": number(told.get("leak")),
    }
    return {column: value for column, value in values.items() if value is not None}


def _given(report: PilotReport, names: dict[str, str]) -> dict[str, Any]:
    return {column: value for name, column in names.items() if (value := getattr(report, name)) is not None}
