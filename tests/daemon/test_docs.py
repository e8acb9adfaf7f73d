"""docs/daemon.md says what the code does."""

from __future__ import annotations

from pathlib import Path

from bamboo.core.job_errors import JOB_ERRORS
from bamboo.core.settings import TimeoutsSection
from bamboo.daemon.defaults import COUNTERPARTS, DEFAULT_ENTRIES, NOT_PROVIDED
from bamboo.daemon.timeouts import HEARTBEAT, TIMEOUTS, Only

TEXT = (Path(__file__).parents[2] / "docs" / "daemon.md").read_text()


def rows(header: str) -> list[list[str]]:
    """The rows of the table with this header."""
    lines = iter(TEXT[TEXT.index(header) :].splitlines()[2:])
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in iter(lambda: next(lines, ""), "")]


def test_the_table_of_timeouts() -> None:
    assert rows("| state | which jobs |") == [
        [
            f"`{rule.state}`",
            str(rule.only),
            f"`{rule.setting}` = {getattr(TimeoutsSection(), rule.setting):g}"
            + (f", or `{rule.queue_key}` of the queue" if rule.queue_key else "")
            if rule.only is not Only.STAGING_OUT
            else f"`{HEARTBEAT.key}<processing type>`",
            f"`{rule.to}`, {rule.error.source} {rule.error.code}: {rule.text}",
        ]
        for rule in TIMEOUTS
    ]


def test_the_table_of_errors() -> None:
    assert rows("| source and code |") == [
        [f"{error.source} {error.code}", error.meaning, error.who] for error in JOB_ERRORS
    ]


def test_the_table_of_chores() -> None:
    told = [row[:4] for row in rows("| chore | every |")]
    assert told == [
        [f"`{name}`", f"{entry.period:g} s", "yes" if entry.sync else "", "yes" if entry.loop else ""]
        for name, entry in DEFAULT_ENTRIES.items()
    ]


def test_every_script_of_panda_is_named() -> None:
    assert [name for name in (*COUNTERPARTS, *NOT_PROVIDED) if f"`{name}`" not in TEXT] == []
