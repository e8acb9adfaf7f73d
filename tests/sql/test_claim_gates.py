"""Why a claim takes a job or does not: the same conditions, counted; on any jobs the two agree."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from world import World

from bamboo.core.clock import ManualClock
from bamboo.core.states import JobState
from bamboo.sql import claim_gates, claims
from bamboo.sql import tables as t


def gates(engine: sa.Engine, *of: sa.ColumnElement[bool], **asked: Any) -> list[tuple[str, int, int, str]]:
    with engine.connect() as tx:
        found = claim_gates.claim_gates(tx, claims.Claim(queue="Q", **asked), *of)
    return [(one.gate, one.n_in, one.n_out, one.change) for one in found]


def test_each_limit_of_a_pilot_is_a_gate(engine: sa.Engine, clock: ManualClock) -> None:
    world = World(engine, clock)
    world.start(6)
    world.generate(2, min_ram_count_mb=3000)
    world.generate(1, min_ram_count_mb=2500, prod_source_label="test")
    world.generate(1, min_ram_count_mb=100, max_walltime_seconds=7200)
    (_, _, held, _) = world.jobs()
    with engine.begin() as tx:
        tx.execute(sa.update(t.jobs).where(t.jobs.c.pandaid == held).values(status=JobState.ASSIGNED))
    assert gates(engine, memory_mb=2000, remaining_seconds=3600) == [
        (
            "activated",
            4,
            3,
            "it is assigned, inputs travel to the storage of the queue; next: activator, when they have arrived",
        ),
        ("memory", 3, 1, "a pilot with 3000 MB of memory instead of 2000"),
        ("remaining time", 1, 0, "a pilot with 7200 seconds left instead of 3600"),
    ]
    assert gates(engine, labels=("managed",))[1] == (
        "label",
        3,
        0,
        "a pilot for jobs with the label user, not managed",
    )


def test_the_claim_and_its_explanation_agree(engine: sa.Engine, clock: ManualClock) -> None:
    """Of any jobs and any pilot, the gates let through just those that the claim would take."""
    world = World(engine, clock)
    world.start(200)
    rng = random.Random(14)
    for _ in range(20):
        world.generate(
            1,
            min_ram_count_mb=rng.choice([0, 1000, 2000, 4000]),
            max_disk_count_mb=rng.choice([0, 500, 5000]),
            max_walltime_seconds=rng.choice([0, 600, 7200]),
            prod_source_label=rng.choice(["user", "managed", "test"]),
            resource_type=rng.choice(["SCORE", "MCORE"]),
            gshare=rng.choice(["a", "b"]),
        )
    seen = set()
    for _ in range(40):
        asked = claims.Claim(
            queue="Q",
            labels=rng.choice([(), ("user", "panda"), ("managed",)]),
            memory_mb=rng.choice([0, 500, 1000, 3000]),
            disk_mb=rng.choice([0, 400, 500]),
            remaining_seconds=rng.choice([0, 500, 9000]),
            resource_type=rng.choice([None, "SCORE"]),
            working_group=rng.choice([None, None, None, "phys"]),
            shares=rng.choice([(), ("b", "a")]),
            limit=100,
        )
        with engine.connect() as tx:
            told = claim_gates.claim_gates(tx, asked)
            ids = list(tx.scalars(sa.select(t.jobs.c.pandaid)))
            each = {one for one in ids if claim_gates.claim_gates(tx, asked, claim_gates.one_job(one))[-1].n_out}
            taken = {
                row.pandaid for row in claims.claim(tx, asked, lease_until=clock() + timedelta(hours=1), now=clock())
            }
            tx.rollback()
        assert told[-1].n_out == len(taken)
        assert each == taken
        seen.add(bool(taken))
    assert seen == {True, False}
