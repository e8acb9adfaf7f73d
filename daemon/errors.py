"""Errors of the daemon's own."""

from __future__ import annotations

import sqlalchemy as sa

from ..core.errors import BambooError, LeaseLost


class Stopping(BambooError):
    """The daemon stops: the run ends before its next transaction."""

    code = "BAM-DAEMON-001"
    status = 503


#: Nothing that the jobs at hand could be blamed for: the run ends, and they are tried again in the next.
NOT_THE_ITEMS_FAULT = (Stopping, LeaseLost, sa.exc.OperationalError, sa.exc.InterfaceError)
