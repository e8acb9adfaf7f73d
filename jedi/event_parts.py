"""Cutting files at event boundaries: a part is an input of its own, which one job processes once (manual ch. 13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def in_parts(files: Sequence[Mapping[str, Any]], split_rule: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Rows of the files of the main input as a task sees them: with their events, cut where that is wanted.

    The events are those that the user says each file has (`nEventsPerFile`), else those of the catalogue. Where the
    task says `cutsFiles`, files with more events than a job gets (`nEventsPerJob`) are cut into parts with
    `first_event`; a file of which nobody knows stays whole. A part is as large as its file, as a job that processes it
    copies the whole file.
    """
    per_file = split_rule.get("nEventsPerFile")
    if not split_rule.get("cutsFiles"):
        return [{**file, "n_events": int(per_file)} for file in files] if per_file else list(files)
    per_job = int(split_rule["nEventsPerJob"])
    rows: list[Mapping[str, Any]] = []
    for file in files:
        n_events = per_file or file["n_events"]
        if not n_events:
            rows.append({**file, "first_event": 0})
            continue
        for first in range(0, n_events, per_job):
            rows.append({**file, "first_event": first, "n_events": min(per_job, n_events - first)})
    return rows
