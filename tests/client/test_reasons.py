"""How the reasons of a decision read."""

from __future__ import annotations

from bamboo.client.model import Decision
from bamboo.client.rows import read, reasons
from bamboo.plugins.contracts import Choice


def test_a_choice_reads_with_weights_and_what_would_help() -> None:
    choice = Choice(
        ["A", "B"],
        {"memory": ["C", "D"], "status": ["E"]},
        {"memory": ("D", "maxrss of 2000 MB: it has 1900, for 1 cores")},
        {"A": 2.5, "B": 1.25},
        pseudo_queues={"B": "B/MCORE"},
    )
    assert reasons(choice.why()) == (
        "chosen: A (weight 2.5), B/MCORE (weight 1.25); "
        "memory: 2 passed over, such as D (to pass: maxrss of 2000 MB: it has 1900, for 1 cores); "
        "status: 1 passed over, such as E"
    )


def test_a_decision_tells_its_reasons_in_words_where_the_server_sends_them() -> None:
    """The server sends them twice: as text for those that only print it, and as they are."""
    rejected = {"memory": {"count": 2, "example": "A", "change": "raise its maxrss"}}
    told = read(Decision, {"what": "w", "why": "rejected: {...}", "reasons": {"chosen": [], "rejected": rejected}})
    assert told.why == "memory: 2 passed over, such as A (to pass: raise its maxrss)"
    assert read(Decision, {"what": "w", "why": "as text"}).why == "as text"
    faults = {"faults": {"ramCount differs": "ask for 2001"}, "figures": {}}
    assert reasons(faults) == "faults: ramCount differs: ask for 2001; figures: none"
