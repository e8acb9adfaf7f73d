"""What imports of all kinds of documents share: who imports, what came of it, and when a document is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ..core.errors import BadState
from ..core.grid_documents import GridKind
from ..core.tunables import Numbers, tunable

LARGEST_LOSS = tunable(
    "pandaserver",
    "configurator",
    "LARGEST_LOSS",
    0.5,
    unit="fraction of the imported entries",
    source="ours: a document that was cut short looks like one in which most queues have gone",
    help="A document without more than this fraction of what the last one had is refused, unless it is forced.",
)


@dataclass(frozen=True, kw_only=True)
class Import:
    """Who imports from where, and how."""

    actor: str
    now: datetime
    sources: Mapping[GridKind, str] = field(default_factory=dict)
    force: bool = False
    numbers: Numbers = field(default_factory=Numbers)


@dataclass
class Swapped:
    """What an import of one kind did: names."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    came_back: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)  #: in the document, but set by hand, and left alone
    unknown: list[str] = field(default_factory=list)  #: in the document, but nothing here has this name
    n_entries: int = 0

    @property
    def did_something(self) -> bool:
        return bool(self.added or self.changed or self.vanished or self.came_back)


def refuse_a_loss(kind: GridKind, vanished: Sequence[str], n_before: int, how: Import) -> None:
    """Raise `BadState` when a document does not have more of what was there than may go at once."""
    limit = how.numbers(LARGEST_LOSS)
    if how.force or len(vanished) <= limit * n_before:
        return
    examples = ", ".join(vanished[:3])
    raise BadState(
        f"the document of {kind} does not have {len(vanished)} of {n_before} {kind} that the last one had, such as "
        f"{examples}: more than the fraction {limit:g} that may go at once",
        hint="is it complete? If so, use --force, or change configurator/LARGEST_LOSS in the settings",
    )
