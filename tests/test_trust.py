"""The page of promises is true: what it names are tests, and it leaves no fault out."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "trust.md").read_text()
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
N_FAULTS, N_PROMISES = 46, 7


def is_test(file: str, name: str) -> bool:
    path = TESTS / file
    return path.is_file() and any(
        isinstance(one, ast.FunctionDef) and one.name == name for one in ast.walk(ast.parse(path.read_text()))
    )


def test_what_is_named_as_a_test_is_one() -> None:
    named = NAMED.findall(PAGE)
    assert len(named) > 60
    assert [f"{file}::{name}" for file, name in named if not is_test(file, name)] == []


def test_every_promise_has_its_tests() -> None:
    told = PAGE.partition("## Promises")[2].partition("## Faults")[0]
    promises = re.split(r"^\d\. ", told, flags=re.MULTILINE)[1:]
    assert len(promises) == N_PROMISES
    assert [promise.split("\n")[0] for promise in promises if not NAMED.search(promise)] == []


def test_every_fault_has_a_test_or_a_reason_why_not() -> None:
    rows = dict(re.findall(r"^\| (F\d\d) \| [^|]+ \| (.+) \|$", PAGE, flags=re.MULTILINE))
    assert sorted(rows) == [f"F{number:02}" for number in range(1, N_FAULTS + 1)]
    assert [fault for fault, told in rows.items() if not (NAMED.search(told) or "not covered" in told)] == []
