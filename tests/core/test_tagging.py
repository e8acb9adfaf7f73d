"""Tags: which share, resource type and work queue take a task."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bamboo.core.errors import Invalid
from bamboo.core.shares import UNDEFINED, Share, grow
from bamboo.core.tagging import (
    ResourceType,
    WorkQueue,
    check_resource_types,
    check_work_queues,
    resource_type_of,
    share_of,
    work_queue_of,
)

TREE = grow(
    [
        Share("production", None, 60, patterns={"prod_source_label": "managed|test"}),
        Share("higgs", "production", 50, patterns={"working_group": "(AP|GP)_Higgs"}),
        Share("mc", "production", 50, match_order=1),
        Share("analysis", None, 40, match_order=2, patterns={"prod_source_label": "user", "vo": "wlcg"}),
    ]
)


@pytest.mark.parametrize(
    ("work", "share"),
    [
        ({"prod_source_label": "managed", "working_group": "AP_Higgs"}, "higgs"),
        ({"prod_source_label": "managed", "working_group": "AP_Higgs2"}, "mc"),  # the whole text has to match
        ({"prod_source_label": "test", "working_group": None}, "mc"),
        ({"prod_source_label": "user", "working_group": "AP_Higgs", "vo": "wlcg"}, "analysis"),  # not in production
        ({"prod_source_label": "user", "vo": "other"}, UNDEFINED),
    ],
)
def test_the_first_leaf_takes_it_whose_expressions_and_those_above_match(work: dict[str, str], share: str) -> None:
    assert share_of(TREE, work) == share


def test_of_leaves_with_the_same_order_the_one_that_says_more_is_tried_first() -> None:
    shares = [Share("all", None, 1), Share("some", None, 1, patterns={"campaign": "mc2.*"})]
    assert share_of(grow(shares), {"campaign": "mc23"}) == "some"
    assert share_of(grow(shares), {"campaign": "data"}) == "all"
    first = [Share("all", None, 1, match_order=-1), shares[1]]
    assert share_of(grow(first), {"campaign": "mc23"}) == "all"


TYPES = [
    ResourceType(UNDEFINED),
    ResourceType("SCORE", 1, 1, 0, 2000),
    ResourceType("SCORE_HIMEM", 1, 1, 2001),
    ResourceType("MCORE", 2, None, 0, 2000),
    ResourceType("MCORE_HIMEM", 2, None, 2001),
]


@pytest.mark.parametrize(
    ("cores", "ram_mb", "kind"),
    [
        (1, 0, "SCORE"),
        (0, 2000, "SCORE"),
        (1, 2001, "SCORE_HIMEM"),
        (8, 16_000, "MCORE"),
        (8, 16_001, "MCORE_HIMEM"),  # 2000.125 MB for each core
    ],
)
def test_cores_and_memory_of_a_core_make_the_type(cores: int, ram_mb: int, kind: str) -> None:
    assert resource_type_of(TYPES, cores, ram_mb) == kind


@given(st.permutations(TYPES), st.integers(0, 256), st.integers(0, 10_000_000))
def test_there_is_always_a_type_whatever_the_order_of_the_rows(types: list[ResourceType], cores: int, ram: int) -> None:
    kind = resource_type_of(types, cores, ram)
    assert kind != UNDEFINED
    assert kind == resource_type_of(TYPES, cores, ram)
    assert resource_type_of([TYPES[0]], cores, ram) == UNDEFINED


def test_the_first_work_queue_of_the_activity_whose_criteria_match() -> None:
    queues = [
        WorkQueue(7, "rest", "any", "any"),
        WorkQueue(2, "high", "managed", "wlcg", criteria={"gshare": "higgs", "resource_type": "MCORE.*"}),
        WorkQueue(3, "users", "user", "wlcg"),
    ]
    work = {"prod_source_label": "managed", "vo": "wlcg", "gshare": "higgs", "resource_type": "MCORE_HIMEM"}
    assert work_queue_of(queues, work) == 2
    assert work_queue_of(queues, {**work, "resource_type": "SCORE"}) == 7
    assert work_queue_of(queues, {**work, "prod_source_label": "user"}) == 3
    assert work_queue_of(queues[1:], {**work, "vo": "other"}) is None


def test_what_is_wrong_with_types_and_work_queues_is_said_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        check_resource_types([ResourceType("A", 4, 2), ResourceType("A", 1, 1, 10, 5)])
    assert [fault.where for fault in caught.value.faults] == ["resource type A"] * 3 + ["resource types"]
    with pytest.raises(Invalid) as caught:
        check_work_queues([WorkQueue(1, "a", "any", "any", criteria={"colour": "red"}), WorkQueue(1, "", "any", "any")])
    assert [fault.where for fault in caught.value.faults] == ["work queue 1", "work queue a, colour", "work queue 1"]
