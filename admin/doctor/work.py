"""Whether the parts are at work: leases that nobody takes back, and queues without a place for outputs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from ...sql import health, migrate
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
    with reading(engine) as tx:
        forgotten = health.forgotten(tx, before=DatabaseClock(engine)() - late)
        n_queues, homeless = health.queues_without_storage(tx)
    for what, who in (("jobs", "the daemon's watcher"), ("tasks", "JEDI")):
        if n := forgotten[what]:
            told = f"the leases of {n} {what} ended more than {late} ago, and nobody has taken them back"
            yield CHECK.fault(what, told, f"see that {who} runs, and what its log says")
        else:
            yield CHECK.ok(what, f"no lease of {what} was forgotten")
    if not n_queues:
        yield CHECK.warning(
            "queues", "there are none, so that no job can be made", "see `bamboo queue set` and `import`"
        )
    for queue in homeless:
        what = "its storage does not exist, so that it gets no job with outputs"
        yield CHECK.warning(f"queue {queue}", what, "enter it with `bamboo storage set`, or name another")
