"""Global shares: targets worked by hand from the manual (ch. 14.1, 14.4), what must hold of any tree, and a simulation.

The tree of the examples, with percents of the parent:

    production 60 ── mc 50 ── sim 80, evgen 20
                  └─ data 50
    analysis   40 ── users 75, groups 25
"""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bamboo.core.errors import Invalid
from bamboo.core.shares import UNDEFINED, Share, Tree, Usage, after, entitlements, grow, stand, targets, turns

SHARES = [
    Share("production", None, 60),
    Share("mc", "production", 50),
    Share("sim", "mc", 80),
    Share("evgen", "mc", 20),
    Share("data", "production", 50),
    Share("analysis", None, 40),
    Share("users", "analysis", 75),
    Share("groups", "analysis", 25),
]
#: Of 1000 slots: production 600 = mc 300 (sim 0.8 * 300 = 240, evgen 60) + data 300; analysis 400 = 300 + 100.
ENTITLED = {"sim": 240, "evgen": 60, "data": 300, "users": 300, "groups": 100}
PLENTY = dict.fromkeys(ENTITLED, 1e6)


def leaves(given: dict[str, float]) -> dict[str, float]:
    return {name: given[name] for name in ENTITLED}


def test_with_work_everywhere_each_share_gets_its_part() -> None:
    assert leaves(targets(grow(SHARES), 1000, PLENTY)) == pytest.approx(ENTITLED)
    assert leaves(entitlements(grow(SHARES), 1000)) == pytest.approx(ENTITLED)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        # evgen leaves 60 - 10 = 50 to its sibling sim; nobody else sees any of it
        ({"evgen": 10}, {"evgen": 10, "sim": 290}),
        # mc as a whole wants 100 of 300: the 200 go to its sibling data
        ({"sim": 80, "evgen": 20}, {"sim": 80, "evgen": 20, "data": 500}),
        # production wants 200 of 600: the 400 go up, to analysis with 800: users 600, groups 200
        ({"sim": 0, "evgen": 0, "data": 200}, {"sim": 0, "evgen": 0, "data": 200, "users": 600, "groups": 200}),
        # and if groups want 50 of their 200, users get the 150
        (
            {"sim": 0, "evgen": 0, "data": 200, "groups": 50},
            {"sim": 0, "evgen": 0, "data": 200, "users": 750, "groups": 50},
        ),
        # analysis is empty: 1000 for production: mc 500 (sim 400, evgen 100), data 500
        ({"users": 0, "groups": 0}, {"sim": 400, "evgen": 100, "data": 500, "users": 0, "groups": 0}),
    ],
)  # fmt: skip
def test_what_a_share_cannot_use_goes_to_its_siblings_first(
    wanted: dict[str, float], expected: dict[str, float]
) -> None:
    assert leaves(targets(grow(SHARES), 1000, PLENTY | wanted)) == pytest.approx(ENTITLED | expected)


def test_without_a_value_a_share_gets_what_its_siblings_leave_before_it_goes_up() -> None:
    tree = grow([*SHARES, Share("spare", "analysis", 0)])
    wanted = {**PLENTY, "spare": 1e6}
    assert targets(tree, 1000, wanted)["spare"] == 0
    few = {**wanted, "users": 50, "groups": 50}
    assert targets(tree, 1000, few)["spare"] == pytest.approx(300)
    assert targets(tree, 1000, few)["production"] == pytest.approx(600)


def test_the_furthest_from_its_target_is_first() -> None:
    """Of 1000 slots: sim has 216 of 240 (10 % missing), evgen 30 of 60 (50 %), users 330 of 300 (10 % too many)."""
    running = {"sim": 216, "evgen": 30, "data": 300, "users": 330, "groups": 100, "gone": 23}
    usage = {name: Usage(cores, 500) for name, cores in running.items()}
    found = stand(grow(SHARES), usage, slots=1000)
    assert [(one.share, round(one.distance, 3)) for one in found[:2]] == [("evgen", 0.5), ("sim", 0.1)]
    assert turns(found).order == ("evgen", "sim", "data", "groups", "users", UNDEFINED)


def test_a_share_without_queued_jobs_has_no_turn_and_is_told_why() -> None:
    usage = {"sim": Usage(10, 5), "users": Usage(0, 0), "data": Usage(1, 8)}
    found = turns(stand(grow(SHARES), usage))
    assert found.order == ("data", "sim")
    why = found.why()
    # 12 slots: sim wants 15, data 9: production gets all 12, of which mc 6 and data 6
    assert why["order"][0] == {"share": "data", "target": 6.0, "running": 1, "queued": 8, "missing_percent": 83}
    assert why["order"][1] == {"share": "sim", "target": 6.0, "running": 10, "queued": 5, "missing_percent": -67}
    assert why["gates"] == [{"gate": "queued jobs", "in": 6, "out": 2, "example": UNDEFINED, "change": "a queued job"}]
    assert len(found.why(shown=1)["order"]) == 1


def test_everything_wrong_with_a_tree_is_said_at_once() -> None:
    shares = [
        Share("a", "b", 50),
        Share("b", "a", 50),
        Share("orphan", "nobody", 10),
        Share("much", None, -3),
        Share("odd", None, 10, patterns={"working_group": "(", "wg": "x"}),
        Share(UNDEFINED, None, 10),
        Share("twice", None, 10),
        Share("twice", None, 10),
    ]
    with pytest.raises(Invalid) as caught:
        grow(shares)
    said = [f"{fault.where}: {fault.what}" for fault in caught.value.faults]
    assert "share a: is its own ancestor: a > b > a" in said
    assert "share orphan: its parent 'nobody' is no share" in said
    assert "share much: -3 is no percentage" in said
    assert any(text.startswith("share odd, working_group: '(' is no regular expression") for text in said)
    assert "share odd, wg: is no attribute that can be matched" in said
    assert f"share {UNDEFINED}: is what work without a share is tagged with" in said
    assert "share twice: is there 2 times" in said
    assert len(said) == 7


