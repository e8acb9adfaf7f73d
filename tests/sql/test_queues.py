"""Queues and storages: what they may be, and the documents that pilots read."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from world import World

from bamboo.core.clock import ManualClock
from bamboo.core.errors import Invalid, NotFound
from bamboo.core.states import JobState
from bamboo.sql import counts, queues

#: What a real pilot was given (panda-pilot.md, chapter 4): the keys that it reads, and their types.
QUEUE_KEYS: dict[str, type] = {
    **dict.fromkeys(("nickname", "panda_resource", "site", "atlas_site", "gstat", "state", "status", "type"), str),
    **dict.fromkeys(("catchall", "container_type", "environ", "appdir"), str),
    **dict.fromkeys(("copytools", "acopytools", "astorages", "params"), dict),
    **dict.fromkeys(("corecount", "maxrss", "maxwdir", "maxtime", "timefloor"), int),
    **dict.fromkeys(("is_cvmfs", "allow_lan", "allow_wan", "direct_access_lan", "direct_access_wan"), bool),
}


def change(engine: sa.Engine, name: str, now: Any, **attributes: Any) -> sa.Row[Any]:
    with engine.begin() as tx:
        queues.set_queue(tx, name, attributes, now=now)
        return queues.get_queue(tx, name)


def test_a_queue_needs_nothing_but_a_name(engine: sa.Engine, clock: ManualClock) -> None:
    row = change(engine, "Q", clock())
    assert (row.site, row.status, row.state, row.core_count, row.attributes) == ("Q", "online", "ACTIVE", 1, {})


def test_a_change_leaves_the_rest_as_it_is(engine: sa.Engine, clock: ManualClock) -> None:
    change(engine, "Q", clock(), site="S", maxrss=4000, catchall="a", timeout=7)
    row = change(engine, "Q", clock(), status="test", catchall="b", vo="atlas")
    assert (row.site, row.max_rss_mb, row.status, row.vo) == ("S", 4000, "test", "atlas")
    assert row.attributes == {"catchall": "b", "timeout": 7}
    assert change(engine, "Q", clock(), vo=None).vo is None


def test_all_faults_are_told_at_once_and_nothing_is_changed(engine: sa.Engine, clock: ManualClock) -> None:
    change(engine, "Q", clock(), maxrss=4000)
    wrong = {
        "maxrss": -1,
        "maxtime": "long",
        "corecount": True,
        "maxwdir": 2**31,
        "status": "asleep",
        "site": "s" * 129,
        "state": None,
        "storage": ["DISK"],
    }
    with pytest.raises(Invalid) as caught:
        change(engine, "Q", clock(), **wrong)
    assert sorted(fault.where for fault in caught.value.faults) == sorted(wrong)
    with engine.connect() as tx:
        assert queues.get_queue(tx, "Q").max_rss_mb == 4000


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", ["", "a b", "../x", "q" * 129, "Q/A"])
def test_names_that_no_queue_may_have(engine: sa.Engine, clock: ManualClock, name: str) -> None:
    with pytest.raises(Invalid, match="is no queue name"):
        change(engine, name, clock())


def test_a_queue_that_is_not_there(engine: sa.Engine) -> None:
    with engine.connect() as tx, pytest.raises(NotFound, match="there is no queue Q"):
        queues.get_queue(tx, "Q")


def test_the_queue_document_has_what_pilots_read(engine: sa.Engine, clock: ManualClock) -> None:
    row = change(engine, "Q", clock(), site="S", storage="DISK", maxrss=4000, maxinputsize=14336, container_type="none")
    document = queues.queue_document(row)
    assert {key: kind for key, kind in QUEUE_KEYS.items() if type(document.get(key)) is not kind} == {}
    assert (document["nickname"], document["panda_resource"], document["atlas_site"]) == ("Q", "Q", "S")
    assert (document["maxrss"], document["maxinputsize"], document["container_type"]) == (4000, 14336, "none")
    activities = {"read_lan", "write_lan", "pr", "pw", "pl"}
    assert document["astorages"] == {activity: ["DISK"] for activity in activities}
    assert document["acopytools"] == {activity: ["mv"] for activity in activities | {"default"}}
    assert set(document["copytools"]) == {"mv"}


def test_the_storage_document_has_what_pilots_read(engine: sa.Engine) -> None:
    with engine.begin() as tx:
        queues.set_storage(tx, "DISK", site="S", endpoint="file://localhost", path="/old/")
        queues.set_storage(tx, "DISK", site="S", endpoint="file://localhost", path="/storage")
        (row,) = queues.list_storages(tx)
    document = queues.storage_document(row)
    protocol = {"endpoint": "file://localhost", "path": "/storage/", "flavour": "FILE", "id": 1}
    assert document["arprotocols"] == {
        activity: [protocol] for activity in ("read_lan", "read_wan", "write_lan", "write_wan", "delete_lan")
    }
    assert document["rprotocols"]["1"]["path"] == "/storage/"
    told = {"name": "DISK", "site": "S", "state": "ACTIVE", "type": "DATADISK", "token": "DATADISK", "id": 1}
    assert {key: document[key] for key in told} == told
    assert document["is_deterministic"] is True
    assert document["resource"] == {"id": 1}


def test_jobs_are_counted_by_queue_and_state(world: World) -> None:
    world.start(5).run(2)
    world.generate(1)
    world.generate(2, queue="R", status=JobState.ACTIVATED)
    world.book(world.move(world.claim(1), JobState.HOLDING))
    with world.engine.connect() as tx:
        assert counts.by_queue_now(tx) == {"Q": {"running": 2}, "R": {"activated": 2}}
