"""Secondary streams: what each job gets of them beside its main inputs (panda-client.md 7.6; manual ch. 4.1).

A job owns the files that it gets, so that each is used once, as long as there are new ones. When a stream is used up,
it begins again if the task allows it: then a job borrows files, which it does not own, as it may not finish them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from ..core.task_pieces import JobParameter
from ..plugins.contracts import InputFile, from_row
from ..sql import files
from .job_builder import Portion, Recipe, Share


@dataclass
class Stream:
    """A secondary stream while jobs are made. `again` are files to borrow, from a place that moves on with the jobs."""

    item: JobParameter
    begins_again: bool
    new: list[InputFile]
    again: list[InputFile] = field(default_factory=list)

    def take(self, n_main: int) -> list[Portion] | None:
        """The files of the next job; None when there are not enough."""
        wanted = self.item.n_files_for(n_main)
        if wanted is None:
            return [Portion(file, is_owned=False) for file in self.again]
        mine = [Portion(file, is_owned=True) for file in self.new[:wanted]]
        if len(mine) < wanted:
            if not self.begins_again:
                return None
            taken = {portion.file.fileid for portion in mine}
            borrowed = [file for file in self.again if file.fileid not in taken][: wanted - len(mine)]
            mine += [Portion(file, is_owned=False) for file in borrowed]
            used = {file.fileid for file in borrowed}
            self.again = [*(file for file in self.again if file.fileid not in used), *borrowed]
        del self.new[:wanted]
        return mine


def hand_out(
    tx: sa.Connection, recipe: Recipe, groups: Sequence[Sequence[InputFile]], serial_nr: int
) -> tuple[list[Share], str]:
    """What the next jobs get of the secondary streams, for as many of them as there is enough for, in order.

    `groups` are their main inputs, `serial_nr` is that of the first. Returns the shares, and the name of the stream
    that was used up, or an empty text. To be called in the transaction that enters the jobs, under the task's lease.
    """
    items = recipe.parameters.secondary_inputs
    if not items:
        return [{} for _ in groups], ""
    streams = [_open(tx, recipe, item, groups, serial_nr) for item in items]
    shares: list[Share] = []
    for group in groups:
        share: dict[str, list[Portion]] = {}
        for stream in streams:
            portions = stream.take(len(group))
            if portions is None:
                return shares, stream.item.stream
            share[stream.item.stream] = portions
        shares.append(share)
    return shares, ""


def _open(
    tx: sa.Connection, recipe: Recipe, item: JobParameter, groups: Sequence[Sequence[InputFile]], serial_nr: int
) -> Stream:
    """A stream with as many new files as the jobs can use, and, if those do not reach, files to borrow."""
    dataset = recipe.stream_dataset(item.stream)
    again = item.begins_again or recipe.parameters.reuse_sec_on_demand
    per_job = [item.n_files_for(len(group)) for group in groups]
    if None in per_job:
        return Stream(item, again, [], _views(files.usable(tx, dataset.datasetid, offset=0, limit=dataset.n_files)))
    n_wanted = sum(n or 0 for n in per_job)
    stream = Stream(item, again, _views(files.ready(tx, dataset.datasetid, limit=n_wanted)))
    if again and len(stream.new) < n_wanted:
        # where the stream would be by now if it had gone round and round
        start = (serial_nr - 1) * max(n or 0 for n in per_job) % max(1, dataset.n_files)
        limit = min(n_wanted, dataset.n_files)
        ahead = files.usable(tx, dataset.datasetid, offset=start, limit=limit)
        wrapped = files.usable(tx, dataset.datasetid, offset=0, limit=min(limit - len(ahead), start))
        stream.again = _views([*ahead, *wrapped])
    return stream


def _views(rows: Sequence[sa.Row[Any]]) -> list[InputFile]:
    return [from_row(InputFile, row) for row in rows]
