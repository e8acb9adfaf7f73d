"""Cutting files at event boundaries: a part is an input of its own, which one job processes once (manual ch. 13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def in_parts(files: Sequence[Mapping[str, Any]], split_rule: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Rows of files, those with more events than a job gets (`nEventsPerJob`) cut into parts with `first_event`.

    Only where the task says `cutsFiles`. The events are those that the user says each file has (`nEventsPerFile`), else
    those of the catalogue; a file of which nobody knows stays whole. A part is as large as its file, as a job that
    processes it copies the whole file.
    """
    if not split_rule.get("cutsFiles"):
        return list(files)
    per_job, per_file = int(split_rule["nEventsPerJob"]), split_rule.get("nEventsPerFile")
    rows: list[Mapping[str, Any]] = []
    for file in files:
        n_events = per_file or file["n_events"]
        if not n_events:
            rows.append({**file, "first_event": 0})
            continue
        for first in range(0, n_events, per_job):
            rows.append({**file, "first_event": first, "n_events": min(per_job, n_events - first)})
    return rows
