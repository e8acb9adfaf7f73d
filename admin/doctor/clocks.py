"""Clocks: leases go by the database's, tokens by the server's, logs by each machine's own."""

from __future__ import annotations

from collections.abc import Iterator

from ...sql.clock import DatabaseClock
from .findings import Check, Finding
from .patient import Patient

CHECK = Check("clocks")


def check(patient: Patient) -> Iterator[Finding]:
    if patient.engine is None:
        return
    there = DatabaseClock(patient.engine)()
    ahead = (patient.clock() - there).total_seconds()
    measures, where = patient.measures, "this machine's clock"
    if abs(ahead) < measures.slow_clock_seconds:
        yield CHECK.ok(where, "it agrees with the database's")
        return
    what = f"it is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the database's"
    do = "have both machines follow a time server (chronyc tracking, timedatectl)"
    if abs(ahead) < measures.wrong_clock_seconds:
        yield CHECK.warning(where, what, do)
    else:
        yield CHECK.fault(where, f"{what}: new tokens are refused, and logs mislead", do)
