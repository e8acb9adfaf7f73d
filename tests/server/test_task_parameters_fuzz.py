"""Parameters of tasks that somebody has spoiled: each is taken, or refused with all that is wrong with it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from fuzzing import altered, examples
from hypothesis import given
from hypothesis import strategies as st

from bamboo.core.errors import Invalid
from bamboo.core.task_parameters import TaskParameters
from bamboo.tests.server.conftest import CAPTURES, Api

OF_JEDI = CAPTURES.parents[1] / "jedi" / "captures"
SOURCES = [
    found["task_parameters"]
    for folder in (CAPTURES, OF_JEDI)
    for path in sorted(folder.glob("*.json"))
    if "task_parameters" in (found := json.loads(path.read_text()))
    and "preproSpec" not in found["task_parameters"]  # which is not supported yet
]
#: What these keys cannot be, whatever else is wrong.
WRONG: dict[str, Any] = {
    "nFilesPerJob": "many",
    "nFiles": [],
    "coreCount": {},
    "ramCount": "much",
    "maxAttempt": "often",
    "noEmail": "perhaps",
    "vo": 7.5,
    "taskPriority": "high",
    "jobParameters": "-p x",
    "log": "l.tgz",
    "nope": 1,
}


def faults(raw: dict[str, Any]) -> set[str]:
    """The places of what is wrong, none for a task that is taken."""
    try:
        TaskParameters.parse(raw)
    except Invalid as error:
        assert error.faults
        assert all(fault.where.startswith("task_parameters.") and fault.what for fault in error.faults), error
        return {fault.where.removeprefix("task_parameters.") for fault in error.faults}
    return set()


def test_what_is_spoiled_was_good() -> None:
    assert len(SOURCES) > 20
    assert [faults(raw) for raw in SOURCES if faults(raw)] == []


@examples(400)
@given(raw=altered(SOURCES))
def test_no_parameters_make_a_bug(raw: dict[str, Any]) -> None:
    faults(raw)


@examples(100)
@given(raw=altered(SOURCES), keys=st.sets(st.sampled_from(sorted(WRONG)), min_size=2))
def test_all_faults_are_told_at_once(raw: dict[str, Any], keys: set[str]) -> None:
    told = faults({**raw, **{key: WRONG[key] for key in keys}})
    assert keys <= {re.split(r"[.[]", where)[0] for where in told}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_no_submission_makes_a_bug(api: Api) -> None:
    taken = []

    @examples(60)
    @given(raw=altered(SOURCES))
    def hold(raw: dict[str, Any]) -> None:
        answer = api.post("task/submit", {"task_parameters": raw})
        taken.append(answer["success"])
        assert answer["success"] or answer["code"], answer

    hold()
    assert {True, False} <= set(taken)
