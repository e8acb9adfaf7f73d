"""`bamboo audit`: who changed shares, storages and retry rules, with what it was before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Operator = Callable[..., Any]
pytestmark = pytest.mark.parametrize("database_url", ["sqlite", "postgres"], indirect=True)


def changes(operator: Operator, *words: str) -> list[tuple[Any, ...]]:
    rows = operator("audit", "--json", *words).json
    keys = ("actor", "what", "name", "before", "after")
    return [tuple(row[key] for key in keys) for row in reversed(rows)]


def test_shares(operator: Operator, tmp_path: Path) -> None:
    assert operator("share", "set", "Prod", "value=60", "--by", "ann").error is None
    assert operator("share", "set", "Prod", "value=60", "--by", "bob").error is None
    assert operator("share", "set", "Prod", "value=70", "--by", "bob").error is None
    file = tmp_path / "shares.json"
    file.write_text(json.dumps({"shares": [{"name": "Other", "value": 5}]}))
    assert operator("share", "import", file, "--dry-run", "--by", "eve").out.endswith("the file can be imported\n")
    assert operator("share", "import", file, "--by", "carol").error is None
    assert operator("share", "remove", "Other", "--by", "dan").error is None
    found = [
        (by, what, name, before and before["value"], after and after["value"])
        for by, what, name, before, after in changes(operator)
    ]
    assert found == [
        ("ann", "share", "Prod", None, 60),
        ("bob", "share", "Prod", 60, 70),
        ("carol", "share", "Other", None, 5),
        ("carol", "share", "Prod", 70, None),
        ("dan", "share", "Other", 5, None),
    ]
    told = operator("audit").out
    assert "value 60" in told and "removed" in told
    assert changes(operator, "--what", "storage") == []
    assert len(changes(operator, "--limit", "2")) == 2


def test_storages_and_retry_rules(operator: Operator) -> None:
    place = ("storage", "set", "DISK", "--site", "S")
    assert operator(*place, "--path", "/a", "--by", "ann").error is None
    assert operator(*place, "--path", "/b", "--by", "bob").error is None
    rule = ("retry-rules", "add", "mine", "--action", "no_retry", "--source", "pilot", "--code", "1")
    added = operator(*rule, "--by", "ann")
    assert added.error is None, added
    assert operator("retry-rules", "disable", "mine", "--by", "bob").error is None
    assert operator("retry-rules", "remove", "mine", "--by", "carol").error is None
    found = changes(operator)
    assert [row[:3] for row in found] == [
        ("ann", "storage", "DISK"),
        ("bob", "storage", "DISK"),
        ("ann", "retry rule", "mine"),
        ("bob", "retry rule", "mine"),
        ("carol", "retry rule", "mine"),
    ]
    (_, first, _, second, third) = (row[3:] for row in found)
    assert (first[0]["path"], first[1]["path"]) == ("/a/", "/b/")
    assert (second[0]["active"], second[1]["active"]) == (True, False)
    assert third[0]["error_code"] == 1 and third[1] is None
