"""Changes that are tried out: what is typed, what it changes, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest
from grid_scenarios import snapshot

from bamboo.core.errors import Invalid
from bamboo.core.queue_keys import KINDS
from bamboo.plugins.generic.job_broker import GenericJobBroker
from bamboo.plugins.production import ProductionJobBroker
from bamboo.plugins.questions import Question
from bamboo.plugins.what_if import (
    LINK,
    QUEUE_ACTIVITY,
    STORAGE,
    TASK_COLUMNS,
    TASK_RULES,
    Edit,
    _settings,
    changed,
    parse,
)
from bamboo.sql.queue_values import COLUMN_OF_KEY

GRID: dict[str, Any] = {
    "task": {"memory_mb": 4000, "nucleus": "B_DISK"},
    "queues": {"A": {"maxrss": 2000, "storage": "A_DISK"}, "B": {"maxrss": 2000}},
    "storages": {"A_DISK": {"site": "A", "free_gb": 1}, "B_DISK": {"site": "B"}},
    "links": {"A -> B": {"blocked": "broken"}},
}


def chosen(*texts: str) -> list[str]:
    question = changed(Question(*snapshot(GRID)), parse(texts))
    choice = ProductionJobBroker().choose_queue(question.task, question.queues, question.grid)
    assert choice is not None
    return sorted(choice.chosen)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((), []),
        (("memory=2000",), ["B"]),
        (("task.memory_mb=2000",), ["B"]),
        (("maxrss=4000",), ["B"]),
        (("A:maxrss=4000",), []),
        (("B:maxrss=4000",), ["B"]),
        (("memory=2000", "A:link.blocked=null"), ["B"]),  # and its storage is full
        (("memory=2000", "A:link.blocked=null", "A:storage.free_gb=900"), ["A", "B"]),
        (("memory=2000", "link.blocked=null", "MIN_FREE_SPACE_GB=0"), ["A", "B"]),
        (("memory=2000", "B:status=offline"), []),
        (("memory=2000", "B:jobs.activated=99"), []),
        (("memory=2000", "excludedSite=B"), []),
        (("memory=2000", "last_pilot_hours_ago=9"), []),
    ],
)
def test_a_change_is_made_where_it_belongs(texts: tuple[str, ...], expected: list[str]) -> None:
    assert chosen(*texts) == expected


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        parse(
            [
                *("memory", "memry=1", "task.memory_mb=much", "A:maxrss=-1", "A:task.priority=1"),
                *("thing.x=1", "link.speed=1"),
            ]
        )
    told = {fault.where: fault.what for fault in caught.value.faults}
    assert told == {
        "memory": "is no KEY=VALUE",
        "memry=1": "'memry' is not known",
        "memory_mb": "'much' is no number from 0 to 2147483647",
        "A:maxrss": "-1 is no number of zero or more",
        "A:priority": "a task has no queue",
        "thing.x=1": "'thing' is nothing that can be changed",
        "speed": "is no link key",
    }


@pytest.mark.parametrize(
    ("text", "what", "do"),
    [
        ("jobs.nostate=3", "'nostate' is no state in which jobs are counted", "one of pending, defined, waiting,"),
        ("jobs.finished=3", "'finished' is no state in which jobs are counted", "one of pending, defined, waiting,"),
        ("jobs.running=-1", "-1 is no whole number from 0 to 1000000000000", "give jobs"),
        ("jobs.running=1.5", "1.5 is no whole number from 0 to 1000000000000", "give jobs"),
        ("memory=-1", "-1 is no number from 0 to 2147483647", "give the memory of a job in MB"),
        ("nCore=0", "0 is no whole number from 1 to 4096", "give the cores of a job"),
        ("nCore=1.5", "1.5 is no whole number from 1 to 4096", "give the cores of a job"),
        ("priority=true", "True is no whole number from -10000 to 10000", "give a priority"),
        ("nFilesPerJob=0", "0 is no whole number from 1 to 2147483647", "give the input files of a job"),
        ("t1Weight=-2", "-2 is no whole number from -1 to 1000", "give -1 for the nucleus only, else 0 or more"),
        ("cpuTimeUnit=seconds", "'seconds' is no value that there is", "one of HS06sPerEvent, mHS06sPerEvent,"),
        ("ipConnectivity=some", "'some' is no network", "full, http or none, and then #IPv4 or #IPv6 if need be"),
        ("useLocalIO=maybe", "'maybe' is no value that there is", "one of true, false"),
        ("excludedSite=3", "3 is no list of names", "such as A,B"),
        ("architecture=3", "3 is no text", "in quotes it is one: KEY='"),
        ("last_pilot_hours_ago=-1", "-1 is no number from 0 to 876600", "give hours"),
        ("batch_workers=0.5", "0.5 is no whole number from 0 to 1000000000000", "give batch jobs"),
        ("numSlots=-1", "-1 is no number of zero or more", "give a whole number up to"),
        ("link.closeness=12", "12 is no whole number from 0 to 11", "give 0 for the nearest to 11 for the farthest"),
        ("link.blocked=0", "0 is no reason", "why nothing may be sent, or null"),
        ("storage.free_gb=-1", "-1 is no number from 0 to 1000000000000", "give GB"),
        ("storage.state=full", "'full' is no value that there is", "one of ACTIVE, DISABLED"),
        ("storage.nucleus=5", "5 is no value that there is", "one of true, false"),
        ("NQUEUED_SAT_CAP=-1", "-1 is no whole number from 0 to 2147483647", "give files"),
    ],
)
def test_a_value_that_means_nothing_is_refused_with_what_is_allowed(text: str, what: str, do: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse([text])
    (fault,) = caught.value.faults
    assert (fault.where, fault.what) == (text.partition("=")[0].rpartition(".")[2], what)
    assert fault.do.startswith(do)


@pytest.mark.parametrize("text", ["nCore=4096", "memory=0", "priority=-10000", "nGBPerJob=1.5", "jobs.starting=0"])
def test_the_ends_of_what_is_allowed(text: str) -> None:
    assert len(parse([text])) == 1


def test_queues_that_there_are_not_are_told_with_all_else() -> None:
    with pytest.raises(Invalid) as caught:
        parse(["AA:maxrss=1", "AA:status=online", "memory=-1"], {"A", "B"})
    assert sorted(fault.where for fault in caught.value.faults) == ["AA", "memory"]


def test_a_queue_that_there_is_not() -> None:
    with pytest.raises(Invalid, match="AA: is no queue"):
        chosen("AA:maxrss=4000")


def test_values_are_json_or_text() -> None:
    assert parse(['releases=["x"]', "task.site=A", "vo="]) == [
        Edit("queue", "releases", ["x"]),
        Edit("task", "site", "A"),
        Edit("task", "vo", ""),
    ]


HOSTILE = ("1e300", "NaN", "-1e999", "-5", "0", "3", "[]", "{}", "true", "null", '"x"', "9" * 30)


@pytest.mark.parametrize("value", HOSTILE)
def test_whatever_is_tried_is_refused_or_answered(value: str) -> None:
    """A number for a site and an age that is in no calendar were failures of the server."""
    answered = 0
    for noun, keys in (
        ("task", (*TASK_COLUMNS, *TASK_RULES)),
        ("queue", (*COLUMN_OF_KEY, *KINDS, *QUEUE_ACTIVITY)),
        ("link", LINK),
        ("storage", STORAGE),
        ("jobs", ("activated",)),
        ("setting", _settings()),
    ):
        for key in keys:
            try:
                edits = parse([f"{noun}.{key}={value}"])
            except Invalid:
                continue
            question = changed(Question(*snapshot(GRID)), edits)
            ProductionJobBroker().choose_queue(question.task, question.queues, question.grid)
            GenericJobBroker().choose_queue(question.task, question.queues, question.grid)
            answered += 1
    assert answered
