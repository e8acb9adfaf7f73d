"""What an edit of shares would do: of any shares and any use, the same as asking before and after."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bamboo.core.share_plan import compare
from bamboo.core.shares import Share, Tree, Usage, grow, stand, turns

amounts = st.integers(0, 50)
trees = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 100), max_size=4).map(
    lambda values: grow(Share(name, None, value) for name, value in values.items())
)
uses = st.dictionaries(st.sampled_from("abcdx"), st.builds(Usage, amounts, amounts))


@given(trees, trees, uses)
def test_both_sides_are_what_the_dispatcher_goes_by(before: Tree, after: Tree, usage: dict[str, Usage]) -> None:
    effects = {one.share: one for one in compare(before, after, usage)}
    assert effects.keys() == {*before.leaves, *after.leaves, "Undefined"}
    for tree, side in ((before, "before"), (after, "after")):
        order = turns(stand(tree, usage)).order
        told = {name: turn for name, one in effects.items() if (turn := getattr(one, f"turn_{side}")) is not None}
        assert sorted(told, key=lambda name: told[name]) == list(order)
        targets = {one.share: one.target for one in stand(tree, usage)}
        given_targets = {name: getattr(one, f"target_{side}") for name, one in effects.items()}
        assert {name: target for name, target in given_targets.items() if target is not None} == targets


@given(trees, uses)
def test_without_an_edit_nothing_changes(tree: Tree, usage: dict[str, Usage]) -> None:
    for one in compare(tree, tree, usage):
        assert (one.target_before, one.turn_before, one.percent_before) == (
            one.target_after,
            one.turn_after,
            one.percent_after,
        )


def test_work_of_a_share_that_is_removed_counts_as_undefined() -> None:
    """Two run and one waits. Before, b should have half of 3 slots; afterwards nobody has a value for its work."""
    before = grow([Share("a", None, 50), Share("b", None, 50)])
    after = grow([Share("a", None, 50)])
    effects = {one.share: one for one in compare(before, after, {"a": Usage(2, 0), "b": Usage(0, 1)})}
    assert (effects["b"].target_before, effects["b"].target_after, effects["b"].turn_after) == (1, None, None)
    assert (effects["Undefined"].target_after, effects["Undefined"].turn_after) == (1, 1)
