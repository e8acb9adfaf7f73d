"""Imports of queues, sites and storages: the rule of what wins, all or nothing, and the history."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bamboo.core.clock import ManualClock
from bamboo.core.errors import BadState, Invalid
from bamboo.core.grid_documents import GridKind, parse_json, read_grid
from bamboo.core.tunables import Numbers
from bamboo.sql import grid_imports, grid_sources, queue_history, queues
from bamboo.sql import tables as t
from bamboo.sql.grid import set_link
from bamboo.sql.imports import LARGEST_LOSS, Import, Swapped
from bamboo.sql.queue_values import Layers

#: A queue as an information system describes it, with the keys of manual ch. 12 and 17.
AGLT2 = {
    "nickname": "AGLT2",
    "atlas_site": "AGLT2_SITE",
    "site": "GreatLakes",
    "cloud": "US",
    "vo_name": "atlas",
    "status": "online",
    "state": "ACTIVE",
    "type": "unified",
    "corecount": 8,
    "maxrss": 16000,
    "minrss": 0,
    "maxwdir": 106498,
    "maxtime": 258000,
    "mintime": 0,
    "timefloor": 200,
    "resource_type": "GRID",
    "releases": ["AUTO"],
    "fairsharepolicy": "type=evgensimul:100%,type=any:0%",
    "astorages": {"pr": ["AGLT2_READ"], "pw": ["AGLT2_DATADISK"]},
    "copytools": {"rucio": {"setup": ""}},
    "catchall": "",
    "wnconnectivity": "full#IPv4",
    "maxdiskio": 5000,
    "transferringlimit": 3000,
    "coreenergy": 10.0,
    "corepower": 14.54,
    "depthboost": None,
}


@dataclass
class Grid:
    """A database into which documents are imported."""

    engine: sa.Engine
    clock: ManualClock

    def imports(self, documents: dict[str, Any], **how: Any) -> dict[GridKind, Swapped]:
        given = {GridKind(kind): document for kind, document in documents.items()}
        sources = {kind: f"{kind}.json" for kind in given}
        with self.engine.begin() as tx:
            order = Import(**{"actor": "alice", "now": self.clock(), "sources": sources, **how})
            return grid_imports.swap(tx, read_grid(given), order)

    def queues(self, documents: dict[str, Any], **how: Any) -> Swapped:
        return self.imports({"queues": documents}, **how)[GridKind.QUEUES]

    def by_hand(self, queue: str, unset: tuple[str, ...] = (), **attributes: Any) -> None:
        with self.engine.begin() as tx:
            queues.set_queue(tx, queue, attributes, now=self.clock(), actor="bob", unset=unset)

    def queue(self, name: str) -> sa.Row[Any]:
        with self.engine.connect() as tx:
            return queues.get_queue(tx, name)

    def history(self, name: str) -> list[tuple[str, str, dict[str, Any], dict[str, Any]]]:
        with self.engine.connect() as tx:
            return [(row.actor, row.what, row.before, row.after) for row in queue_history.of_queue(tx, name)]

    def rows(self, table: sa.Table) -> list[sa.Row[Any]]:
        with self.engine.connect() as tx:
            return list(tx.execute(sa.select(table).order_by(*table.primary_key)))


@pytest.fixture
def grid(engine: sa.Engine, clock: ManualClock) -> Grid:
    return Grid(engine, clock)


on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_an_imported_queue_has_its_values_in_columns_and_attributes(grid: Grid) -> None:
    assert grid.queues({"AGLT2": AGLT2, "PLAIN": {}}).added == ["AGLT2", "PLAIN"]
    row = grid.queue("AGLT2")
    assert (row.site, row.vo, row.status, row.storage) == ("AGLT2_SITE", "atlas", "online", "AGLT2_DATADISK")
    assert (row.core_count, row.max_rss_mb, row.max_wdir_mb, row.max_time_seconds) == (8, 16000, 106498, 258000)
    assert row.attributes["releases"] == ["AUTO"]
    assert row.attributes["vo_name"] == "atlas"
    assert not {"corecount", "maxrss", "site"} & set(row.attributes)
    assert row.attributes["maxDiskIO"] == 5000  # the manual's spelling, which brokers read
    plain = grid.queue("PLAIN")
    assert (plain.site, plain.vo, plain.core_count, plain.status, plain.attributes) == ("PLAIN", None, 1, "online", {})


def test_what_was_set_by_hand_wins_until_it_is_given_back(grid: Grid) -> None:
    grid.queues({"Q": {"maxrss": 2000, "status": "online", "catchall": "a"}})
    grid.by_hand("Q", maxrss=4000, catchall="mine")
    grid.queues({"Q": {"maxrss": 3000, "status": "test", "catchall": "b"}})
    row = grid.queue("Q")
    assert (row.max_rss_mb, row.status, row.attributes) == (4000, "test", {"catchall": "mine"})
    origins = {key: one.origin for key, one in Layers.of_row(row).values().items()}
    assert origins["maxrss"] == "set by hand (imported: 3000)"
    assert origins["status"] == "imported"
    assert origins["maxwdir"] == "default"

    grid.by_hand("Q", unset=("maxrss",))
    row = grid.queue("Q")
    assert (row.max_rss_mb, row.attributes) == (3000, {"catchall": "mine"})
    with pytest.raises(Invalid, match="it was not set by hand"):
        grid.by_hand("Q", unset=("maxrss",))


def test_a_queue_entered_by_hand_keeps_its_values_when_it_is_imported(grid: Grid) -> None:
    """Also one from before there were imports, whose row does not say what was set by hand."""
    with grid.engine.begin() as tx:
        queues.ensure_site(tx, "S")
        old = {"queue": "OLD", "site": "S", "max_rss_mb": 4000, "attributes": {"catchall": "x"}}
        tx.execute(sa.insert(t.queues).values(**old, modified_at=grid.clock()))
    grid.by_hand("NEW", site="S", maxrss=4000)
    document = {"atlas_site": "ELSEWHERE", "maxrss": 1, "corecount": 8}
    grid.queues({"OLD": document, "NEW": document})
    for name in ("OLD", "NEW"):
        row = grid.queue(name)
        assert (row.site, row.max_rss_mb, row.core_count) == ("S", 4000, 8)
    assert grid.queue("OLD").attributes["catchall"] == "x"


def test_a_vanished_queue_is_offline_and_comes_back(grid: Grid) -> None:
    grid.by_hand("MINE", status="online")
    grid.queues({"A": AGLT2, "B": AGLT2, "C": AGLT2})
    grid.by_hand("C", status="online")

    assert grid.queues({"B": AGLT2}, force=True).vanished == ["A", "C"]
    assert [grid.queue(name).status for name in "ABC"] == ["offline", "online", "online"]
    assert grid.queue("MINE").status == "online"
    assert grid.queue("A").max_rss_mb == 16000
    assert grid.history("A")[0] == ("alice", "vanished", {"status": "online"}, {"status": "offline"})
    assert not grid.queues({"B": AGLT2}).did_something
    with grid.engine.connect() as tx:
        assert list(grid_imports.exported(tx)) == ["B"]

    assert grid.queues({"A": AGLT2, "B": AGLT2}).came_back == ["A"]
    assert grid.queue("A").status == "online"
    assert grid.history("A")[0] == ("alice", "came back", {"status": "offline"}, {"status": "online"})


def test_a_document_that_lost_too_much_is_refused_and_changes_nothing(grid: Grid) -> None:
    grid.queues({name: {"maxrss": 1} for name in "ABCD"})
    with pytest.raises(BadState, match="does not have 3 of 4 queues") as caught:
        grid.queues({"A": {"maxrss": 2}})
    assert "--force" in caught.value.hint
    assert [grid.queue(name).status for name in "ABCD"] == ["online"] * 4
    assert grid.queue("A").max_rss_mb == 1

    more = Numbers().having(LARGEST_LOSS, 0.75)
    assert grid.queues({"A": {"maxrss": 2}}, numbers=more).vanished == ["B", "C", "D"]
    assert grid.queues({}, force=True).vanished == ["A"]


@on_sqlite
def test_half_may_vanish_and_not_one_more(grid: Grid) -> None:
    grid.queues({name: {} for name in "ABCDE"})
    with pytest.raises(BadState):
        grid.queues({"A": {}, "B": {}})  # 3 of 5 gone: 0.6
    grid.queues({"A": {}, "B": {}, "C": {}})  # 2 of 5 gone: 0.4
    grid.queues({"A": {}, "B": {}, "D": {}, "E": {}})  # 1 of 3 gone
    with pytest.raises(BadState):
        grid.queues({"X": {}})


def test_all_kinds_are_one_transaction(grid: Grid) -> None:
    """The queues come last and are refused: the sites and storages before them are not entered."""
    grid.queues({"A": {}, "B": {}})
    documents = {
        "sites": {"S": {"cloud": "US"}},
        "storages": {"DISK": {"site": "S"}},
        "queues": {"C": {}},
    }
    with pytest.raises(BadState):
        grid.imports(documents)
    assert [row.site for row in grid.rows(t.sites)] == ["A", "B"]
    assert grid.rows(t.storages) == []


def test_the_history_says_who_changed_what_from_where(grid: Grid) -> None:
    grid.queues({"Q": {"maxrss": 2000}})
    grid.clock.advance(minutes=1)
    grid.by_hand("Q", maxrss=4000, status="test")
    grid.by_hand("Q", maxrss=4000)  # no change: no entry
    grid.queues({"Q": {"maxrss": 9000}})  # hidden by what was set by hand: no entry
    grid.by_hand("Q", unset=("maxrss", "status"))
    entered, *rest = reversed(grid.history("Q"))
    assert entered[:3] == ("alice", "entered", {})
    assert entered[3]["maxrss"] == 2000
    assert rest == [
        ("bob", "set", {"maxrss": 2000, "status": "online"}, {"maxrss": 4000, "status": "test"}),
        ("bob", "released", {"maxrss": 4000, "status": "test"}, {"maxrss": 9000, "status": "online"}),
    ]
    with grid.engine.begin() as tx:
        newest = queue_history.of_queue(tx, "Q", limit=1)
        assert [(row.at, row.source) for row in newest] == [(grid.clock(), None)]
        assert queue_history.of_queue(tx, "Q")[-1].source == "queues.json"
        assert queue_history.forget(tx, before=grid.clock()) == 1
    assert len(grid.history("Q")) == 2


def test_sites_and_storages(grid: Grid) -> None:
    disk = {
        "site": "S",
        "state": "ACTIVE",
        "type": "DATADISK",
        "arprotocols": {"read_wan": [{"endpoint": "https://r:443", "path": "/r/"}],
                        "write_lan": [{"endpoint": "root://w:1094", "path": "/w/"}]},
        "rprotocols": {"2": {"endpoint": "gsiftp://g", "path": "/g/"}},
    }  # fmt: skip
    with grid.engine.begin() as tx:
        queues.set_storage(tx, "HAND", site="S", endpoint="file://localhost", path="/mine")
    done = grid.imports({"sites": {"S": {"cloud": "US", "tier_level": 2}}, "storages": {"DISK": disk, "HAND": disk}})
    assert (done[GridKind.STORAGES].added, done[GridKind.STORAGES].kept) == (["DISK"], ["HAND"])
    assert done[GridKind.SITES].changed == ["S"]  # it was entered with the storage
    by_name = {row.storage: row for row in grid.rows(t.storages)}
    assert (by_name["DISK"].endpoint, by_name["DISK"].path) == ("root://w:1094", "/w/")
    assert by_name["HAND"].path == "/mine/"
    assert queues.storage_document(by_name["DISK"])["arprotocols"] == disk["arprotocols"]
    (site,) = grid.rows(t.sites)
    assert (site.cloud, site.state, site.attributes["tier_level"]) == ("US", "ACTIVE", 2)

    done = grid.imports({"storages": {}, "sites": {}}, force=True)
    assert {row.storage: row.state for row in grid.rows(t.storages)} == {"DISK": "DISABLED", "HAND": "ACTIVE"}
    assert [row.state for row in grid.rows(t.sites)] == ["DISABLED"]
    grid.imports({"storages": {"DISK": disk}})
    assert {row.storage: row.state for row in grid.rows(t.storages)} == {"DISK": "ACTIVE", "HAND": "ACTIVE"}

    with grid.engine.begin() as tx:
        queues.set_storage(tx, "DISK", site="S", endpoint="file://localhost", path="/new")
        (row, _) = queues.list_storages(tx)
    assert queues.storage_document(row)["arprotocols"]["write_lan"][0]["path"] == "/new/"


def test_the_blacklist_and_the_closeness(grid: Grid) -> None:
    grid.imports({"sites": {"S": {}, "T": {}}, "storages": {"DISK": {"site": "S"}, "TAPE": {"site": "S"}}})
    off = {"write_wan": {"status": {"value": "OFF", "reason": "downtime"}}, "read_wan": {"status": {"value": "ON"}}}
    done = grid.imports({"blacklist": {"DISK": off, "NOWHERE": off}})[GridKind.BLACKLIST]
    assert (done.added, done.unknown) == (["DISK"], ["NOWHERE"])
    grid.imports({"storages": {"DISK": {"site": "S", "type": "X"}, "TAPE": {"site": "S"}}})  # which says nothing of it
    assert [row.attributes.get("blacklisted") for row in grid.rows(t.storages)] == ["write_wan: downtime", None]
    only_reads = {"TAPE": {"read_wan": "broken"}, "DISK": off}
    assert not grid.imports({"blacklist": only_reads})[GridKind.BLACKLIST].did_something

    matrix = [{"src": "S", "dst": "T", "closeness": 3}, {"src": "S", "dst": "U", "closeness": None}]
    with grid.engine.begin() as tx:
        set_link(tx, "T", "S", now=grid.clock(), mbps_day=7.5, closeness=9)
    first = grid.imports({"closeness": matrix})[GridKind.CLOSENESS]
    assert (first.added, first.changed) == (["S to T"], ["T to S"])
    assert [(row.source, row.closeness, row.mbps_day) for row in grid.rows(t.links)] == [
        ("S", 3, None),
        ("T", None, 7.5),
    ]
    last = grid.imports({"blacklist": {}, "closeness": {"S": {"T": 3}}})
    assert (last[GridKind.BLACKLIST].came_back, last[GridKind.CLOSENESS].did_something) == (["DISK"], False)
    assert ["blacklisted" in row.attributes for row in grid.rows(t.storages)] == [False, False]


def test_the_site_matrix_shuts_links_and_opens_them_again(grid: Grid) -> None:
    with grid.engine.begin() as tx:
        set_link(tx, "T", "S", now=grid.clock(), blocked="router down")
    grid.imports({"closeness": {"S": {"T": -1}, "T": {"S": -1}}})
    assert [(row.closeness, row.blocked) for row in grid.rows(t.links)] == [
        (None, "the site matrix gives it the closeness -1"),
        (None, "router down"),  # which somebody said who knows more
    ]
    grid.imports({"closeness": {"S": {"T": 2}, "T": {"S": 2}}})
    assert [(row.closeness, row.blocked) for row in grid.rows(t.links)] == [(2, None), (2, "router down")]


def network(at: datetime, n_files: int, mbps: float) -> dict[str, Any]:
    stamp = at.strftime("%Y-%m-%dT%H:%M:%S")
    queued = {"Production Output": {"latest": n_files, "timestamp": stamp}, "Express": {"latest": 1}}
    return {"files": {"queued": queued}, "mbps": {"fts": {"1h": mbps, "1d": 2 * mbps, "timestamp": stamp}}}


def test_what_was_measured_of_the_network(grid: Grid) -> None:
    now = grid.clock()
    with grid.engine.begin() as tx:
        set_link(tx, "S", "T", now=now, closeness=4, mbps_week=9.0)
    done = grid.imports({"network": {"S:T": network(now, 30, 80.0), "T:S": network(now, 0, 1.0)}})[GridKind.NETWORK]
    assert (done.added, done.changed, done.unknown) == (["T to S"], ["S to T"], ["S", "T"])
    there, back = grid.rows(t.links)
    assert (there.queued, there.queued_files) == ({"Production Output": 30, "Express": 1}, 31)
    assert (there.mbps_hour, there.mbps_day, there.mbps_week, there.closeness) == (80.0, 160.0, None, 4)
    assert there.measured_at == back.measured_at == now.replace(microsecond=0)


def test_measurements_that_are_old_or_gone_are_believed_no_more(grid: Grid) -> None:
    old = grid.clock()
    grid.imports({"closeness": {"S": {"T": 4}}, "network": {"S:T": network(old, 30, 80.0), "T:S": network(old, 0, 1)}})
    grid.clock.advance(minutes=61)
    grid.imports({"network": {"S:T": network(old, 30, 80.0)}})
    (there, back) = grid.rows(t.links)
    assert (there.queued, there.queued_files, there.mbps_hour, there.closeness) == ({"Express": 1}, 1, None, 4)
    assert (back.queued, back.mbps_day, back.measured_at) == (None, None, None)
    assert not grid.imports({"network": {"X:Y": {"mbps": network(old, 1, 1.0)["mbps"]}}})[GridKind.NETWORK].added


TAGS = [{"project": "Athena", "release": str(number), "tag": f"Athena-{number}"} for number in range(25)]


def test_the_software_of_queues_is_swapped_with_its_history(grid: Grid) -> None:
    grid.queues({"A": {}, "B": {}})
    first = {"A": {"cvmfs": ["atlas"], "tags": TAGS[:2]}, "B": {}, "ALL": {"tags": []}, "LATER": {}}
    done = grid.imports({"software": first})[GridKind.SOFTWARE]
    assert (done.added, done.unknown, done.n_entries) == (["A", "ALL", "B", "LATER"], ["LATER"], 4)
    assert not grid.imports({"software": first})[GridKind.SOFTWARE].did_something
    second = {"A": {"cvmfs": ["atlas", "nightlies"], "tags": TAGS[1:]}, "ALL": {"tags": []}, "LATER": {}}
    done = grid.imports({"software": second})[GridKind.SOFTWARE]
    assert (done.changed, done.vanished) == (["A"], ["B"])
    assert {row.queue: row.document for row in grid.rows(t.software)} == second
    actor, what, before, after = grid.history("A")[0]
    assert (actor, what, before) == ("alice", "software", {"software.tags": ["Athena-0"]})
    assert after["software.cvmfs"] == ["nightlies"]
    assert after["software.tags"][0] == "Athena-2"
    assert (len(after["software.tags"]), after["software.tags"][-1]) == (21, "and 3 more")


def test_a_document_of_software_that_was_cut_short_is_refused(grid: Grid) -> None:
    grid.imports({"software": {"A": {}, "B": {}, "C": {}}})
    with pytest.raises(BadState, match="does not have 2 of 3 software"):
        grid.imports({"software": {"A": {"cvmfs": "any"}}})
    assert len(grid.rows(t.software)) == 3
    assert grid.imports({"software": {"A": {}}}, force=True)[GridKind.SOFTWARE].vanished == ["B", "C"]


def test_what_went_wrong_is_kept_with_what_was_good(grid: Grid) -> None:
    grid.queues({"A": {}, "B": {}})
    good_at = grid.clock()
    failing: list[datetime] = []
    for error in ("it does not answer", "it is no JSON"):
        grid.clock.advance(minutes=3)
        failing.append(grid.clock())
        with grid.engine.begin() as tx:
            grid_sources.failed(tx, GridKind.QUEUES, error=error, now=grid.clock())
    row = {each.kind: each for each in grid.rows(t.grid_sources)}["queues"]
    assert (row.source, row.good_at, row.n_entries) == ("queues.json", good_at, 2)
    assert (row.failing_since, row.error) == (failing[0], "it is no JSON")
    grid.queues({"A": {}, "B": {}})
    row = {each.kind: each for each in grid.rows(t.grid_sources)}["queues"]
    assert (row.good_at, row.failing_since, row.error) == (failing[1], None, None)


def test_a_second_import_at_the_same_moment_waits(
    grid: Grid, at_once: Callable[[int, Callable[[int], Any]], list[Any]]
) -> None:
    documents = {f"Q{number}": {"maxrss": number} for number in range(20)}
    together = at_once(4, lambda number: grid.queues(documents))
    assert sorted(len(one.added) for one in together) == [0, 0, 0, 20]
    assert all(len(grid.history(name)) == 1 for name in documents)


# Any valid document: known keys of their kinds, and unknown keys with any JSON in them.
WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e15, 1e15).map(lambda x: x + 0.0) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
COUNTS = st.integers(0, 2**31 - 1)
KNOWN = {
    **dict.fromkeys(("corecount", "maxrss", "minrss", "maxwdir", "maxtime", "timefloor", "maxdiskio"), COUNTS),
    **dict.fromkeys(("atlas_site", "site", "vo_name", "state", "type", "catchall", "cloud"), WORDS),
    "status": st.sampled_from(["online", "test", "brokeroff", "paused", "offline"]),
    "corepower": st.floats(0, 1e6),
    "is_cvmfs": st.booleans(),
    "releases": st.lists(WORDS, max_size=3),
    "astorages": st.dictionaries(WORDS, st.lists(WORDS, max_size=2), max_size=3),
    "copytools": st.dictionaries(WORDS, JSON, max_size=2),
}
QUEUE = st.builds(
    lambda known, other: {**other, **known},
    st.fixed_dictionaries({}, optional={key: st.none() | kind for key, kind in KNOWN.items()}),
    st.dictionaries(WORDS.map(lambda word: f"x_{word}"), JSON, max_size=3),
)
NAMES = st.text("ABCdef012-_.", min_size=1, max_size=8)


@given(document=st.dictionaries(NAMES, QUEUE, max_size=4))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_imported_is_what_is_exported(grid: Grid, document: dict[str, Any]) -> None:
    """As JSON text, so that 1 and 1.0 and true are told apart; and the rows hold the same values under their names."""
    text = json.dumps(document)
    with grid.engine.connect() as tx:
        parsed = {GridKind.QUEUES: parse_json(text, "text")}
        grid_imports.swap(tx, read_grid(parsed), Import(actor="a", now=grid.clock(), force=True))
        found = grid_imports.exported(tx)
        rows = {name: queues.get_queue(tx, name) for name in document}
        tx.rollback()
    assert _told_apart(found) == _told_apart(document)
    for name, one in document.items():
        given = {key: value for key, value in one.items() if value is not None}
        assert rows[name].core_count == given.get("corecount", 1)
        assert rows[name].status == given.get("status", "online")
        assert rows[name].site == (given.get("atlas_site") or given.get("site") or name)
        assert _told_apart({key: rows[name].attributes[key] for key in one if key.startswith("x_")}) == _told_apart(
            {key: one[key] for key in one if key.startswith("x_")}
        )


def _told_apart(value: Any) -> Any:
    """A form in which equal means: the same JSON (keys in any order; whole floats are what JSONB makes of them)."""
    if isinstance(value, dict):
        return {key: _told_apart(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [_told_apart(inside) for inside in value]
    if isinstance(value, float):
        return ("number", math.fabs(value) if value == 0 else value)
    return ("number", value) if isinstance(value, int) and not isinstance(value, bool) else (type(value), value)
