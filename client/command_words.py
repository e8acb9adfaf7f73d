"""Words with a percent sign in a user's command: what stands for inputs, and what only looks like it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from ..core.errors import Fault
from ..core.task_rules import INPUTS

_WORD = re.compile(r"%\{?([A-Za-z_][A-Za-z0-9_]*)")
#: Filled at submission or by the server (client protocol 7.6).
_FILLED = frozenset(
    {"RNDM", "SKIPEVENTS", "MAXEVENTS", "FIRSTEVENT", "SEGMENT_NAME", "SEGMENT_ID", "DB"}
    | {"DATASET_IN", "DATASET_OUT", "BULKSEQNUMBER"}
)


def command_faults(command: str, streams: Collection[str]) -> Iterator[Fault]:
    """`%IN` where there is nothing at all to fill it with: every job would fail on it."""
    if INPUTS.search(command) and not streams:
        yield Fault("exec", "it has %IN, and there is no input", "give --inDS, --inFiles or --pfnList, or take %IN out")


def doubtful_words(command: str, streams: Collection[str]) -> list[str]:
    """Words that look like inputs or outputs and are not filled, such as `%INN`; the job sees them as they are."""
    known = {"OUT", *streams}
    looks = {"IN", *known}
    words = dict.fromkeys(found[1] for found in _WORD.finditer(command))
    return [word for word in words if word not in known | _FILLED and any(word.startswith(name) for name in looks)]
