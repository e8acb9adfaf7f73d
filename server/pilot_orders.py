"""Orders for the pilot that holds a job: the words that it understands, and what it can bear (pilot protocol 9).

An order stands in the job's row until another takes its place, and every answer to a report carries it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.errors import Fault, Invalid

if TYPE_CHECKING:
    from ..core.settings import ServerSection
    from .pilot_reports import PilotReport

NOTHING = "NULL"
KILL = "tobekilled"
DEBUG = "debug"
#: Ends debug mode: pilots test for `debug` first, so plain `debugoff` never works, but a word that they refuse does.
DEBUG_OFF = "debugoff now"
#: What stands in for orders that would fail the job of a newer pilot (pilot protocol 18.14).
HARMLESS = "ls -l ."
MAX_CHARACTERS = 40

_WORD = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
#: The end of the id of a pilot of PanDA's: `unknown|PR|3.7.0.36`.
_VERSION = re.compile(r"(?:^|\|)(\d+)\.(\d+)\.\d+\.\d+$")
_DEFAULTS = {"ls": "ls .", "ps": "ps -ef"}
_TAIL = re.compile(r"tail( -(n|c) ?\d{1,6}| -\d{1,6})? [^-\s]\S*")
_ALLOWED = "tail [-n N] FILE, ls [-OPTIONS] [PATH], or ps [-OPTIONS]"


def debug_command(text: str) -> str:
    """The order that makes a pilot look at its running job: one of tail, ls and ps, without anything of a shell.

    Files are those of the job's directory. Raises `Invalid`.
    """
    words = text.split()
    command = " ".join(words)
    faults = []
    if not words or words[0] not in ("tail", "ls", "ps"):
        faults.append(Fault("command", f"{text[:80]!r} is no command for a pilot", _ALLOWED))
    elif not all(_WORD.fullmatch(word) for word in words):
        faults.append(Fault("command", "has letters that mean something to a shell", _ALLOWED))
    elif any(word.startswith("/") or ".." in word.split("/") for word in words):
        faults.append(Fault("command", "leaves the directory of the job", "give a path below it"))
    elif words[0] == "tail" and not _TAIL.fullmatch(command):
        faults.append(Fault("command", "is no tail that ends", "tail FILE, or tail -n 50 FILE"))
    elif any(word.startswith("--") for word in words):
        faults.append(Fault("command", "long options are not taken", _ALLOWED))
    command = _DEFAULTS.get(command, command)  # a pilot looks for a blank to know such an order
    if len(command) > MAX_CHARACTERS:
        faults.append(Fault("command", f"longer than {MAX_CHARACTERS} characters", "make it shorter"))
    if faults:
        raise Invalid("the command", faults)
    return command


def fails_jobs(order: str, pilot_id: str | None) -> bool:
    """Whether this pilot might fail its job over an order: from 3.11 on `debug` and `tail` may (pilot protocol 9)."""
    version = _VERSION.search(pilot_id or "")
    newer = version is not None and (int(version[1]), int(version[2])) >= (3, 11)
    return newer and (order == DEBUG or order.startswith("tail "))


def keeps_lease(pilot_id: str | None) -> bool:
    """Whether a pilot knows of leases; PanDA's report each 30 minutes, and a failure 2 minutes late (18.10, 18.11)."""
    return _VERSION.search(pilot_id or "") is None


def lease_seconds(section: ServerSection, pilot_id: str | None) -> int:
    """How long a report keeps the job for a pilot that reports itself."""
    return section.lease_seconds if keeps_lease(pilot_id) else section.patience_seconds


def for_pilot(order: str | None, pilot_id: str | None) -> str:
    """What the answer to a pilot says; never null, which pilots do not survive (pilot protocol 18.2)."""
    if not order:
        return NOTHING
    return HARMLESS if fails_jobs(order, pilot_id) else order


@dataclass(frozen=True)
class Accepted:
    """The answer to a report that counts."""

    command: str
    lease_seconds: int

    def data(self) -> dict[str, Any]:
        """The answer as v1 has it in `data`."""
        return {"StatusCode": 0, "command": self.command, "leaseSeconds": self.lease_seconds}


def accepted_by(job: Any, report: PilotReport, lease_seconds: int) -> Accepted:
    """The answer to a report on a job that counts."""
    return Accepted(for_pilot(job.command_to_pilot, report.pilot_id or job.pilot_id), lease_seconds)
