"""The built-in data catalogue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.core.errors import NotFound
from bamboo.sql import catalogue
from bamboo.sql import tables as t


def row(lfn: str, **more: Any) -> dict[str, Any]:
    return {"lfn": lfn, "url": f"file:///{lfn}", "size_bytes": 5, "adler32": "00000001", **more}


@pytest.fixture
def add(engine: sa.Engine, clock: ManualClock) -> Callable[..., int]:
    """Registers files in a dataset, which is made if need be; gives how many were new."""

    def _add(name: str, *lfns: str) -> int:
        with engine.begin() as tx:
            dataset = catalogue.ensure_dataset(tx, name, user_name="alice", now=clock())
            return catalogue.add_files(tx, dataset, [row(lfn) for lfn in lfns], now=clock())

    return _add


def names(engine: sa.Engine, **wanted: Any) -> list[str]:
    with engine.connect() as tx:
        return [found.name for found in catalogue.list_datasets(tx, **wanted)]


def test_files_are_added_once(engine: sa.Engine, add: Callable[..., int]) -> None:
    assert add("d", "a", "b") == 2
    assert add("d/", "b", "c", "c") == 1
    with engine.connect() as tx:
        files = catalogue.list_files(tx, catalogue.dataset_id(tx, "d"))
        (dataset,) = catalogue.list_datasets(tx)
    assert [file.lfn for file in files] == ["a", "b", "c"]
    assert len({file.guid for file in files}) == 3
    assert (dataset.name, dataset.n_files, dataset.size_bytes, dataset.user_name) == ("d", 3, 15, "alice")


def test_files_of_many_datasets_are_added_once(engine: sa.Engine, clock: ManualClock, add: Callable[..., int]) -> None:
    add("user.alice.old", "a")
    files = {
        "user.alice.old/": [row("a", guid="again"), row("b", scope="s")],
        "user.bob.new": [row("a", pandaid=7), row("c"), row("c")],
        "mc:empty": [],
    }
    with engine.begin() as tx:
        assert catalogue.add_files_of_many(tx, files, user_name="carol", now=clock()) == 3
        assert catalogue.add_files_of_many(tx, files, user_name="carol", now=clock()) == 0
    with engine.connect() as tx:
        owners = {found.name: found.user_name for found in catalogue.list_datasets(tx)}
        old, new = (
            [(file.lfn, file.scope, file.pandaid) for file in catalogue.list_files(tx, catalogue.dataset_id(tx, name))]
            for name in ("user.alice.old", "user.bob.new")
        )
    assert owners == {"mc:empty": "carol", "user.alice.old": "alice", "user.bob.new": "carol"}
    assert old == [("a", "user.alice", None), ("b", "s", None)]
    assert new == [("a", "user.bob", 7), ("c", "user.bob", None)]


def test_what_a_file_brings_along_is_kept(engine: sa.Engine, clock: ManualClock) -> None:
    with engine.begin() as tx:
        dataset = catalogue.ensure_dataset(tx, "d", user_name="alice", now=clock())
        rows = [row("a", guid="g", scope="s", n_events=7, pandaid=9), row("b")]
        catalogue.add_files(tx, dataset, rows, now=clock())
        full, bare = catalogue.list_files(tx, dataset)
    assert (full.guid, full.scope, full.n_events, full.pandaid) == ("g", "s", 7, 9)
    assert (bare.scope, bare.n_events, bare.pandaid) == ("d", None, None)  # the scope of its dataset


def test_files_come_page_by_page(engine: sa.Engine, add: Callable[..., int]) -> None:
    lfns = [f"f{n:02d}" for n in range(7)]
    add("d", *reversed(lfns))
    add("e", "f00a")
    pages: list[list[str]] = []
    after = ""
    with engine.connect() as tx:
        dataset = catalogue.dataset_id(tx, "d")
        while page := [file.lfn for file in catalogue.list_files(tx, dataset, after=after, limit=3)]:
            pages.append(page)
            after = page[-1]
    assert pages == [lfns[:3], lfns[3:6], lfns[6:]]


def test_a_pattern_means_what_it_says(engine: sa.Engine, add: Callable[..., int]) -> None:
    made = ["100%.a", "100x.a", "user_a.b", "userxa.b", "USER_A.b", "back\\slash"]
    for name in made:
        add(name)
    assert names(engine, pattern="100%*") == ["100%.a"]
    assert names(engine, pattern="user_*") == ["user_a.b"]
    assert names(engine, pattern="*slash") == ["back\\slash"]
    assert sorted(names(engine, pattern="*.b")) == ["USER_A.b", "user_a.b", "userxa.b"]
    assert names(engine, pattern="user_a") == []
    assert sorted(names(engine)) == sorted(made)


def test_datasets_come_page_by_page(engine: sa.Engine, add: Callable[..., int]) -> None:
    for name in "cab":
        add(name)
    assert names(engine, limit=2) == ["a", "b"]
    assert names(engine, after="b") == ["c"]


def test_the_scope_is_what_the_name_says(engine: sa.Engine, add: Callable[..., int]) -> None:
    assert catalogue.scope_of("mc:mc.x.y/") == "mc"
    assert catalogue.scope_of("user.alice.a.b/") == "user.alice"
    add("user.alice.a/")
    with engine.connect() as tx:
        assert tx.scalar(sa.select(t.catalogue_datasets.c.scope)) == "user.alice"


def test_a_dataset_that_is_not_there(engine: sa.Engine) -> None:
    with engine.connect() as tx, pytest.raises(NotFound, match="there is no dataset d"):
        catalogue.dataset_id(tx, "d")


def test_of_many_at_once_one_makes_the_dataset(
    engine: sa.Engine, clock: ManualClock, at_once: Callable[..., Any]
) -> None:
    def make(number: int) -> int:
        with engine.begin() as tx:
            return catalogue.ensure_dataset(tx, "d", user_name=f"u{number}", now=clock())

    assert len(set(at_once(5, make))) == 1
    assert names(engine) == ["d"]
