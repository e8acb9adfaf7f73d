"""Flight records: what is kept of many samples, and of an output that comes in pieces, some of them twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bamboo.core.flight_records import Sample, after, joined, thinned

SAMPLES = st.lists(st.integers(0, 1000), max_size=300).map(
    lambda found: [[float(at), float(rss), 0.0, 0.0, 0.0, 0.0] for at, rss in enumerate(found)]
)


@given(SAMPLES, st.integers(2, 64))
def test_of_many_samples_peak_and_end_stay(samples: list[Sample], most: int) -> None:
    kept = thinned(samples, most)
    assert len(kept) <= most
    assert [sample for sample in samples if sample in kept] == kept
    if samples:
        assert kept[-1] == samples[-1]
        assert max(sample[1] for sample in kept) == max(sample[1] for sample in samples)
    if len(samples) <= most:
        assert kept == samples


@given(st.text(), st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40))), st.integers(4, 20))
def test_pieces_in_any_order_never_say_what_was_not_printed(
    printed: str, places: list[tuple[int, int]], most: int
) -> None:
    """What is known is always the end of what was printed up to a place, which only grows."""
    whole = printed.encode()
    text, end = "", 0
    for one, other in places:
        at, until = sorted((min(one, len(whole)), min(other, len(whole))))
        piece = whole[at:until].decode("utf-8", "ignore")
        if piece.encode() != whole[at:until]:
            continue  # pilots send whole letters
        before = end
        text, end = joined(text, end, piece, at, most)
        assert end == max(before, until)
        assert whole[:end].endswith(text.encode())
        assert len(text.encode()) <= most


def test_pieces_that_follow_one_another_are_one_text() -> None:
    text, end = joined("", 0, "é one\n", 0)
    assert (text, end) == ("é one\n", 7)
    assert joined(text, end, "one\ntwo", 3) == ("é one\ntwo", 10)
    assert joined(text, end, "one", 3) == (text, end)
    assert joined(text, end, "late", 100) == ("late", 104)


@given(st.text(), st.integers(0, 50))
def test_a_reader_gets_what_is_new(printed: str, seen: int) -> None:
    whole = printed.encode()
    for kept in range(len(printed) + 1):
        known = printed[kept:]
        new = after(known, len(whole), seen).encode()
        assert whole.endswith(new)
        assert len(new) <= max(0, len(whole) - seen)
        start = len(whole) - len(known.encode())
        if seen >= start and seen <= len(whole) and whole[:seen].decode("utf-8", "ignore").encode() == whole[:seen]:
            assert new == whole[seen:]
