"""Whether the parts are at work: leases that nobody takes back, and queues without a place for outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from ...sql import health, migrate, service_rounds
from ...sql.clock import DatabaseClock
from ...sql.engine import reading
from .findings import Check, Finding
from .patient import Patient

CHECK = Check("work")


def check(patient: Patient) -> Iterator[Finding]:
    engine = patient.engine
    if engine is None or migrate.check(engine):
        return
    late = timedelta(seconds=patient.measures.late_seconds)
    now = DatabaseClock(engine)()
    with reading(engine) as tx:
        rounds = service_rounds.last_rounds(tx)
        forgotten = health.forgotten(tx, before=now - late)
        n_queues, homeless = health.queues_without_storage(tx)
    for what, who in (("jobs", "the daemon's watcher"), ("tasks", "JEDI")):
        if n := forgotten[what]:
            told = f"the leases of {n} {what} ended more than {late} ago, and nobody has taken them back"
            yield CHECK.fault(what, told, f"see that {who} runs, and what its log says")
        else:
            yield CHECK.ok(what, f"no lease of {what} was forgotten")
    yield from _services(rounds, now, late)
    if not n_queues:
        yield CHECK.warning(
            "queues", "there are none, so that no job can be made", "see `bamboo queue set` and `import`"
        )
    for queue in homeless:
        what = "its storage does not exist, so that it gets no job with outputs"
        yield CHECK.warning(f"queue {queue}", what, "enter it with `bamboo storage set`, or name another")


def _services(rounds: Sequence[Any], now: datetime, late: timedelta) -> Iterator[Finding]:
    """Agents and chores that are silent everywhere, or fail again and again where they were last heard of."""
    if not rounds:
        yield CHECK.warning("agents", "none has run yet", "start `bamboo jedi` and `bamboo daemon`, or `bamboo up`")
    for service, row in service_rounds.newest(rounds).items():
        silent = service_rounds.lag(row, now)
        if silent > late:
            told = f"nothing was heard of it since {row.told_at:%Y-%m-%d %H:%M:%S} (on {row.host})"
            yield CHECK.fault(service, told, "start it where it should run, or look into its log there")
        elif row.failures >= service_rounds.FAILS_OFTEN:
            told = f"its last {row.failures} rounds failed on {row.host}: {row.error}"
            yield CHECK.fault(service, told, "its log has the whole story")
        else:
            yield CHECK.ok(service, f"last round on {row.host} at {row.began_at:%H:%M:%S}")
