"""What the server takes a caller for, by which rules of the policy file, and what they would need to be more."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from .caller import Caller, how_to_get
from .door import groups_of
from .policies import Policies

#: The last second that can be told.
LATEST = datetime.max.replace(tzinfo=UTC, microsecond=0).timestamp()
#: The roles that somebody may miss.
ROLES = ("production", "admin", "pilot")


def description(caller: Caller, policies: Policies, claims: Mapping[str, Any] | None) -> dict[str, Any]:
    """A caller as they are told of themselves; `claims` are those of their verified token, if they have shown one."""
    groups = groups_of(claims or {})
    rules = [rule for rule in policies.memberships(caller.vo, groups) if rule.role in caller.roles]
    return {
        "userName": caller.user_name,
        "nicknames": sorted(caller.nicknames),
        "vo": caller.vo,
        "roles": sorted(caller.roles),
        "groups": sorted(caller.groups),
        "queues": None if caller.queues is None else sorted(caller.queues),
        "isLocal": caller.is_local,
        "token": None if claims is None else _token(claims),
        "rules": [{"claimed": rule.claimed, "group": rule.group, "role": rule.role} for rule in rules],
        "missing": {role: _missing(role, caller, policies, groups) for role in ROLES if role not in caller.roles},
    }


def _token(claims: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "issuer": claims.get("iss"),
        "subject": claims.get("sub"),
        "audience": claims.get("aud"),
        "groups": sorted(groups_of(claims)),
        "expires": datetime.fromtimestamp(min(claims["exp"], LATEST), UTC),
    }


def _missing(role: str, caller: Caller, policies: Policies, groups: frozenset[str]) -> str:
    """What a caller would need to have a role."""
    if not caller.vo:
        return f"callers without a token never have it: {how_to_get(role)}"
    giving = [rule.claimed for rule in policies.by_vo.get(caller.vo, ()) if rule.role == role]
    if groups.intersection(giving):
        return f"the token gives it, but another role alone is asked for: `export PANDA_AUTH_VO={caller.vo}`"
    if not giving:
        return f"no group gives it in VO {caller.vo}: have one entered in [server] auth_policies"
    return f"the token would need the group {' or '.join(giving)}; {how_to_get(role)}"
