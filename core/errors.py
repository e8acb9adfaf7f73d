"""Errors that say what happened, carry their data and a stable code, and know no HTTP and no database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with an input: where it is, what is wrong, and what to do about it."""

    where: str
    what: str
    do: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" ({self.do})" if self.do else "")


class BambooError(Exception):
    """The base of all our errors. `code` is stable; `status` is the HTTP status that fits."""

    code = "BAM-001"
    status = 500

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class Invalid(BambooError):
    """Input that is refused, with all its faults at once."""

    code = "BAM-INPUT-001"
    status = 422

    def __init__(self, what: str, faults: Sequence[Fault]) -> None:
        super().__init__(f"{what}: " + "; ".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


class BadSettings(Invalid):
    """A configuration that cannot be used."""

    code = "BAM-CONF-001"


class NotFound(BambooError):
    """There is no such object."""

    code = "BAM-FIND-001"
    status = 404


class NotAllowed(BambooError):
    """The caller may not do this to that object."""

    code = "BAM-AUTH-002"
    status = 403


class NeedsRole(NotAllowed):
    """What is asked for is kept for a role, or for others; with everything that is wrong at once."""

    code = "BAM-AUTH-004"

    def __init__(self, what: str, faults: Sequence[Fault], *, hint: str = "") -> None:
        super().__init__(f"{what}: " + "; ".join(str(fault) for fault in faults), hint=hint)
        self.faults = tuple(faults)


class BadState(BambooError):
    """The object is in a state in which this cannot be done."""

    code = "BAM-STATE-001"
    status = 409


class Duplicate(BambooError):
    """There is such an object already, and it is still in use."""

    code = "BAM-STATE-002"
    status = 409


class IllegalTransition(BambooError):
    """The state table has no such step: a bug in the caller, never a race."""

    code = "BAM-STATE-003"


class Stale(BambooError):
    """Somebody else moved the object on: the caller lost a race and must drop what it holds."""

    code = "BAM-STATE-004"
    status = 409


class LeaseLost(Stale):
    """The lease has passed to another holder; what was done under it must not be written."""

    code = "BAM-LEASE-001"


class TooLarge(BambooError):
    """More bytes, items or levels than are accepted."""

    code = "BAM-INPUT-002"
    status = 413


class Unavailable(BambooError):
    """A part that is needed is away for now; try again later."""

    code = "BAM-AWAY-001"
    status = 503


class NoSpace(BambooError):
    """A disk has no room for what was to be stored. Nothing of it was kept."""

    code = "BAM-SPACE-001"
    status = 507


class TooMany(BambooError):
    """One caller asks for more, in a short time, than is fair to the others. `seconds` from now there is room again."""

    code = "BAM-RATE-001"
    status = 429

    def __init__(self, message: str, *, seconds: float, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.seconds = seconds


class PluginFailed(BambooError):
    """A plugin raised or gave something that the hook does not allow."""

    code = "BAM-PLUGIN-001"


class Retriable(BambooError):
    """A plugin's way to say: not now, ask again later. The task waits as `pending` with this reason."""

    code = "BAM-PLUGIN-002"
    status = 503
