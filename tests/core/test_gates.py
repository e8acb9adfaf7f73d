"""Gates and tunables: who passes, what is said of the others, and which value counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bamboo.core.gates import Gate, Refusal, pass_through
from bamboo.core.tunables import Numbers, known, tunable

LIMIT = tunable("tests", "gates", "LIMIT_", 10, unit="apples", source="this test")


def at_most(limit: int, apples: int) -> Refusal | None:
    return None if apples <= limit else Refusal(f"{apples - limit} fewer apples", apples - limit)


def even(limit: int, apples: int) -> Refusal | None:
    return Refusal("one apple more") if apples % 2 else None


GATES = (Gate("few", at_most), Gate("even", even))


def test_each_gate_says_how_many_came_and_went_and_who_was_nearest() -> None:
    passage = pass_through(GATES, 5, [2, 3, 4, 7, 9], str)
    assert list(passage.left) == [2, 4]
    assert passage.why() == {
        "passed": 2,
        "gates": [
            {"gate": "few", "in": 5, "out": 3, "example": "7", "change": "2 fewer apples"},
            {"gate": "even", "in": 3, "out": 2, "example": "3", "change": "one apple more"},
        ],
    }
    assert passage.refused["9"] == ("few", Refusal("4 fewer apples", 4))


@given(st.integers(0, 20), st.sets(st.integers(0, 20)))
def test_everybody_is_left_or_refused_and_only_by_a_gate_that_refuses(limit: int, apples: set[int]) -> None:
    passage = pass_through(GATES, limit, sorted(apples), str)
    assert {*map(str, passage.left)} | passage.refused.keys() == {*map(str, apples)}
    assert all(gate.check(limit, one) is None for one in passage.left for gate in GATES)
    by_name = {gate.name: gate for gate in GATES}
    assert all(by_name[gate].check(limit, int(who)) == refusal for who, (gate, refusal) in passage.refused.items())


def test_a_number_for_an_activity_wins_over_the_general_one_and_both_over_the_default() -> None:
    assert Numbers()(LIMIT) == Numbers()(LIMIT, "user") == 10
    changed = Numbers().having(LIMIT, 20)
    assert (changed(LIMIT), changed(LIMIT, "user")) == (20, 20)
    assert changed.having(LIMIT, 0, "user")(LIMIT, "user") == 0
    assert changed.having(LIMIT, 0, "user")(LIMIT, "test") == 20
    assert LIMIT in known()


def test_a_name_is_declared_once() -> None:
    with pytest.raises(ValueError, match="declared twice"):
        tunable("tests", "gates", "LIMIT_", 11, unit="apples", source="this test")
