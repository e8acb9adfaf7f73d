"""Why jobs of a task failed, on the screen: grouped by cause, each with a job to look at."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING

from ...core.counting import count_text
from ..errors import Refused
from .output import heading, say

if TYPE_CHECKING:
    from ..api import Client
    from ..evidence import ContrastInfo
    from ..model import ErrorGroup, TaskInfo


def contrasts_of(client: Client, info: TaskInfo) -> list[ContrastInfo]:
    """What failed jobs have in common; asked for only where some failed and some did not."""
    if not (info.jobs.get("failed") and (info.jobs.get("finished") or info.jobs.get("merging"))):
        return []
    try:
        return client.contrasts(info.task_id)
    except Refused as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return []  # an older server, which does not know the question


def print_contrasts(found: Sequence[ContrastInfo]) -> None:
    """What failed jobs have in common that finished ones have not, where something stands out."""
    if found:
        heading("What failures have in common")
        for contrast in found:
            say(contrast.says)


def print_errors(info: TaskInfo, most: int | None = None) -> None:
    """The causes of failures, the most frequent first, or the `most` frequent ones."""
    if info.errors:
        heading("Errors")
        for group in info.errors[:most]:
            print_error(group, has_finished=bool(info.jobs.get("finished")))
        if most is not None and len(info.errors) > most:
            say(f"… and {count_text(len(info.errors) - most, 'more cause')}: bamboo task show {info.task_id}")


def print_error(group: ErrorGroup, *, has_finished: bool) -> None:
    """One cause of failures: how many jobs, what it said, who must act if that is known, where to look.

    A job can be set beside one that finished where there is such a one.
    """
    actor = f" [{group.who} must act]" if group.who else ""
    diag = f": {group.diag}" if group.diag else ""
    noun = f"{group.kind} job" if group.kind in ("build", "merge") else "job"
    say(f"{count_text(group.count, noun)}: {group.source} {group.code}{diag}{actor}")
    if group.meaning:
        say(f"    means: {group.meaning}")
    if group.example_job:
        verbs = ("show", "log", "diff") if has_finished else ("show", "log")
        say("    see: " + "   ".join(f"bamboo job {verb} {group.example_job}" for verb in verbs))
