"""Flight records on the wire: what pilots send of them with their reports, and what users see of the whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..core.flight_records import (
    KEPT_BYTES,
    MOST_PROCESSES,
    MOST_SAMPLES,
    MOST_SENT,
    PROCESS,
    SAMPLE,
    Sample,
    thinned,
)
from ..sql.job_records import STREAMS, Piece, Told

_KB = Annotated[int, Field(ge=0, le=2**53)]
_Number = Annotated[float, Field(ge=0, le=2**53, allow_inf_nan=False)]
_Process = tuple[_KB, _KB, Annotated[str, Field(max_length=64)], _KB, Annotated[str, Field(max_length=2)]]


class _Piece(BaseModel):
    at: _KB
    text: str = Field(max_length=4 * KEPT_BYTES)


class FlightRecord(BaseModel):
    """What is new in the record of a job (`core/flight_records.py`)."""

    model_config = ConfigDict(extra="ignore")

    samples: list[Annotated[list[_Number], Field(min_length=len(SAMPLE), max_length=len(SAMPLE))]] = Field(
        [], max_length=4 * MOST_SENT
    )
    tree: list[_Process] = Field([], max_length=4 * MOST_PROCESSES)
    stdout: _Piece | None = None
    stderr: _Piece | None = None
    pilot_limit_kb: _KB | None = None
    kernel_limit_kb: _KB | None = None
    oom_kills: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None

    def told(self) -> Told:
        """The same as the tables take it."""
        pieces = {name: Piece(piece.at, piece.text) for name in STREAMS if (piece := getattr(self, name)) is not None}
        names = ("pilot_limit_kb", "kernel_limit_kb", "oom_kills")
        values = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.tree:
            values["tree"] = [list(process) for process in self.tree[:MOST_PROCESSES]]
        return Told(thinned(sorted(self.samples), MOST_SAMPLES), pieces, values)


def flight_record(value: object) -> FlightRecord | None:
    """The record in a report; None for one that cannot be read, over which no report must fail."""
    try:
        return FlightRecord.model_validate(value)
    except ValidationError:
        return None


def record_row(job: Any, record: Any, *, is_private: bool) -> dict[str, Any]:
    """The record of a job for its page; output is for its owner, and null for others and where none was sent."""
    known: Mapping[str, Any] = {} if record is None else record._mapping
    return {
        "PandaID": job.pandaid,
        "jobStatus": job.status,
        "updated": known.get("updated_at"),
        "samples": _named(SAMPLE, known.get("samples")),
        "processes": _named(PROCESS, known.get("tree")),
        **{name: known.get(name) if is_private else None for name in STREAMS},
        **{f"{name}Bytes": known.get(f"{name}_end") for name in STREAMS},
        "memory": memory_row(job, record),
    }


def memory_row(job: Any, record: Any) -> dict[str, Any]:
    """What a job used of memory at most, what it asked for, what would end it, and whether the kernel did. In kB."""
    known: Mapping[str, Any] = {} if record is None else record._mapping
    samples: list[Sample] = known.get("samples") or []
    peak_kb = max(job.max_rss_kb or 0, *(int(sample[1]) for sample in samples), 0)
    kernel_kb, kills = known.get("kernel_limit_kb") or None, known.get("oom_kills") or 0
    return {
        "peakKB": peak_kb or None,
        "askedKB": (job.min_ram_count_mb or 0) * 1024 or None,
        "pilotLimitKB": known.get("pilot_limit_kb") or None,
        "kernelLimitKB": kernel_kb,
        "oomKills": kills,
        "says": _says(kills, peak_kb, kernel_kb),
    }


def _says(kills: int, peak_kb: int, limit_kb: int | None) -> str:
    """What the kernel did, in words; empty when it did nothing."""
    if not kills:
        return ""
    processes = "1 process" if kills == 1 else f"{kills} processes"
    limit = f"the limit is {limit_kb // 1024} MB" if limit_kb else "the limit is the memory of the machine"
    return f"the kernel has ended {processes} for lack of memory: the peak was {peak_kb // 1024} MB, {limit}"


def _named(names: tuple[str, ...], rows: list[list[Any]] | None) -> list[dict[str, Any]]:
    return [dict(zip(names, row, strict=False)) for row in rows or ()]