def test_values_that_do_not_sum_up_to_a_hundred_are_taken_in_proportion() -> None:
    tree = grow([Share("a", None, 30), Share("b", None, 10), Share("c", "a", 100)])
    assert tree.notes == ("the shares at the top sum up to 40, not to 100: each gets its value in proportion",)
    assert targets(tree, 100, {"c": 1000, "b": 1000}) == pytest.approx({"a": 75, "b": 25, "c": 75})


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Trees of up to twelve shares, at any depth."""
    names = [f"s{number}" for number in range(draw(st.integers(1, 12)))]
    return grow(
        Share(name, draw(st.sampled_from([None, *names[:number]])), draw(st.integers(0, 100) | st.floats(0.1, 100)))
        for number, name in enumerate(names)
    )


amounts = st.integers(0, 2000)


@given(st.data(), trees(), amounts)
def test_targets_sum_up_to_the_slots_and_nobody_gets_more_than_he_can_use(
    data: st.DataObject, tree: Tree, slots: int
) -> None:
    wanted = {leaf: data.draw(amounts) for leaf in tree.leaves}
    given = targets(tree, slots, wanted)
    assert sum(given[leaf] for leaf in tree.leaves) == pytest.approx(min(slots, sum(wanted.values())), abs=1e-6)
    assert all(0 <= given[leaf] <= wanted[leaf] + 1e-6 for leaf in tree.leaves)
    for parent, names in tree.children.items():
        if parent is not None:
            assert sum(given[name] for name in names) == pytest.approx(given[parent], abs=1e-6)


@given(st.data(), trees(), amounts)
def test_siblings_come_before_the_level_above(data: st.DataObject, tree: Tree, slots: int) -> None:
    """A share that could use more than it gets has siblings which give nothing away: their branch is full."""
    wanted = {leaf: data.draw(amounts) for leaf in tree.leaves}
    given, fair = targets(tree, slots, wanted), entitlements(tree, slots)
    for leaf in tree.leaves:
        if given[leaf] < wanted[leaf] - 1e-6:
            for share in tree.path(leaf):
                assert given[share.name] >= fair[share.name] - 1e-6
    for parent, names in tree.children.items():
        hungry = [leaf for leaf in _under(tree, parent) if given[leaf] < wanted[leaf] - 1e-6]
        if hungry and parent is not None:
            assert sum(given[name] for name in names) >= fair[parent] - 1e-6


def _under(tree: Tree, top: str | None) -> list[str]:
    return [leaf for leaf in tree.leaves if top is None or any(share.name == top for share in tree.path(leaf))]


@given(st.data(), trees())
def test_the_order_does_not_depend_on_the_order_of_the_rows(data: st.DataObject, tree: Tree) -> None:
    usage = {leaf: Usage(data.draw(amounts), data.draw(amounts)) for leaf in [*tree.leaves, "stranger"]}
    mixed = data.draw(st.permutations(list(tree.shares.values())))
    turned = dict(data.draw(st.permutations(list(usage.items()))))
    assert turns(stand(grow(mixed), turned)).order == turns(stand(tree, usage)).order


class Farm:
    """So many slots whose jobs end at random; pilots ask by the order of shares, counts come from time to time."""

    def __init__(self, slots: int, queued: dict[str, int]) -> None:
        self.tree = grow(SHARES)
        self.slots, self.queued = slots, Counter(queued)
        self.running: Counter[str] = Counter()
        self.dice = random.Random(14)

    def count(self) -> None:
        names = {*self.running, *self.queued}
        self.standings = stand(self.tree, {name: Usage(self.running[name], self.queued[name]) for name in names})
        self.given: Counter[str] = Counter()

    def claim(self) -> None:
        order = after(turns(self.standings).passage.left, self.given)
        share = next((one.share for one in order if self.queued[one.share]), None)
        if share is not None:
            self.queued[share] -= 1
            self.running[share] += 1
            self.given[share] += 1

    def run(self, rounds: int, ending: float = 0.1) -> None:
        """In each round some jobs end, the jobs are counted, and free slots are filled."""
        for _ in range(rounds):
            for share in list(self.running):
                self.running[share] -= sum(self.dice.random() < ending for _ in range(self.running[share]))
            self.count()
            for _ in range(self.slots - self.running.total()):
                self.claim()


def test_a_saturated_system_converges_to_its_targets_at_three_levels() -> None:
    farm = Farm(1000, dict.fromkeys(ENTITLED, 100_000))
    farm.running["users"] = 1000  # one share has taken everything
    farm.run(40)
    assert farm.running == {name: pytest.approx(slots, abs=10) for name, slots in ENTITLED.items()}


def test_the_slots_of_an_empty_share_go_to_its_siblings_and_come_back() -> None:
    farm = Farm(1000, {**dict.fromkeys(ENTITLED, 100_000), "evgen": 0})
    farm.run(40)
    without_evgen = {"sim": 300, "data": 300, "users": 300, "groups": 100}
    assert +farm.running == {name: pytest.approx(slots, abs=10) for name, slots in without_evgen.items()}
    farm.queued["sim"] = farm.queued["data"] = 0  # all of production runs out: analysis gets the rest
    farm.run(60)
    assert +farm.running == {
        name: pytest.approx(slots, abs=20) for name, slots in {"users": 750, "groups": 250}.items()
    }
    farm.queued.update({"sim": 100_000, "data": 100_000, "evgen": 100_000})
    farm.run(60)
    assert farm.running == {name: pytest.approx(slots, abs=10) for name, slots in ENTITLED.items()}
