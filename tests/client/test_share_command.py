"""`bamboo share`: what an administrator sees, changes and is told."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from world import World

from bamboo.admin.cli.share import share as group
from bamboo.core.clock import ManualClock
from bamboo.core.errors import Invalid, NotFound
from bamboo.core.tunables import known
from bamboo.sql import counts

DOCS = Path(__file__).parents[2] / "docs" / "shares.md"
SHARES = [
    {"name": "production", "value": 60, "prod_source_label": "managed"},
    {"name": "mc", "parent": "production", "value": 50, "match_order": 1},
    {"name": "data", "parent": "production", "value": 50, "campaign": "data.*"},
    {"name": "analysis", "value": 40, "prod_source_label": "user"},
]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite: the statements are tested on both databases elsewhere."""
    return sqlite_url


@pytest.fixture
def share(database_url: str) -> Callable[..., Result]:
    """Runs `bamboo share VERB --db URL …`; errors come out as they are."""

    def _share(verb: str, *words: str) -> Result:
        result = CliRunner().invoke(group, [verb, "--db", database_url, *words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return _share


@pytest.fixture
def imported(share: Callable[..., Result], tmp_path: Path) -> Callable[..., Result]:
    """Imports a document."""

    def _import(document: object, *words: str) -> Result:
        path = tmp_path / "shares.json"
        path.write_text(json.dumps(document))
        return share("import", str(path), *words)

    return _import


def test_without_shares_it_says_what_that_means(share: Callable[..., Result]) -> None:
    assert "pilots get jobs by priority alone" in share("list").stderr
    assert json.loads(share("tree", "--json").stdout) == []


def test_the_tree_shows_use_against_targets(
    share: Callable[..., Result], imported: Callable[..., Result], engine: sa.Engine, clock: ManualClock
) -> None:
    world = World(engine, clock).start(40)
    world.generate(30, gshare="analysis")
    world.claim(19)
    world.generate(5, gshare="mc")
    with engine.begin() as tx:
        counts.replace(tx, now=clock())
    imported({"shares": SHARES})
    # 20 slots: analysis 8; production 12, of which data, with no work, leaves its 6 to mc, which has 5: 1 goes up
    rows = {row["share"]: row for row in json.loads(share("tree", "--json").stdout)}
    assert {name: round(row["target"], 6) for name, row in rows.items()} == {
        "analysis": 15, "production": 5, "data": 0, "mc": 5, "Undefined": 0
    }  # fmt: skip
    assert (rows["production"]["queued"], rows["mc"]["level"], rows["mc"]["percent"]) == (5, 1, pytest.approx(30))
    assert [row["share"] for row in json.loads(share("list", "--json").stdout)][:2] == ["mc", "analysis"]
    lines = share("tree").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["analysis", "production", "data", "mc", "Undefined"]
    assert "  mc" in lines[4] and "100 %" in lines[4]


def test_an_edit_tags_queued_work_anew(
    share: Callable[..., Result], imported: Callable[..., Result], engine: sa.Engine, clock: ManualClock
) -> None:
    world = World(engine, clock).start(2)
    world.generate(2)
    assert "1 tasks and 2 jobs have new tags" in imported({"shares": SHARES}, "--retag").stdout
    assert {job.gshare for job in world.jobs().values()} == {"analysis"}
    share("set", "users", "value=10", "match_order=-1", "prod_source_label=user")
    assert "the shares at the top sum up to 110" in share("tree").stderr
    assert "1 tasks and 2 jobs have new tags" in share("retag").stdout
    assert {job.gshare for job in world.jobs().values()} == {"users"}
    assert "1 tasks and 2 jobs have new tags" in share("remove", "users", "--retag").stdout


def test_set_changes_what_is_named_and_nothing_else(
    share: Callable[..., Result], imported: Callable[..., Result]
) -> None:
    imported({"shares": SHARES})
    share("set", "data", "value=45", "parent=", "campaign=")
    (row,) = [row for row in json.loads(share("list", "--json").stdout) if row["share"] == "data"]
    assert (row["value"], row["parent"], row["patterns"]) == (45, None, {})
    with pytest.raises(Invalid) as caught:
        share("set", "new", "valu=1", "match_order=x")
    assert [str(fault) for fault in caught.value.faults] == [
        "valu: is no attribute of a share (did you mean 'value'?)",
        "value: missing (a new share needs one, such as value=60)",
        "match_order: 'x' is no int (such as 60)",
    ]
    with pytest.raises(Invalid) as caught:
        share("set", "new", "parent=nosuch")
    assert [fault.where for fault in caught.value.faults] == ["value", "parent"]
    with pytest.raises(Invalid, match="is no KEY=VALUE"):
        share("set", "data", "45")
    with pytest.raises(NotFound, match="there is no share nobody"):
        share("remove", "nobody")


def test_an_import_is_checked_whole_before_anything_changes(
    share: Callable[..., Result], imported: Callable[..., Result]
) -> None:
    assert imported({"shares": SHARES}, "--dry-run").stdout == "the file can be imported\n"
    assert json.loads(share("list", "--json").stdout) == []
    with pytest.raises(Invalid) as caught:
        imported({"shares": [{"name": "a", "value": "x"}, {"value": 1}], "colours": []})
    assert {fault.where for fault in caught.value.faults} == {"shares[0].value", "shares[1].name", "colours"}
    with pytest.raises(Invalid) as caught:
        imported({"shares": SHARES[1:3], "resource_types": []})
    assert len(caught.value.faults) == 3
    with pytest.raises(Invalid, match="is no JSON object"):
        imported([])


def test_the_page_does_what_it_shows(share: Callable[..., Result], imported: Callable[..., Result]) -> None:
    page = DOCS.read_text()
    commands = re.findall(r"^\$ bamboo share (.+)$", page, re.MULTILINE)
    assert [share(*shlex.split(line)).exit_code for line in commands] == [0] * 5
    rows = json.loads(share("tree", "--json").stdout)
    assert {row["share"]: row["percent"] for row in rows} == {
        "analysis": 40, "production": 60, "data": 30, "mc": 30, "Undefined": 0
    }  # fmt: skip
    (document,) = re.findall(r"```json\n(.+?)```", page, re.DOTALL)
    assert imported(json.loads(document)).exit_code == 0


def test_the_page_lists_the_numbers_with_their_defaults() -> None:
    import bamboo.core.partitions
    import bamboo.server.share_order  # noqa: F401 - which declare them

    ours = [one for one in known() if one.component == "gshare" or one.key.startswith(("PARTITION_", "WORK_QUEUE_"))]
    listed = re.findall(
        r"^\| `(\w+)` `(\w+)` `(\w+?)(?:<share>|<work queue>)?` \| ([\d.]+) \|", DOCS.read_text(), re.MULTILINE
    )
    assert sorted((app, component, key, float(value)) for app, component, key, value in listed) == [
        (one.app, one.component, one.key, float(one.default))
        for one in sorted(ours, key=lambda t: (t.app, t.component, t.key))
    ]
