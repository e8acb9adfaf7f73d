"""Tasks whose jobs have as many events as their queue says: `dynamicNumEvents` (manual ch. 12.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bamboo.jedi.agents import ContentsFeeder, JobGenerator, TaskRefiner
from bamboo.tests.jedi.rounds import Jedi, on_both_databases, reads


@pytest.fixture
def production(make_jedi: Callable[..., Jedi]) -> Jedi:
    return make_jedi(jobbroker={"modConfig": "::bamboo.plugins.production:ProductionJobBroker"})


def submit(jedi: Jedi, n_events: int | None = 50, **more: Any) -> None:
    jedi.store("user.alice.in", *"abcdef", n_events=n_events)
    jedi.submit(reads(value="${IN} ${MAXEVENTS}"), dynamicNumEvents=True, skipScout=True, **more)
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)


@on_both_databases
@pytest.mark.parametrize(
    ("n_events", "more"), [(50, {}), (None, {"nEventsPerFile": 50})], ids=["of the catalogue", "of the user"]
)
def test_a_job_has_as_many_events_as_its_queue_says(
    production: Jedi, n_events: int | None, more: dict[str, int]
) -> None:
    production.queue("SMALL", catchall="nSimEvents=100")
    production.queue("LARGE", catchall="nSimEvents=220")
    submit(production, n_events, minGranularity=150, **more)
    assert [(job.queue, job.n_events) for job in production.jobs().values()] == [("LARGE", 200), ("LARGE", 100)]
    (decision,) = production.decided()
    assert decision.why["rejected"]["dynamic events"] == {
        "count": 1,
        "example": "SMALL",
        "change": "nSimEvents=150 in its catchall: it has 100",
    }


def test_a_queue_that_says_nothing_gets_none(production: Jedi) -> None:
    production.queue("SILENT")
    submit(production)
    assert (production.task().status, production.jobs()) == ("pending", {})
    assert "it takes no dynamic numbers of events" in production.task().error_dialog
