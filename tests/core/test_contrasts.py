"""What failed jobs have in common that finished ones have not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bamboo.core.contrasts import Tally, chance_of, contrasts, percent


def test_a_bad_node_stands_out() -> None:
    tallies = [Tally("node", "wn1", 23, 4), Tally("node", "wn2", 2, 96), Tally("queue", "Q", 25, 100)]
    (found,) = contrasts(tallies, all_failed=25, all_succeeded=100)
    assert str(found) == ("92 % of failures ran at node wn1, 4 % of successes (23 of 25 failed, 4 of 100 finished)")
    assert found.chance < 1e-15


def test_what_the_same_jobs_have_in_common_is_told_once() -> None:
    tallies = [
        Tally("site", "S1", 9, 1),
        Tally("queue", "Q1", 9, 1),
        Tally("node", "n", 9, 1),
        Tally("node", "m", 9, 1),
    ]
    found = contrasts(tallies, all_failed=18, all_succeeded=90)
    assert [(one.attribute, one.value, one.also) for one in found] == [
        ("node", "m", (("queue", "Q1"), ("site", "S1"))),
        ("node", "n", ()),
    ]
    assert str(found[0]).endswith("; the same jobs ran at queue Q1; the same jobs ran at site S1")


@pytest.mark.parametrize(
    ("tally", "failed", "succeeded"),
    [
        (Tally("node", "few failures", 2, 0), 2, 1000),
        (Tally("node", "all failed", 9, 0), 9, 0),
        (Tally("node", "in both", 50, 500), 50, 500),
        (Tally("node", "a little more often", 60, 40), 100, 100),
        (Tally("node", "may be an accident", 3, 2), 6, 10),
        (Tally("colour", "nobody looks at it", 50, 0), 50, 500),
    ],
    ids=lambda value: getattr(value, "value", ""),
)
def test_what_does_not_stand_out(tally: Tally, failed: int, succeeded: int) -> None:
    assert contrasts([tally], all_failed=failed, all_succeeded=succeeded) == []


def test_many_values_make_no_noise() -> None:
    """What would stand out alone does not among a thousand: some would be so by accident."""
    alone = Tally("node", "n", 4, 4)
    assert contrasts([alone], all_failed=50, all_succeeded=550)
    others = [Tally("input", f"f{n}", 3, 27) for n in range(1000)]
    assert contrasts([alone, *others], all_failed=50, all_succeeded=550) == []


@pytest.mark.parametrize(
    ("counts", "chance"),
    [((3, 1, 4, 4), 17 / 70), ((1, 9, 12, 12), 0.9999663480953), ((10, 2, 15, 12), 0.0123696923468)],
    ids=["tea", "few", "some"],
)
def test_the_test_is_fishers(counts: tuple[int, int, int, int], chance: float) -> None:
    """Fisher's lady who tastes tea; the others by adding up binomial coefficients."""
    assert chance_of(*counts) == pytest.approx(chance, rel=1e-4)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_a_chance_is_a_chance(failed: int, succeeded: int, more_failed: int, more_succeeded: int) -> None:
    chance = chance_of(failed, succeeded, failed + more_failed, succeeded + more_succeeded)
    assert 0 < chance <= 1
    assert chance_of(0, succeeded, more_failed, succeeded + more_succeeded) == pytest.approx(1)


def test_the_clearest_are_told_and_no_more() -> None:
    tallies = [Tally("node", f"n{n}", 100 + n, 0) for n in range(1000)]
    found = contrasts(tallies, all_failed=500_000, all_succeeded=500_000)
    assert [one.value for one in found] == ["n999", "n998", "n997", "n996", "n995"]


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0 %"), (0.004, "<1 %"), (0.924, "92 %"), (0.9999, ">99 %"), (1, "100 %")]
)
def test_shares_in_words(share: float, text: str) -> None:
    assert percent(share) == text
