"""Cuts inputs into jobs: as many as the task says, else as many as the queue can take (manual ch. 13)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...core.tunables import Numbers
from ...sql import settings
from ...sql.engine import reading
from ..capacity import Capacity, at_queue, by_size, check_events, events_per_job, n_sim_events
from ..contracts import InputFile, PluginContext, QueueView, TaskView
from ..grid import NOTHING_BESIDE, Beside
from ..grid_reader import read_beside
from ..hookspecs import hookimpl

#: How many files a job gets at most when the task says nothing (prun sends 200).
MAX_FILES_PER_JOB = 200
#: Where names of raw data have their luminosity block: `….daq.RAW._lb0123._SFO-1._0001.data`.
_BLOCK = re.compile(r"\._lb(\d+)\.")


@dataclass(frozen=True)
class Limits:
    """What a job may have. A single input that is more than that gets a job to itself."""

    files: int
    events: int | None = None
    capacities: Sequence[Capacity] = ()
    keeps_blocks: bool = False  #: no job has files of two luminosity blocks
    beside: Beside = NOTHING_BESIDE  #: what takes room without being among the files

    @classmethod
    def of(cls, task: TaskView, queue: QueueView, numbers: Numbers, beside: Beside = NOTHING_BESIDE) -> Limits:
        """nFilesPerJob, nGBPerJob and nEventsPerJob hold as they are; the queue's limits where none of them is given.

        A queue that cannot take jobs of the size that was asked for is the broker's affair (manual ch. 13). With
        dynamicNumEvents, the queue says how many events a job gets.
        """
        rule = task.split_rule
        exact = [rule.get(key) for key in ("nFilesPerJob", "nGBPerJob", "nEventsPerJob")]
        capacities = [by_size(task, float(rule["nGBPerJob"]))] if rule.get("nGBPerJob") else []
        if not any(exact):
            capacities.append(at_queue(task, queue, numbers))
        files = int(rule.get("nFilesPerJob") or rule.get("nMaxFilesPerJob") or MAX_FILES_PER_JOB)
        events = events_per_job(rule)
        if rule.get("dynamicNumEvents"):
            events = n_sim_events(queue.attributes)
            if events and rule.get("nEventsPerFile"):
                files, events = min(files, max(1, events // int(rule["nEventsPerFile"]))), None
        return cls(
            files=files,
            events=events,
            capacities=capacities,
            keeps_blocks=bool(rule.get("respectLB")),
            beside=beside,
        )

    def hold(self, n_files: int, n_events: int, size_bytes: int) -> bool:
        """Whether a job may have so much."""
        if n_files > self.files or (self.events is not None and n_events > self.events):
            return False
        all_bytes = size_bytes + round(self.beside.of(n_files))
        return all(capacity.holds(all_bytes, n_events) for capacity in self.capacities)


class GenericSplitter:
    """Fills jobs in the order of the files' names, so that it makes no difference in which order they came."""

    def __init__(self, context: PluginContext | None = None) -> None:
        self._engine = context.engine if context is not None else None

    @hookimpl
    def split_inputs(
        self, task: TaskView, files: Sequence[InputFile], queue: QueueView, complete: bool
    ) -> Sequence[Sequence[InputFile]] | None:
        limits = Limits.of(task, queue, *self._known(task))
        if (per_job := events_per_job(task.split_rule)) is not None:
            check_events([(file.lfn, file.n_events) for file in files], per_job)
        jobs = list(fill(in_order(files, limits), limits))
        # The last job may only be short because the page of files is: more may come that belong to it.
        if not complete and len(jobs) > 1 and len(jobs[-1]) < limits.files:
            jobs.pop()
        return jobs

    def _known(self, task: TaskView) -> tuple[Numbers, Beside]:
        if self._engine is None:
            return Numbers(), NOTHING_BESIDE
        with reading(self._engine) as tx:
            return settings.numbers(tx, task.vo), read_beside(tx, task.jeditaskid)


def block_of(lfn: str) -> str:
    """The luminosity block of a file, as its name says; empty when it says nothing."""
    found = _BLOCK.search(lfn)
    return found[1] if found else ""


def in_order(files: Sequence[InputFile], limits: Limits) -> list[InputFile]:
    """The files by name and first event; by luminosity block first where those are kept."""
    if limits.keeps_blocks:
        return sorted(files, key=lambda file: (block_of(file.lfn), file.lfn, file.first_event))
    return sorted(files, key=lambda file: (file.lfn, file.first_event))


def fill(files: Sequence[InputFile], limits: Limits) -> Iterator[list[InputFile]]:
    """Jobs of files in their order, each as full as the limits allow.

    A part that does not begin its file begins a job, as a job can be told only once how many events to pass over.
    """
    job: list[InputFile] = []
    n_events = size_bytes = 0
    for file in files:
        events = file.n_events or 1  # a file of which nobody knows counts as one (manual ch. 15)
        if job and (
            file.first_event > 0
            or not limits.hold(len(job) + 1, n_events + events, size_bytes + file.size_bytes)
            or (limits.keeps_blocks and block_of(file.lfn) != block_of(job[-1].lfn))
        ):
            yield job
            job, n_events, size_bytes = [], 0, 0
        job.append(file)
        n_events += events
        size_bytes += file.size_bytes
    if job:
        yield job
