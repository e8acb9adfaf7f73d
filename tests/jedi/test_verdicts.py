"""What processes count of the words of brokers."""

from __future__ import annotations

from datetime import timedelta

from bamboo.jedi.verdicts import LONGEST_NAME, Verdicts
from bamboo.plugins.contracts import Choice
from bamboo.sql import queue_verdicts
from bamboo.tests.jedi.rounds import Jedi, on_both_databases


@on_both_databases
def test_words_that_no_database_takes_harm_no_round(jedi: Jedi) -> None:
    """Plugins of others may name queues that there are not, and give any reasons."""
    verdicts = Verdicts(jedi.context)
    verdicts.add(Choice(["Q" * 500], {"a\0b \udcff" + "c" * 500: ["Q"]}), 1)
    verdicts.enter()
    with jedi.engine.connect() as tx:
        names, since = ["Q", "Q" * LONGEST_NAME], jedi.clock() - timedelta(hours=1)
        gates = [one["gate"] for one in queue_verdicts.of_queues(tx, names, since=since)]
    assert gates == ["", ("a\ufffdb ?" + "c" * 500)[:LONGEST_NAME]]
