"""`bamboo queue import` and `bamboo plan` as operators type them, on a database with work in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click.testing
import pytest
import sqlalchemy as sa
from world import World

from bamboo.admin.cli.plan import plan
from bamboo.admin.cli.queue import queue
from bamboo.client.cli.lazy import LazyGroup
from bamboo.core.clock import ManualClock
from bamboo.core.errors import BadState, BambooError, Invalid, NotFound
from bamboo.core.shares import Share
from bamboo.sql import counts, queues, shares
from bamboo.sql import tables as t

ROOT = LazyGroup("bamboo", lazy={}, commands={"queue": queue, "plan": plan})


@pytest.fixture
def bamboo(database_url: str) -> Callable[..., str]:
    """Types a command on the test's database and gives what it printed; what it raises is raised."""

    def _type(*words: object) -> str:
        *noun, verb = [str(word) for word in words[:2]]
        arguments = [*noun, verb, "--db", database_url, *map(str, words[2:])]
        result = click.testing.CliRunner().invoke(ROOT, arguments, standalone_mode=False)
        if result.exception is not None:
            raise result.exception
        return result.output

    return _type


@pytest.fixture
def document(tmp_path: Path) -> Callable[..., Path]:
    """Writes documents to files."""

    def _write(content: Any, name: str = "queues.json") -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(content))
        return path

    return _write


@pytest.fixture
def world(engine: sa.Engine, clock: ManualClock) -> World:
    """A task of 5 inputs; 3 of them are in jobs that wait at Q, one of which asks for more memory than the task."""
    world = World(engine, clock)
    world.start(5)
    world.generate(2)
    world.generate(1, min_ram_count_mb=3000)
    with engine.begin() as tx:
        queues.set_queue(tx, "Q", {"storage": "DISK", "maxrss": 4000}, now=clock())
        queues.set_queue(tx, "P", {"storage": "DISK", "status": "offline"}, now=clock())
    return world


def tables(engine: sa.Engine) -> dict[str, Any]:
    with engine.connect() as tx:
        return {name: list(tx.execute(sa.select(table))) for name, table in t.metadata.tables.items()}


