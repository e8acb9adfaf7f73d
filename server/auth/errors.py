"""What is said to callers that are not let in; unlike other refusals, these have their HTTP status everywhere."""

from __future__ import annotations

from ...core.errors import BambooError, NotAllowed


class NotProven(BambooError):
    """The caller has not shown who they are: no token, or one that fails a check."""

    code = "BAM-AUTH-001"
    status = 401


class NotAdmitted(NotAllowed):
    """The token is sound, but gives no role that this request needs."""

    code = "BAM-AUTH-003"
