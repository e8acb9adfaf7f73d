"""The state tables: complete, closed, and printed in the docs as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx
import pytest

from bamboo.admin import states_page
from bamboo.core.states import INPUT_FILES, JOBS, LEASED, QUEUED, TABLES, TASKS, JobState, StateTable, TaskState

ROOT = Path(states_page.__file__).parent.parent

#: Where objects of each kind begin.
FIRST = {
    "task": "registered",
    "job": "pending",
    "input dataset": "defined",
    "output dataset": "defined",
    "input file": "ready",
    "output file": "defined",
    "event": "ready",
}
by_kind = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.kind)


def graph(table: StateTable[Any]) -> networkx.DiGraph:
    return networkx.DiGraph([(state, onward) for state, row in table.rows.items() for onward in row.onward])


@by_kind
def test_every_state_has_a_row_and_says_who_moves_it(table: StateTable[Any]) -> None:
    assert list(table.rows) and set(table.rows) == set(table.states)
    for state, row in table.rows.items():
        assert row.meaning and row.mover, state
        assert (row.mover.startswith("nobody")) == (state in table.final), state


@by_kind
def test_every_state_can_be_reached_from_the_first(table: StateTable[Any]) -> None:
    first = table.states(FIRST[table.kind])
    assert networkx.descendants(graph(table), first) | {first} == set(table.states)


@by_kind
def test_no_state_is_a_dead_end_but_the_final_ones(table: StateTable[Any]) -> None:
    """From wherever an object is, it can still come to an end: a final state, or `done` where there is none."""
    ends = table.final or {state for state in table.states if state in ("done",)}
    for state in table.states:
        assert state in ends or networkx.descendants(graph(table), state) & ends, state


def test_all_states_of_the_manual_are_there() -> None:
    manual = """registered defined assigning ready pending scouting scouted running prepared done failed finished
        aborting aborted finishing topreprocess preprocessing tobroken broken toretry toincexec rerefine paused
        throttled"""
    assert set(manual.split()) | {"exhausted", "passed"} == set(TaskState)
    jobs = (
        "pending defined assigned activated sent starting running holding merging transferring finished failed closed"
    )
    assert set(jobs.split()) | {"cancelled", "waiting", "throttled"} == set(JobState)


def test_job_states_are_irreversible() -> None:
    """Manual ch. 2.13: a job never leaves a final state; the one step back is a claim that never began."""
    assert JOBS.final == {JobState.FINISHED, JobState.FAILED, JobState.CLOSED, JobState.CANCELLED}
    backwards = networkx.simple_cycles(graph(JOBS))
    assert {frozenset(cycle) for cycle in backwards} >= {frozenset({JobState.ACTIVATED, JobState.SENT})}
    assert JobState.ACTIVATED not in JOBS.rows[JobState.STARTING].onward | JOBS.rows[JobState.RUNNING].onward


def test_a_task_that_works_can_be_killed_and_finished() -> None:
    over = {TaskState.DONE, TaskState.FINISHED, TaskState.FAILED, TaskState.ABORTING, TaskState.ABORTED}
    over |= {TaskState.TOBROKEN, TaskState.BROKEN, TaskState.PREPARED}
    for state in set(TaskState) - over:
        assert TASKS.allows(state, TaskState.ABORTING), state


def test_a_finished_input_stays_finished() -> None:
    assert not INPUT_FILES.rows[INPUT_FILES.states("finished")].onward


def test_groups_of_job_states_do_not_overlap() -> None:
    assert not set(LEASED) & set(QUEUED)
    assert not (set(LEASED) | set(QUEUED)) & JOBS.final


def test_a_state_is_its_word() -> None:
    assert str(JobState.RUNNING) == f"{JobState.RUNNING}" == JobState.RUNNING == "running"


def test_the_docs_page_is_printed_from_the_tables() -> None:
    assert (ROOT / "docs" / "states.md").read_text() == states_page.page()
