"""Prints docs/states.md from the state tables: `python -m bamboo.admin.states_page > docs/states.md`."""

from __future__ import annotations

import sys
from typing import Any

from ..core.states import TABLES, StateTable

HEADER = """# States

What every object can be, who moves it on, and where it may go. This page is printed from the tables in
`core/states.py` (`python -m bamboo.admin.states_page`), which the code, the CHECK constraints and the tests read too.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEADER, *(_section(table) for table in TABLES)])


def _section(table: StateTable[Any]) -> str:
    lines = [
        f"## {table.kind.capitalize()}s",
        "",
        f"Source: PanDA's {table.source}.",
        "",
        "| state | meaning | who moves it on, and when | goes to |",
        "|---|---|---|---|",
    ]
    for state in table.states:
        row = table.rows[state]
        onward = ", ".join(sorted(row.onward)) or "(final)"
        lines.append(f"| `{state}` | {row.meaning} | {row.mover} | {onward} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.stdout.write(page())
