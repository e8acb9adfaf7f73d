"""`bamboo settings`: typed values under declared names, and a record of who changed them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.admin import declared
from bamboo.core.errors import BadSettings, Invalid, NotFound
from bamboo.core.tunables import Numbers

LIMIT = "jedi.jobthrottle.MAX_QUEUED_JOBS_PER_QUEUE"
Operator = Callable[..., Any]


def test_a_value_is_set_for_everybody_and_for_one_organisation(operator: Operator) -> None:
    assert operator("settings", "get", LIMIT).out == "0\n"
    assert operator("settings", "set", LIMIT, 500).out == f"{LIMIT} is 500\n"
    assert (
        operator("settings", "set", LIMIT, 7, "--vo", "atlas", "--descr", "a small one").out
        == f"{LIMIT} is 7 for atlas\n"
    )
    assert [operator("settings", "get", LIMIT, "--vo", vo).out for vo in ("", "cms", "atlas")] == [
        "500\n",
        "500\n",
        "7\n",
    ]
    listed = operator("settings", "list", "--changed", "--json").json
    assert [(line["name"], line["vo"], line["value"], line["default"]) for line in listed] == [
        (LIMIT, "", "500", "0"),
        (LIMIT, "atlas", "7", "0"),
    ]
    assert listed[1]["help"] == "a small one"
    assert operator("settings", "unset", LIMIT, "--vo", "atlas").error is None
    assert operator("settings", "get", LIMIT, "--vo", "atlas").out == "500\n"
    assert isinstance(operator("settings", "unset", LIMIT, "--vo", "atlas").error, NotFound)


def test_who_changed_what_is_kept(operator: Operator) -> None:
    operator("settings", "set", LIMIT, 5, "--by", "alice")
    operator("settings", "set", LIMIT, 6, "--by", "bob", "--descr", "the disk is full")
    operator("settings", "unset", LIMIT, "--by", "carol")
    told = operator("settings", "history", LIMIT, "--json").json
    assert [line["why"] for line in told] == ["", "the disk is full", ""]
    assert [(line["by"], line["was"], line["is"]) for line in told] == [
        ("carol", "6", None),
        ("bob", "5", "6"),
        ("alice", None, "5"),
    ]
    assert "bob" in operator("settings", "history").out
    assert operator("settings", "history", "a.b.C", "--json").json == []


def test_what_is_not_declared_needs_force(operator: Operator) -> None:
    wrong = LIMIT.replace("JOBS", "JOB")
    refused = operator("settings", "set", wrong, 5).error
    assert isinstance(refused, Invalid)
    assert f"did you mean '{LIMIT}'?" in str(refused)
    assert isinstance(operator("settings", "get", wrong).error, NotFound)
    assert operator("settings", "set", "elsewhere.part.WORD", "x y", "--force").error is None
    assert operator("settings", "get", "elsewhere.part.WORD").out == "x y\n"
    assert operator("settings", "list", "elsewhere", "--json").json[0]["source"] == "no module declares it"


@pytest.mark.parametrize(
    ("words", "error", "told"),
    [
        ((LIMIT, "many"), BadSettings, "'many' is no int"),
        ((LIMIT, "5", "--type", "str"), Invalid, "is int, not str"),
        (("nothing", "5"), Invalid, "it is app.component.KEY"),
        (("bamboo.settings.REFRESH_SECONDS", "nan"), BadSettings, "'nan' is no float"),
        ((LIMIT, "5", "--vo", "v" * 65), Invalid, "--vo: is too long"),
        (("a.b." + "K" * 129, "5", "--force"), Invalid, "is too long"),
    ],
)
def test_a_value_that_cannot_be_is_refused_and_changes_nothing(
    operator: Operator, words: tuple[str, ...], error: type[Exception], told: str
) -> None:
    refused = operator("settings", "set", *words).error
    assert isinstance(refused, error)
    assert told in str(refused)
    assert operator("settings", "list", "--changed", "--json").json == []
    assert operator("settings", "history", "--json").json == []


def test_every_tunable_says_what_it_is(operator: Operator) -> None:
    lines = operator("settings", "list", "--json").json
    assert {line["name"] for line in lines} == set(declared.known())
    assert [one.key for one in declared.known().values() if not one.unit or not one.source] == []
    assert [
        line["name"] for line in lines if not (line["source"] and line["type"] in ("int", "float", "str", "bool"))
    ] == []


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_the_same_on_postgresql(operator: Operator, engine: sa.Engine) -> None:
    operator("settings", "set", LIMIT, 5, "--by", "alice")
    operator("settings", "set", LIMIT, 6, "--by", "alice")
    assert operator("settings", "get", LIMIT).out == "6\n"
    assert len(operator("settings", "history", "--json").json) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pandaserver.gshare.ORDER_SECONDS", "1e300"),  # no pilot got work: the moment is in no calendar
        ("pandaserver.decisions.KEEP_DAYS", "1e9"),
        ("jedi.retry.INPUT_DIVISOR", "0"),
        ("jedi.jobsplitter.CORE_POWER_DEFAULT", "0"),
        ("jedi.scouts.SCOUT_N_AVALANCHED", "9" * 20),  # no column holds it, and each round of the agent failed
        ("jedi.scouts.SCOUT_N_JOBS", "-1"),
        ("jedi.scouts.SCOUT_RAMCOUNT_RANK", "250"),  # there is no such percentile
        ("jedi.scouts.SCOUT_MAX_PORTION", "100000"),
    ],
)
def test_numbers_that_nothing_can_calculate_with_are_refused(operator: Operator, name: str, value: str) -> None:
    refused = operator("settings", "set", name, value).error
    assert isinstance(refused, Invalid)
    assert "is out of range" in str(refused)


def test_the_names_are_known_without_the_extras() -> None:
    """`sql/silence.py` needs the driver of PostgreSQL, which who has SQLite need not install."""
    without = "import sys; sys.modules['psycopg'] = None\n"
    program = "from bamboo.admin.declared import known; print(*known())"
    told = [
        subprocess.run([sys.executable, "-P", "-c", text], capture_output=True, text=True, check=True).stdout.split()
        for text in (program, without + program)
    ]
    assert len(told[0]) > 50
    assert told[0] == told[1]


def test_every_percentage_says_what_is_too_much() -> None:
    percentages = [one for _, one in declared.known().items() if one.unit.startswith("percent")]
    assert percentages
    assert [one.key for one in percentages if one.most > 10_000] == []


def test_numbers_out_of_range_in_the_database_are_read_as_the_bound() -> None:
    """They may be there from before they were refused, or from programs of others."""
    for name, tunable in declared.known().items():
        if tunable.bounds is None:
            continue
        least, most = tunable.bounds
        assert least <= tunable.default <= most, name
        for value, bound in ((10**30, most), (-(10**30), least)):
            read = Numbers({(tunable.app, tunable.component, tunable.key): value})(tunable)
            assert read == type(tunable.default)(bound)
