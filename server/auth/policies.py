"""Which groups of a token give which role in which VO: PanDA's file `auth_policies` (manual ch. 7.6.3)."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import BadSettings, Fault

_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True)
class Membership:
    """What having `claimed` among a token's groups gives: a role in a group of the VO."""

    claimed: str
    group: str
    role: str


class Policies:
    """The memberships that there are, by VO."""

    def __init__(self, by_vo: Mapping[str, Collection[Membership]]) -> None:
        self.by_vo = by_vo

    @classmethod
    def load(cls, path: Path) -> Policies:
        """Read the file; raises `BadSettings` with all its faults."""
        faults: list[Fault] = []
        try:
            document = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            document, faults = {}, [Fault(str(path), str(error), "correct the file")]
        if not isinstance(document, dict):
            document, faults = {}, [Fault(str(path), "no JSON object", "see docs/identity.md for its form")]
        by_vo = {}
        for vo, entries in document.items():
            by_vo[vo] = [
                found
                for at, entry in enumerate(entries if isinstance(entries, list) else [entries])
                if (found := _membership(entry, f"{path}: {vo}[{at}]", faults))
            ]
        if faults:
            raise BadSettings("the authorisation policies cannot be used", faults)
        return cls(by_vo)

    def split_origin(self, origin: str) -> tuple[str, str]:
        """The VO of an `Origin` header and the role asked for, if any: `vo`, `vo:role` or `vo.role`."""
        if origin in self.by_vo:
            return origin, ""
        for separator in (":", "."):
            vo, found, role = origin.rpartition(separator)
            if found and vo in self.by_vo:
                return vo, role
        return origin, ""

    def memberships(self, vo: str, groups: Collection[str]) -> list[Membership]:
        """What a VO gives to someone of these groups. No group gives anything to its parent or its children."""
        return [membership for membership in self.by_vo.get(vo, ()) if membership.claimed in groups]


def _membership(entry: Any, where: str, faults: list[Fault]) -> Membership | None:
    match entry:
        case [str(claimed), {"group": str(group), "role": str(role)}] if claimed and _WORD.fullmatch(role):
            return Membership(claimed, group, role)
    faults.append(Fault(where, "no membership", 'it looks like ["group of the token", {"group": "…", "role": "user"}]'))
    return None
