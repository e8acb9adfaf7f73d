"""Several tasks that differ in their datasets alone, as prun's --inOutDsJson describes them (client protocol 7.4)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..core.errors import Fault, Invalid
from .spec import TaskSpec

OPTION = "inOutDsJson"
FORM = 'it looks like [{"inDS": "user.alice.a", "outDS": "user.alice.b"}]'


@dataclass(frozen=True)
class DatasetPair:
    """What one of the tasks reads and makes; `in_ds` is empty for a task without input."""

    in_ds: tuple[str, ...]
    out_ds: str


def parse_pairs(text: str) -> tuple[DatasetPair, ...]:
    """Read the file; raises `Invalid` with everything that is wrong."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise Invalid("these tasks cannot be submitted", [Fault(OPTION, f"it is no JSON: {error}", FORM)]) from None
    if not isinstance(document, list) or not document:
        raise Invalid("these tasks cannot be submitted", [Fault(OPTION, "it is no list of datasets", FORM)])
    if faults := list(_faults(document)):
        raise Invalid("these tasks cannot be submitted", faults)
    return tuple(
        DatasetPair(
            tuple(name.strip() for name in entry.get("inDS", "").split(",") if name.strip()), entry["outDS"].rstrip("/")
        )
        for entry in document
    )


def _faults(document: list[Any]) -> Iterator[Fault]:
    seen: set[str] = set()
    for at, entry in enumerate(document):
        where = f"{OPTION}[{at}]"
        if not isinstance(entry, Mapping) or not all(isinstance(value, str) for value in entry.values()):
            yield Fault(where, "it is no object of texts", FORM)
            continue
        if unknown := sorted(entry.keys() - {"inDS", "outDS"}):
            yield Fault(where, f"{unknown[0]!r} means nothing", "give inDS and outDS")
        name = entry.get("outDS", "").rstrip("/")
        if not name:
            yield Fault(f"{where}.outDS", "missing", FORM)
        elif name in seen:
            yield Fault(f"{where}.outDS", f"{name} is given twice", "give each task a name of its own")
        seen.add(name)


def specs_of(spec: TaskSpec, pairs: tuple[DatasetPair, ...]) -> list[TaskSpec]:
    """A task for each pair; in the command %DATASET_IN, %DATASET_OUT and %BULKSEQNUMBER (from 0) are filled."""
    if spec.in_ds or spec.out_ds:
        name = "inDS" if spec.in_ds else "outDS"
        fault = Fault(OPTION, f"it names the datasets, and --{name} is given too", "give one of them")
        raise Invalid("these tasks cannot be submitted", [fault])
    return [
        replace(spec, in_ds=pair.in_ds, out_ds=pair.out_ds, exec=_filled(spec.exec, pair, at))
        for at, pair in enumerate(pairs)
    ]


def _filled(command: str, pair: DatasetPair, number: int) -> str:
    for word, text in (
        ("%DATASET_IN", ",".join(pair.in_ds)), ("%DATASET_OUT", pair.out_ds), ("%BULKSEQNUMBER", str(number))
    ):  # fmt: skip
        command = command.replace(word, text)
    return command
