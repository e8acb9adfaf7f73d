"""`bamboo why` and the brokerage agree always: ten thousand random snapshots, and gates that are walked one by one.

What is compared are the chain's own step, the answer of the plugin that the Job Generator asks, and a walk through the
gates without `pass_through`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from grid_scenarios import snapshot

from bamboo.core.clock import ManualClock
from bamboo.core.gates import Refusal
from bamboo.core.settings import Settings
from bamboo.plugins.generic.job_broker import GATES as GENERIC_GATES
from bamboo.plugins.generic.job_broker import GenericJobBroker, with_known_storages
from bamboo.plugins.manager import Plugins
from bamboo.plugins.production import ProductionJobBroker
from bamboo.plugins.production.job_broker import GATES
from bamboo.plugins.production.situation import Situation, candidate_of
from bamboo.plugins.questions import Question
from bamboo.plugins.what_if import changed, edit_of
from bamboo.server.why.queue import asked
from bamboo.server.why.steps import broker_step

N_PRODUCTION, N_GENERIC = 7_000, 3_000
NAMES = ("A", "B", "C", "D")
Walk = Callable[[Question], dict[str, tuple[str, Refusal]]]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Brokers read nothing but their snapshot."""
    return sqlite_url


def some(rng: random.Random, **choices: list[Any]) -> dict[str, Any]:
    """A few of the keys or, often, hardly any, each with one of its values."""
    part = rng.choice([0.02, 0.2])
    return {key: rng.choice(values) for key, values in choices.items() if rng.random() < part}


def grid(rng: random.Random) -> dict[str, Any]:
    """A random task on a random grid, in the words of the scenarios."""
    queues = {name: a_queue(rng) for name in NAMES[: rng.randint(1, 4)]}
    task = some(
        rng,
        priority=[100, 850],
        coreCount=[1, 8],
        memory_mb=[1000, 4000],
        workDiskCount_mb=[10, 9000],
        maxWalltime_seconds=[600, 90_000],
        site=["A", "B,C"],
        vo=["atlas", "cms"],
        nucleus=["A", "B"],
        ioIntensity=[900],
        diskIO=[900],
        excludedSite=[["C"]],
        t1Weight=[-1],
        ipConnectivity=["full#ipv6"],
        eventService=[True],
        allowInputLAN=["only"],
        architecture=["x86_64-el9", "sw#arm64"],
    )
    given = {"files": 10, "gb": 30, "at": {name: {"files": 10, "gb": 30} for name in rng.sample(NAMES, 2)}}
    return {
        "work": rng.choice(["run", "run", "scout", "merge"]),
        "task": task,
        "queues": queues,
        "storages": {name: some(rng, free_gb=[1, 900], state=["INACTIVE"], blacklisted=[True]) for name in NAMES},
        "links": {
            f"{name} -> {nucleus}": some(rng, blocked=["down"], queued_files=[5, 900], closeness=[1, 9])
            for name in NAMES
            for nucleus in ("A", "B")
            if name != nucleus
        },
        **({"inputs": given} if rng.random() < 0.5 else {}),
    }


def a_queue(rng: random.Random) -> dict[str, Any]:
    waiting = {state: rng.choice([0, 1, 30]) for state in ("activated", "running", "starting", "transferring")}
    return {
        "storage": rng.choice([*NAMES, None]) if rng.random() < 0.2 else rng.choice(NAMES),
        "jobs": waiting if rng.random() < 0.3 else {"running": 50},
        **some(
            rng,
            status=["test", "offline", "brokeroff"],
            state=["INACTIVE"],
            vo=["cms"],
            corecount=[1, 8],
            maxrss=[500, 2000, 16_000],
            minrss=[3000],
            maxwdir=[100, 20_000],
            maxtime=[300, 100_000],
            maxDiskIO=[100],
            releases=["x"],
            wnconnectivity=["none", "full#ipv4"],
            jobseed=["es"],
            fairsharepolicy=["type=any:0%"],
            last_pilot_hours_ago=[1, 5],
            last_start_hours_ago=[1, 5],
        ),
    }


