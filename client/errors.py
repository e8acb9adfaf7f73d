"""What can go wrong between a user and the server, beyond the errors every room shares."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.errors import BambooError, Fault


class ServerUnreachable(BambooError):
    """The server gave no usable answer, though it was asked more than once where that is safe."""

    code = "BAM-CLIENT-001"
    status = 503


class BadReply(BambooError):
    """Something answered, but not in the words of a Bamboo server: most often a wrong address."""

    code = "BAM-CLIENT-002"
    status = 502


class Refused(BambooError):
    """The server said no. Carries its code, its status, every fault it found and the id of the request."""

    def __init__(
        self,
        message: str,
        *,
        code: str,
        status: int,
        faults: Sequence[Fault] = (),
        request_id: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.status = status
        self.faults = tuple(faults)
        self.request_id = request_id


class WaitTimedOut(BambooError):
    """The task is not over, and the time that the caller gave has passed. The task itself goes on."""

    code = "BAM-CLIENT-003"
    status = 408


class DamagedFile(BambooError):
    """A file does not have the size or the checksum that the server has on record."""

    code = "BAM-CLIENT-004"


class NoSuchFile(BambooError):
    """A file that the server lists, or a log that a job should have left, is not there."""

    code = "BAM-CLIENT-005"
    status = 404


class UnsafeArchive(BambooError):
    """A log archive that cannot be read, or has members that nobody should unpack."""

    code = "BAM-CLIENT-006"


class SandboxTooLarge(BambooError):
    """The files of the work directory do not fit into the upload that the server accepts."""

    code = "BAM-CLIENT-007"
    status = 413


class LoginFailed(BambooError):
    """A login did not come about, or one that is kept is over: the provider, or the user there, said no."""

    code = "BAM-CLIENT-008"
    status = 401