def planned(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


def test_what_an_edit_of_a_queue_would_do(bamboo: Callable[..., str], world: World, engine: sa.Engine) -> None:
    before = tables(engine)
    found = planned(bamboo("plan", "queue", "Q", "maxrss=2000", "--json"))
    assert found["changes"] == [{"queue": "Q", "before": {"max_rss_mb": 4000}, "after": {"max_rss_mb": 2000}}]
    (out,) = found["jobs_out"]  # the task itself asks for no memory: only the job that does is out
    assert (out["queue"], out["jeditaskid"], out["n_jobs"]) == ("Q", world.jeditaskid, 1)
    assert out["why"] == "too little memory; to pass: raise its maxrss from 2000 to 3000 MB"
    assert (found["tasks_out"], found["tasks_in"], found["stranded"]) == ([], [], [])

    found = planned(bamboo("plan", "queue", "Q", "status=offline", "--json"))
    assert sum(out["n_jobs"] for out in found["jobs_out"]) == 3
    assert [(out["why"], out["n_files_left"]) for out in found["tasks_out"]] == [
        ("not online; to pass: set its status from offline to online", 2)
    ]
    assert [out["jeditaskid"] for out in found["stranded"]] == [world.jeditaskid]

    found = planned(bamboo("plan", "queue", "P", "status=online", "--json"))
    assert [(new["queue"], new["jeditaskid"]) for new in found["tasks_in"]] == [("P", world.jeditaskid)]
    assert not found["jobs_out"]
    assert tables(engine) == before

    said = bamboo("plan", "queue", "Q", "status=offline")
    assert re.search(r"^asked: bamboo\.plugins\.generic\S+ about 1 task \(by no cfg file\)$", said, re.MULTILINE)
    assert "Q: status online → offline" in said
    assert "3 waiting jobs and 1 tasks would not fit any more, 0 tasks would; 1 tasks would have no queue." in said


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.usefixtures("world")
def test_the_broker_that_was_asked_is_told(bamboo: Callable[..., str], tmp_path: Path) -> None:
    """In another folder than JEDI's the answer was that of another broker, and nothing said so."""
    config = tmp_path / "panda_jedi.cfg"
    config.write_text("[jobbroker]\nmodConfig = any:any:bamboo.plugins.production.job_broker:ProductionJobBroker\n")
    said = bamboo("plan", "queue", "Q", "status=offline", "--config", config)
    assert f"asked: bamboo.plugins.production.job_broker:ProductionJobBroker about 1 task (by {config})" in said


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_tasks_without_inputs_left_are_not_told_of(bamboo: Callable[..., str], world: World) -> None:
    """They have jobs that wait, and make no others."""
    world.generate(9)
    found = planned(bamboo("plan", "queue", "Q", "status=offline", "--json"))
    assert sum(out["n_jobs"] for out in found["jobs_out"]) == 5
    assert (found["tasks_out"], found["stranded"]) == ([], [])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_an_import_would_do(
    bamboo: Callable[..., str], world: World, engine: sa.Engine, document: Callable[..., Path]
) -> None:
    bamboo("queue", "import", document({"A": {"astorages": {"pw": ["D"]}}, "B": {"astorages": {"pw": ["D"]}}, "C": {}}))
    before = tables(engine)
    path = document({"A": {"astorages": {"pw": ["D"]}, "maxrss": 1}, "C": {}, "NEW": {"astorages": {"pw": ["D"]}}})
    found = planned(bamboo("plan", "import", path, "--json"))
    assert [change["queue"] for change in found["changes"]] == ["A", "B", "NEW"]
    assert [(out["queue"], out["why"].partition(";")[0]) for out in found["tasks_out"]] == [("B", "not online")]
    assert [new["queue"] for new in found["tasks_in"]] == ["NEW"]
    assert found["stranded"] == []
    with pytest.raises(BadState, match="does not have 3 of 3 queues"):
        bamboo("plan", "import", document({}))
    assert tables(engine) == before


def test_documents_are_imported_and_exported(
    bamboo: Callable[..., str], engine: sa.Engine, document: Callable[..., Path]
) -> None:
    described = {"A": {"maxrss": 2000, "atlas_site": "S", "astorages": {"pw": ["D"]}}, "B": {}}
    sites = document({"S": {"cloud": "US"}}, "sites.json")
    words = ("queue", "import", document(described), "--sites", sites)
    assert "would import queues: 2 in the document; 2 new (A, B)" in bamboo(*words, "--dry-run")
    with engine.connect() as tx:
        assert queues.list_queues(tx) == []
    assert "queues: 2 in the document; 2 new (A, B)" in bamboo(*words)
    assert "queues: 2 in the document; no change" in bamboo(*words)
    with engine.begin() as tx:
        queues.set_storage(tx, "DISK", site="S", endpoint="file://", path="/s")
    assert "warning: queue A: there is no storage D" in bamboo(*words)
    assert json.loads(bamboo("queue", "export")) == described
    counted = dict(line.split()[:2] for line in bamboo("queue", "sources").splitlines() if len(line.split()) > 1)
    assert (counted["queues"], counted["sites"]) == ("2", "1")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_cannot_be_imported_changes_nothing(
    bamboo: Callable[..., str], engine: sa.Engine, document: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(Invalid, match="names no source"):
        bamboo("queue", "import")
    wrong = document({"A": {"maxrss": "x"}, "B": {"status": "onlin"}})
    with pytest.raises(Invalid) as caught:
        bamboo("queue", "import", wrong, "--storages", document({"D": {}}, "storages.json"))
    assert [fault.where for fault in caught.value.faults] == ["storages D.site", "queues A.maxrss", "queues B.status"]
    with pytest.raises(BambooError, match="No such file"):
        bamboo("queue", "import", tmp_path / "nothing.json")
    with engine.connect() as tx:
        assert queues.list_queues(tx) == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_software_and_network_are_imported_by_hand(bamboo: Callable[..., str], document: Callable[..., Path]) -> None:
    software = {"A": {"cvmfs": ["atlas"], "tags": []}, "ALL": {"tags": []}}
    network = {"S:T": {"mbps": {"fts": {"1h": 80}}}}
    told = bamboo(
        *("queue", "import", document({"A": {}}), "--software", document(software, "s.json")),
        *("--network", document(network, "n.json")),
    )
    assert told.splitlines() == [
        "queues: 1 in the document; 1 new (A)",
        "software: 2 in the document; 2 new (A, ALL)",
        "network: 1 in the document; 1 new (S to T), 2 not known here (S, T)",
    ]
    assert json.loads(bamboo("queue", "software")) == software
    assert json.loads(bamboo("queue", "software", "A")) == {"A": software["A"]}
    with pytest.raises(NotFound, match="nothing is known of the software at B"):
        bamboo("queue", "software", "A", "B")
    assert "software" in bamboo("queue", "sources")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_configured_sources_are_imported_by_hand_too(
    bamboo: Callable[..., str], engine: sa.Engine, document: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAMBOO_CONFIGURATOR__CRIC_URL_SCHEDCONFIG", document({"A": {}}).as_uri())
    assert "1 new (A)" in bamboo("queue", "import")


def test_the_users_commands_are_there_too() -> None:
    assert {"list", "show", "set", "unset", "remove", "history", "import", "export", "software", "sources"} == set(
        queue.list_commands(click.Context(queue))
    )


@pytest.fixture
def shared(world: World, engine: sa.Engine, clock: ManualClock) -> World:
    """Four jobs of `a`, two of them running, and one of `b` that waits; a has 75 %, b 25 %."""
    world.generate(2)
    with engine.begin() as tx:
        shares.set_shares(tx, [Share("a", None, 75, patterns={"vo": "wlcg"}), Share("b", None, 25)])
        ids = sorted(tx.scalars(sa.select(t.jobs.c.pandaid)))
        held = {"status": "running", "lease_until": clock()}
        tx.execute(sa.update(t.tasks).values(gshare="a"))
        tx.execute(sa.update(t.jobs).values(gshare="a"))
        tx.execute(sa.update(t.jobs).where(t.jobs.c.pandaid == ids[0]).values(gshare="b"))
        tx.execute(sa.update(t.jobs).where(t.jobs.c.pandaid.in_(ids[1:3])).values(held))
        counts.replace(tx, now=clock())
    return world


def test_what_an_edit_of_shares_would_do(bamboo: Callable[..., str], shared: World, engine: sa.Engine) -> None:
    """Two run, so there are 3 slots. Before, a should have 0.75 x 3 = 2.25 and has 2; b should have 0.75 and has none.
    With 50 : 50 each should have 1.5, but b can use 1 only, so that a gets 2 and lacks nothing."""
    before = tables(engine)
    found = planned(bamboo("plan", "share", "a=50", "b=50", "--json"))
    assert [
        (one["share"], one["target_before"], one["target_after"], one["turn_before"], one["turn_after"])
        for one in found["effects"]
    ] == [("b", 0.75, 1, 1, 1), ("a", 2.25, 2, 2, 2), ("Undefined", 0, 0, None, None)]
    found = planned(bamboo("plan", "share", "b=remove", "--json"))
    assert [(one["share"], one["turn_before"], one["turn_after"]) for one in found["effects"]] == [
        ("a", 2, 1),
        ("Undefined", None, 2),
        ("b", 1, None),
    ]
    assert tables(engine) == before
    said = bamboo("plan", "share", "b=0")
    assert re.search(r"^b +25 → 0 +0.8 → 0 ", said, re.M)
    assert "2 shares would have another turn. Nothing was changed." in said
    assert (
        "share nosuch is new, under a"
        in planned(bamboo("plan", "share", "nosuch=3", "nosuch.parent=a", "--json"))["notes"]
    )


def test_what_tagging_anew_would_do(bamboo: Callable[..., str], shared: World, engine: sa.Engine) -> None:
    before = tables(engine)
    found = planned(bamboo("plan", "share", "a.vo=atlas", "b=25", "--retag", "--json"))
    assert (found["n_tasks"], found["n_jobs"]) == (1, 4)
    assert {one["share"]: (one["running"], one["queued"]) for one in found["effects"]} == {
        "b": (2, 3),
        "a": (0, 0),
        "Undefined": (0, 0),
    }
    assert tables(engine) == before


def test_faults_of_share_edits_are_told_at_once(bamboo: Callable[..., str], shared: World) -> None:
    with pytest.raises(Invalid) as caught:
        bamboo("plan", "share", "a=much", "c.parent=a", "d=remove", "b.colour=1")
    assert {fault.where for fault in caught.value.faults} == {"a.value", "c.value", "d", "b.colour"}
    with pytest.raises(Invalid, match="is no SHARE=VALUE"):
        bamboo("plan", "share", "a")
