"""Whose name spaces the names of datasets are in (manual ch. 4.1: `user.<nickname>.…`, `group.<group>.…`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ..core.errors import Fault, NeedsRole
from .auth.caller import how_to_get
from .identity import Caller

HOW_TO_GET_ROLE = how_to_get("production")
#: What is below `user.alice`; PanDA's older names of groups have two digits, `group10.higgs`.
_TAKEN = re.compile(r"(?P<kind>user|group(?:\d\d)?)\.(?P<rest>[^.]+\..*)")


def faults_of_names(names: Iterable[tuple[str, str]], caller: Caller) -> Iterator[Fault]:
    """What is wrong with names that a caller wants to give: [(where it stands, name of a dataset)].

    Names outside of `user.` and `group.` are everybody's.
    """
    for where, name in names:
        *scopes, rest = name.rstrip("/").split(":")
        spaces = [found for part in (*(f"{scope}." for scope in scopes), rest) if (found := _TAKEN.fullmatch(part))]
        foreign = next((found for found in spaces if not _is_theirs(found, caller)), None)
        if foreign is not None:
            owner = f"{foreign['kind'].rstrip('0123456789')} {foreign['rest'].partition('.')[0]}"
            yield Fault(where, f"{name[:200]} is in the name space of {owner}, not of {caller.user_name}", _do(caller))


def must_hold(name: str, caller: Caller) -> None:
    """Raise `NeedsRole` unless a caller may make a dataset of that name: their own, their group's, or by a role."""
    if not caller.has_role("production") and (faults := list(faults_of_names([("dataset", name)], caller))):
        raise NeedsRole("the dataset cannot be made", faults, hint=HOW_TO_GET_ROLE)


def _is_theirs(found: re.Match[str], caller: Caller) -> bool:
    """Whether a name begins with one of the caller's: nicknames may have dots in them, so it is not cut at them."""
    theirs = caller.nicknames if found["kind"] == "user" else caller.groups
    return any(found["rest"].startswith(f"{name}.") for name in theirs)


def _do(caller: Caller) -> str:
    groups = [f"group.{name}." for name in sorted(caller.groups)]
    nickname = min(caller.nicknames, key=lambda name: (len(name), name), default="NICKNAME")
    return f"begin it with {' or '.join([f'user.{nickname}.', *groups[:3]])}"