def walk_production(question: Question) -> dict[str, tuple[str, Refusal]]:
    """The first gate that refuses each queue, each alone."""
    at = Situation.of(question.task, question.grid)
    found = {}
    for queue in question.queues:
        one = candidate_of(at, queue)
        for gate in GATES:
            if (refusal := gate.check(at, one)) is not None:
                found[queue.queue] = (gate.name, refusal)
                break
    return found


def walk_generic(question: Question) -> dict[str, tuple[str, Refusal]]:
    found = {}
    for queue in with_known_storages(question.queues, question.grid):
        for gate in GENERIC_GATES:
            if (refusal := gate.check(question.task, queue)) is not None:
                found[queue.queue] = (gate.name, refusal)
                break
    return found


def agree(question: Question, plugins: Plugins, walked: dict[str, tuple[str, Refusal]], chosen: list[str]) -> None:
    step = broker_step(plugins, question)
    names = {queue.queue for queue in question.queues}
    assert step.more["chosen"] == chosen
    assert set(chosen) == names - walked.keys()  # never more than ten here
    assert step.passes == bool(chosen)
    n_in = len(names)
    for gate in step.gates:
        stopped = {name: refusal for name, (by, refusal) in walked.items() if by == gate.gate}
        assert (gate.n_in, gate.n_in - gate.n_out) == (n_in, len(stopped))
        assert stopped[gate.example].change == gate.change
        assert stopped[gate.example].distance == min(refusal.distance for refusal in stopped.values())
        n_in = gate.n_out
    assert n_in == len(chosen)


@pytest.mark.parametrize(
    ("settings", "broker", "walk", "n"),
    [
        pytest.param(
            Settings(jobbroker={"modConfig": ":any:bamboo.plugins.production:ProductionJobBroker"}),  # type: ignore[arg-type]
            ProductionJobBroker(),
            walk_production,
            N_PRODUCTION,
            id="production",
        ),
        pytest.param(Settings(), GenericJobBroker(), walk_generic, N_GENERIC, id="generic"),
    ],
)
def test_why_and_the_brokerage_agree(
    engine: sa.Engine, clock: ManualClock, settings: Settings, broker: Any, walk: Walk, n: int
) -> None:
    plugins = Plugins(settings, engine, clock)
    rng = random.Random(12)
    seen: set[str] = set()
    n_chosen = 0
    for number in range(n):
        question = Question(*snapshot(grid(rng)))
        walked = walk(question)
        choice = broker.choose_queue(question.task, question.queues, question.grid)
        agree(question, plugins, walked, list(choice.chosen))
        if number % 10 == 0:
            agree_on_queues(question, plugins, walked)
            agree_on_changes(question, plugins, walked)
        seen |= {gate for gate, _ in walked.values()}
        n_chosen += bool(choice.chosen)
    assert 0.2 * n < n_chosen < 0.9 * n
    assert len(seen) >= min(len(GENERIC_GATES) - 1, len(GATES) * 0.75), sorted(seen)


def agree_on_queues(question: Question, plugins: Plugins, walked: dict[str, tuple[str, Refusal]]) -> None:
    """What `bamboo why QUEUE` says of a task is what `bamboo why TASK` says of the queue."""
    for queue in question.queues:
        gate, change = asked(plugins, question, queue.queue)
        expected = walked.get(queue.queue)
        assert (gate, change) == ((expected[0], expected[1].change) if expected else ("", ""))


def agree_on_changes(question: Question, plugins: Plugins, walked: dict[str, tuple[str, Refusal]]) -> None:
    """With the change that a gate names, tried by `--if`, that gate stops the queue no more."""
    for name, (gate, refusal) in walked.items():
        edits = getattr(refusal, "edits", {})
        if edits:
            tried = changed(question, [edit_of(what, value, name) for what, value in edits.items()])
            stopped = tried.choose(plugins).rejected
            assert name not in stopped.get(gate, ()), (gate, refusal)
