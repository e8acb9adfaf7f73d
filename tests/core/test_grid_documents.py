"""Documents about the grid: what is accepted, and that all faults are told at once with their places."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bamboo.core.errors import Invalid
from bamboo.core.grid_documents import Grid, GridKind, parse_json, read_grid, storage_address
from bamboo.core.network_documents import Link
from bamboo.core.queue_keys import KINDS, slips
from bamboo.sql.queue_values import COLUMN_OF_KEY, DEFAULTS


def read(**documents: Any) -> Grid:
    return read_grid({GridKind(kind): document for kind, document in documents.items()})


def faults(**documents: Any) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        read(**documents)
    return {fault.where: f"{fault.what} ({fault.do})" for fault in caught.value.faults}


def test_all_faults_of_all_documents_are_told_at_once() -> None:
    found = faults(
        queues={
            "GOOD": {"corecount": 8, "maxrss": None, "releases": "AUTO", "corepower": 10},
            "BAD": {
                "maxrss": "2000",
                "corecount": True,
                "status": "onlin",
                "astorages": {"pw": "DISK"},
                "corepower": -1,
            },
            "a/b": {},
            "LIST": [],
        },
        sites={"S": {"cloud": 7, "state": "a" * 21}, "": {}},
        storages={"DISK": {"type": "DATADISK"}, "LONG": {"site": "S", "se": "x" * 256}},
        blacklist={"DISK": {"write_wan": 3}},
        closeness=[{"src": "S", "dst": "T", "closeness": "near"}, 5, {"dst": "T", "closeness": 1}],
        software={
            "GOOD": {"cvmfs": "any", "containers": None, "tags": [{"tag": "t", "sources": ["/cvmfs/i"]}], "new": 1},
            "BAD": {"cmtconfigs": [1], "architectures": {"type": "cpu"}, "tags": ["Athena"]},
            "TAG": {"tags": [{}, {"project": 5, "sources": [None]}]},
            "a/b": {},
        },
        network={
            "S:T": {"files": {"queued": {"Express": {"latest": 5}, "A": 7, "B": {}}}, "mbps": {"fts": {"1h": 1.5}}},
            "S": {},
            "S:U": {"files": [], "mbps": {"rucio": {"1d": "fast", "timestamp": "yesterday"}}},
            "S:V": {"files": {"queued": {"Express": {"latest": -1}, "A": {"latest": 1, "timestamp": 5}}}},
        },
    )
    assert set(found) == {
        *(f"queues BAD.{key}" for key in ("maxrss", "corecount", "status", "astorages", "corepower")),
        "queues a/b",
        "queues LIST",
        "sites S.cloud",
        "sites S.state",
        "sites ''",
        "storages DISK.site",
        "storages LONG",
        "blacklist DISK.write_wan",
        "closeness [0].closeness",
        "closeness [1]",
        "closeness [2]",
        *(f"software BAD.{key}" for key in ("cmtconfigs", "architectures", "tags")),
        "software TAG.tags[1].project",
        "software TAG.tags[1].sources",
        "software a/b",
        "network S",
        "network S:U.files",
        "network S:U.mbps.rucio",
        "network S:U.mbps.rucio.timestamp",
        "network S:V.files.queued.Express",
        "network S:V.files.queued.A.timestamp",
    }
    assert found["queues BAD.status"].startswith("'onlin' is no queue status (did you mean 'online'?")
    assert found["queues BAD.maxrss"].startswith("'2000' is no number of zero or more")


@pytest.mark.parametrize("document", [[], "x", None, 3, {"error": "database is locked"}])
def test_what_is_no_document_of_queues(document: Any) -> None:
    assert list(faults(queues=document)) == ["queues"]


def test_unknown_keys_are_kept_and_slips_are_told() -> None:
    queue = {"maxrs": 2000, "something_new": [1]}
    found = read(queues={"Q": {**queue, "copytool": {}}, "R": queue, "S": queue})
    assert found.queues == {"Q": {**queue, "copytool": {}}, "R": queue, "S": queue}
    assert found.warnings == (
        "queues Q and 2 more: 'maxrs' is no known key: did you mean 'maxrss'?",
        "queues Q: 'copytool' is no known key: did you mean 'copytools'?",
    )


def test_no_known_key_looks_like_a_slip() -> None:
    assert slips(dict.fromkeys(KINDS)) == {}


def test_storages_that_queues_name_and_nobody_knows_are_told() -> None:
    queues = {"Q": {"astorages": {"pw": ["DISK", "GONE"]}}, "R": {"astorages": None}}
    storages = {"DISK": {"site": "S", "se": "root://a", "endpoint": "/b/"}}
    assert read(queues=queues, storages=storages).warnings == (
        "queues Q.astorages: there is no storage GONE in the document of storages",
    )
    assert read(queues=queues).warnings == ()


def address(name: str) -> dict[str, str]:
    return {"endpoint": f"root://{name}", "path": f"/{name}/"}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"arprotocols": {"read_lan": [address("r")], "write_wan": [address("w")]}}, ("root://w", "/w/")),
        ({"arprotocols": {"write_lan": [], "else": [address("e")]}}, ("root://e", "/e/")),
        ({"arprotocols": {}, "rprotocols": {"2": address("2"), "1": address("1")}}, ("root://1", "/1/")),
        ({"se": "srm://s:8446", "endpoint": "/path"}, ("srm://s:8446", "/path")),
        ({"arprotocols": [], "rprotocols": None}, ("", "")),
    ],
)
def test_where_a_storage_is(document: dict[str, Any], expected: tuple[str, str]) -> None:
    assert storage_address(document) == expected


def test_forms_of_the_blacklist_and_of_the_matrix() -> None:
    blacklist = {
        "A": {"write_wan": {"status": {"value": "OFF", "reason": "full", "expiration": None}}},
        "B": {"read_wan": "broken", "write_wan": {"status": "OFF", "reason": "r"}},
        "C": {"write_wan": {"status": {"value": "ON"}}},
    }
    found = read(blacklist=blacklist, closeness={"S": {"T": 2, "U": {"closeness": 3}, "V": None}})
    assert found.blacklist == {"A": {"write_wan": "full"}, "B": {"read_wan": "broken", "write_wan": "r"}}
    assert found.closeness == [Link("S", "T", 2), Link("S", "U", 3)]


def test_slips_in_the_document_of_software_are_told() -> None:
    found = read(software={"Q": {"cmtconfig": [], "tags": None, "validated": []}})
    assert found.software == {"Q": {"cmtconfig": [], "validated": []}}
    assert found.warnings == ("software Q: 'cmtconfig' is no known key: did you mean 'cmtconfigs'?",)


def test_what_was_measured_of_the_network() -> None:
    measured = read(
        network={
            "S:T": {
                "files": {"queued": {"Production Output": {"latest": 5, "timestamp": "2026-01-01T12:00:00"}, "X": 2}},
                "mbps": {"rucio": {"1h": 7}, "fts": {"1h": None, "1w": 2.5, "timestamp": "2026-01-01T13:00:00+01:00"}},
            }
        }
    ).network
    assert measured is not None
    (found,) = measured
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert found.queued == {"Production Output": (5, noon), "X": (2, None)}
    assert (found.mbps, found.mbps_at) == ({"week": 2.5}, noon)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"A": {"maxrss": 1}', "it is no JSON"),
        (b"\xff\xfe", "it is no JSON"),
        ("", "it is no JSON"),
        ('{"A": NaN}', "NaN is no number of JSON"),
        ('{"A": 1e999}', "1e999 is no number of JSON"),  # was Infinity afterwards, which PostgreSQL refuses
        ("[" * 200_000, "nested too deeply"),
        ('{"A": {}, "B": {}, "A": {}}', "A: this key is there twice"),
        ('{"A": {"catchall": "a\\u0000b"}}', "A.catchall: it has a character that no database keeps"),
        ('{"A": [{"b": "\\ud800"}]}', r"A\[0\].b: it has a character"),
    ],
)
def test_texts_that_are_refused(text: str | bytes, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        parse_json(text, "a file")


def test_texts_that_are_taken() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": "\\ud83c\\udf8b"}', "a file") == {"a": "\N{TANABATA TREE}"}


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(kind=st.sampled_from(list(GridKind)), document=ANY_JSON)
@settings(max_examples=200, deadline=None)
def test_any_json_is_either_taken_or_refused_with_its_faults(kind: GridKind, document: Any) -> None:
    try:
        found = read_grid({kind: document})
    except Invalid as refused:
        assert refused.faults
        assert all(fault.where and fault.what for fault in refused.faults)
    else:
        assert getattr(found, kind) is not None
        json.dumps(found.queues)


def test_every_column_has_a_default_and_a_kind() -> None:
    assert set(DEFAULTS) | {"site"} == set(COLUMN_OF_KEY)
    assert set(COLUMN_OF_KEY) <= set(KINDS)
    assert (DEFAULTS["corecount"], DEFAULTS["status"], DEFAULTS["vo"]) == (1, "online", None)


@pytest.mark.parametrize("value", [5, "x86_64", ["x86_64"], [{"type": "cpu", "arch": 5}]])
def test_hardware_that_the_broker_cannot_read_is_refused(value: Any) -> None:
    """One such queue stopped the brokerage of every task."""
    assert list(faults(queues={"Q": {"architectures": value}})) == ["queues Q.architectures"]
    read(queues={"Q": {"architectures": [{"type": "cpu", "arch": ["x86_64", "excl"], "instr": None, "vendor": "amd"}]}})
