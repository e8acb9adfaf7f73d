"""Prints docs/access.md from what routes declare: `python -m bamboo.admin.access_page > docs/access.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from ..core.clock import utc_now
from ..core.settings import Settings
from ..server.app import create_app
from ..server.auth.access import CHECKS, NEEDS, Access, access_of
from ..server.old_style import METHODS

HEADER = """# Who may

What each operation asks of its caller. The page is printed from what stands beside the routes (`@open_to`, by
`python -m bamboo.admin.access_page`), which the door reads too; a test tries every operation as every kind of caller.
[Identity](identity.md) says how somebody comes to a role. Of an address that there is not, only those hear who show
who they are.
"""


def page() -> str:
    """The whole page."""
    return "\n".join(
        [
            HEADER,
            *_legend("who", "may come", NEEDS),
            *_legend("check", "what is asked further", CHECKS),
            "| operation | who | checks |",
            "|---|---|---|",
            *(f"| `{name}` | {access.need} | {', '.join(access.checks)} |" for name, access in sorted(operations())),
            "",
        ]
    )


def operations() -> Iterator[tuple[str, Access]]:
    """All operations of the server with what they declare: routes, and each method of the old style."""
    app = create_app(Settings(), sa.create_engine("sqlite://"), utc_now)
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        if "<method>" in rule.rule:  # GET means the same there
            for method in METHODS:
                yield f"POST {rule.rule.replace('<method>', method)}", access_of(view, {"method": method})
            continue
        for verb in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield f"{verb} {rule.rule}", access_of(view, {})


def _legend(title: str, meaning: str, texts: Mapping[Any, str]) -> Iterator[str]:
    yield from (f"| {title} | {meaning} |", "|---|---|")
    yield from (f"| {key} | {text} |" for key, text in texts.items())
    yield ""


if __name__ == "__main__":
    sys.stdout.write(page())
