"""`bamboo whoami`: whom the server takes you for, by which rules, and what other roles would need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .options import connected, formatted
from .output import Column, Output, heading, say, table

if TYPE_CHECKING:
    from ..api import Client
    from ..model import WhoInfo

RULES = (
    Column("GROUP IN THE TOKEN", lambda rule: rule.get("claimed")),
    Column("GROUP", lambda rule: rule.get("group")),
    Column("ROLE", lambda rule: rule.get("role")),
)


@click.command()
@click.option("--explain", is_flag=True, help="Say of the token, which rules gave which role, and what others need.")
@formatted
@connected
def whoami(client: Client, out: Output, explain: bool) -> None:
    """Say whom the server takes you for: name, VO, roles and groups."""
    found = client.whoami()
    if out.quiet:
        say(found.user_name)
    elif out.as_json:
        out.json(found.row)
    else:
        for key, value in lines(found):
            say(f"{key:<10} {value}")
        if explain:
            print_reasons(found)


def lines(found: WhoInfo) -> list[tuple[str, str]]:
    """What is said in any case, as names and values."""
    token = found.row.get("token") or {}
    told = [
        ("user", found.user_name),
        ("VO", found.vo or "none: no token was shown"),
        ("roles", ", ".join(found.roles)),
        ("groups", ", ".join(found.groups)),
        ("datasets", ", ".join(f"user.{name}." for name in found.nicknames)),
        ("queues", ", ".join(found.queues)),
        ("expires", f"{token['expires']:%Y-%m-%d %H:%M:%S} UTC" if token.get("expires") else ""),
    ]
    return [(key, value) for key, value in told if value]


def print_reasons(found: WhoInfo) -> None:
    """The token, the rules that gave roles, and what would give the others."""
    token, rules = found.row.get("token"), found.row.get("rules") or ()
    heading("Token")
    if token:
        for key in ("issuer", "subject", "audience", "groups"):
            value = token.get(key)
            say(f"{key:<10} {', '.join(map(str, value)) if isinstance(value, list) else value}")
    else:
        say("none: programs on the server's machine may just say a name")
    if rules:
        heading("Rules of the policy file that gave roles")
        table(RULES, rules)
    for role, needed in (found.row.get("missing") or {}).items():
        heading(f"To have the role {role}")
        say(needed)
