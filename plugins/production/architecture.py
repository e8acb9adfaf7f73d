"""The architecture of a task, and the hardware that queues say they have (manual ch. 12.1.1).

A task's architecture is `sw_platform<@base_platform><#host_cpu_spec><&host_gpu_spec>`, where the CPU is
`architecture<-vendor<-instruction_set>>` and the GPU `vendor<-model>`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: In a queue's list: jobs that do not ask for one of the others are not taken.
EXCLUSIVE = "excl"
#: Words of a queue's list that stand for whatever is asked for.
ANYTHING = frozenset({"", "any", "*"})
CPU, GPU = "cpu", "gpu"
_FORM = re.compile(r"(?P<platform>[^@#&]*)(?:@(?P<base>[^#&]*))?(?:#(?P<cpu>[^&]*))?(?:&(?P<gpu>.*))?")
_PARTS = {CPU: ("arch", "vendor", "instr"), GPU: ("vendor", "model")}


@dataclass(frozen=True)
class Architecture:
    """What a task asks of machines: {kind: {attribute: value}}, kinds `cpu` and `gpu`."""

    platform: str = ""
    base_platform: str = ""
    hosts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str | None) -> Architecture:
        """Read the architecture of a task; parts that are not there are not asked for."""
        match = _FORM.fullmatch(text or "")
        if match is None:
            return cls(platform=text or "")
        hosts = {kind: _spec(kind, match[kind]) for kind in (CPU, GPU) if match[kind]}
        return cls(match["platform"], match["base"] or "", hosts)


def _spec(kind: str, text: str) -> dict[str, str]:
    names = _PARTS[kind]
    return {name: word.lower() for name, word in zip(names, text.split("-", len(names) - 1), strict=False) if word}


def unmet(wanted: Architecture, offered: Sequence[Mapping[str, Any]]) -> tuple[str, str, str] | None:
    """What of the hardware does not fit: (kind, attribute, the value that the queue would have to list), or None.

    A queue that lists nothing of an attribute takes any value of it; one that has no dictionary of a kind does not
    have that hardware for jobs that ask for it. `excl` keeps out jobs that ask for nothing of the kind as well: that
    is what a queue sets it for. `("cpu", "arch", "")` says that the value is to be left open.
    """
    by_kind = {str(part.get("type", "")).lower(): part for part in offered}
    for kind, names in _PARTS.items():
        asked, part = wanted.hosts.get(kind, {}), by_kind.get(kind)
        if part is None:
            if asked:
                return (kind, names[0], asked.get(names[0], ""))
            continue
        for name in names:
            if not _takes(part.get(name), asked.get(name)):
                return (kind, name, asked.get(name, ""))
    return None


def _takes(listed: Any, asked: str | None) -> bool:
    words = {str(word).lower() for word in ([listed] if isinstance(listed, str) else listed or ())}
    if asked is None:
        return EXCLUSIVE not in words
    values = words - {EXCLUSIVE}
    return not values or bool(values & ANYTHING) or asked in values
