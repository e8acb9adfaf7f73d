"""Errors that the system itself gives to jobs: a stable code each, what it means, and who must act.

The numbers are PanDA's where it has one (dispatcher 100, task buffer 100-104 and 113, data management 200).
Pilots bring codes of their own, in the column of their source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .pilot_errors import BY_CODE

#: The diagnostics columns of a job hold this many characters.
DIAG_CHARACTERS = 500


@dataclass(frozen=True)
class JobError:
    """One kind of failure. `who` is one of user, site, operator, nobody."""

    source: str
    code: int
    meaning: str
    who: str

    def columns(self, diag: str) -> dict[str, Any]:
        """The columns of a job that show this error, with what happened in this case."""
        text = diag if len(diag) <= DIAG_CHARACTERS else diag[: DIAG_CHARACTERS - 1] + "…"
        return {f"{self.source}_error_code": self.code, f"{self.source}_error_diag": text}


LOST_HEARTBEAT = JobError("job_dispatcher", 100, "the pilot has not been heard of for too long", "site")
KILLED = JobError("task_buffer", 100, "killed by a command", "nobody")
NOT_TRANSFERRED = JobError("task_buffer", 101, "the outputs did not arrive in time", "operator")
EXPIRED = JobError("task_buffer", 102, "was in one state for too long", "operator")
WAITED = JobError("task_buffer", 104, "the inputs did not come in time", "operator")
NOT_MERGED = JobError("task_buffer", 113, "its outputs could not be merged: the merge jobs failed", "user")
REBROKERED = JobError("task_buffer", 105, "taken back from a queue where too many wait", "nobody")
OUTPUTS_MISSING = JobError("ddm", 200, "an expected output is not in the pilot's report", "user")
OUTPUTS_INCOMPLETE = JobError("ddm", 207, "the report gives an output without size or checksum", "site")
OUTPUTS_FOREIGN = JobError("ddm", 208, "the report names files that are not the job's", "site")
NO_REASON = JobError("sup", 300, "the pilot reported a failure without a reason", "site")
RANGES_LEFT = JobError("sup", 302, "event ranges were left over", "nobody")
RANGES_FAILED = JobError("sup", 303, "event ranges failed", "user")
NOT_BOOKED = JobError("sup", 301, "the end of the job could not be booked", "operator")

#: Every error of this module, in the order of the docs page.
JOB_ERRORS = (
    LOST_HEARTBEAT,
    KILLED,
    NOT_TRANSFERRED,
    EXPIRED,
    WAITED,
    REBROKERED,
    NOT_MERGED,
    OUTPUTS_MISSING,
    OUTPUTS_INCOMPLETE,
    OUTPUTS_FOREIGN,
    NO_REASON,
    NOT_BOOKED,
    RANGES_LEFT,
    RANGES_FAILED,
)

#: What the exit code of a payload means whose pilot was stopped from outside.
ENDED_WITH_PILOT = "the payload was ended with its pilot"
#: And whose pilot has ended it, for a reason that it gives.
ENDED_BY_PILOT = "how the pilot ended the payload, for the reason that it gives"
#: Exit codes of payloads that KILL, or TERM, has ended (128 + 9, 128 + 15).
ENDED_BY_SIGNAL = frozenset({137, 143})
#: Pilots' words for a payload that did not end well, which say no more than its exit code.
_PAYLOAD_FAILED = frozenset(("pilot", code) for code in (1220, 1305, 1315))

_BY_SOURCE_AND_CODE = {(error.source, error.code): error for error in JOB_ERRORS}


#: What exit codes of our transforms mean (docs/transforms.md). A payload may have other reasons for them.
_TRANSFORM_EXITS = {
    143: "the sandbox is a bad archive, or TERM ended the payload (128 + 15): its output says which",
    146: "the sandbox could not be downloaded: the server was away, had another address, or the sandbox is gone",
}


#: The user can do nothing about these, unlike about other exit codes.
_OPERATORS_EXITS = frozenset({146})


def who_must_act(source: str, code: int, exit_code: int | None = None) -> str | None:
    """Who must act on an error of a job: user, site, operator or nobody; None if that cannot be told from the code.

    With the job's `exit_code`, a payload that failed for want of its sandbox is the operator's.
    """
    if source in ("trans", "exe"):
        return "operator" if code in _OPERATORS_EXITS else "user"  # the payload's own exit codes
    if says_payload_failed(source, code) and exit_code in _OPERATORS_EXITS:
        return "operator"
    known = BY_CODE.get(code) if source == "pilot" else _BY_SOURCE_AND_CODE.get((source, code))
    return known.who if known else None


def says_payload_failed(source: str, code: int) -> bool:
    """Whether an error says no more than that the payload failed: its exit code says why, if anything does."""
    return (source, code) in _PAYLOAD_FAILED


def most_telling(errors: Sequence[tuple[str, int, str]]) -> tuple[str, int, str] | None:
    """Of the errors of one job as (source, code, text) the one to tell; None if there are none.

    What a part of the system or the pilot says comes first, before what the payload says itself; after these comes that
    the payload failed, and last of all a bare exit code, for it follows from the others.
    """

    def rank(error: tuple[str, int, str]) -> int:
        source, code, text = error
        if source not in ("exe", "trans"):
            return 2 if says_payload_failed(source, code) else 0
        return 1 if source == "exe" and text else 3 if source == "exe" else 4

    return min(errors, key=rank, default=None)


def meaning_of(source: str, code: int, exit_code: int | None = None) -> str:
    """What an error of a job means, in a few words; empty if the code says nothing to us.

    With the job's `exit_code`, a payload that failed says also what that means, if it is one of our transforms'.
    """
    if source in ("trans", "exe"):
        hint = _TRANSFORM_EXITS.get(code)
        return "the payload's own exit code" + (f"; of a transform: {hint}" if hint else "")
    known = BY_CODE.get(code) if source == "pilot" else _BY_SOURCE_AND_CODE.get((source, code))
    hint = _TRANSFORM_EXITS.get(exit_code or 0) if says_payload_failed(source, code) else None
    return (known.meaning if known else "") + (f"; exit code {exit_code} of a transform: {hint}" if hint else "")
