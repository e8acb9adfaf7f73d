"""What a check has found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from ...core.errors import BambooError, Fault


class Verdict(StrEnum):
    OK = "ok"
    WARNING = "warning"  #: it works, but not as it should, or not for long
    FAULT = "fault"  #: something does not work


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: where, what was seen there, and, unless it is right, what to do."""

    check: str
    verdict: Verdict
    where: str
    what: str
    do: str = ""

    @property
    def row(self) -> dict[str, str]:
        return {**asdict(self), "verdict": str(self.verdict)}


@dataclass(frozen=True)
class Check:
    """Makes the findings of one group."""

    name: str

    def ok(self, where: str, what: str) -> Finding:
        return Finding(self.name, Verdict.OK, where, what)

    def warning(self, where: str, what: str, do: str) -> Finding:
        return Finding(self.name, Verdict.WARNING, where, what, do)

    def fault(self, where: str, what: str, do: str) -> Finding:
        return Finding(self.name, Verdict.FAULT, where, what, do)

    def refused(self, where: str, error: BambooError) -> list[Finding]:
        """An error of ours as findings: each of its faults, or the error itself."""
        faults: Sequence[Fault] = getattr(error, "faults", ())
        if faults:
            return [self.fault(one.where, one.what, one.do) for one in faults]
        return [self.fault(where, error.message, error.hint)]


def worst(findings: Sequence[Finding]) -> Verdict:
    """The verdict on everything."""
    seen = {finding.verdict for finding in findings}
    return next((one for one in (Verdict.FAULT, Verdict.WARNING) if one in seen), Verdict.OK)
