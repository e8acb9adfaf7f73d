"""Contents Feeder: looks up what is in the input datasets and enters the files (manual ch. 7.1.2)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ...core.counting import count_text
from ...core.errors import Fault, Invalid, NotFound, Retriable
from ...core.input_choice import chosen_words
from ...core.states import InputDatasetState, TaskState
from ...plugins.capacity import check_events, events_per_job
from ...plugins.contracts import Contents, DatasetView, from_row
from ...sql import completion, datasets, decisions, files, parents, tasks
from ...sql.completion import WORKING
from ...sql.engine import reading
from ...sql.tasks import TaskRef
from ..event_parts import in_parts
from ..task_agent import TaskAgent

#: Files that are looked up and entered at a time: memory stays flat for any dataset.
PAGE = 5000
#: How often the outputs of a parent that goes on are looked up.
LOOKUP_SECONDS = 30.0
_OPEN = (InputDatasetState.DEFINED, InputDatasetState.TOUPDATE, InputDatasetState.PENDING)


class ContentsFeeder(TaskAgent):
    """Enters input files page by page; after an interruption it goes on from the last page that was entered.

    A child task waits for the end of its parent, or, with `noWaitParent`, gets the parent's outputs as they are made
    (manual ch. 4.1): then its main input stays `toupdate`, and it is not complete before the parent is over.
    """

    name = "contents_feeder"
    states = (TaskState.DEFINED, *WORKING)

    def conditions(self) -> Sequence[sa.ColumnElement[bool]]:
        return [parents.may_be_fed(self.context.clock())]

    def work(self, held: TaskRef, row: sa.Row[Any]) -> datetime | None:
        with reading(self.context.engine) as tx:
            parent = tasks.get_task(tx, row.parent_tid) if row.parent_tid is not None else None
            inputs = datasets.inputs(tx, held.jeditaskid)
            made = parents.outputs(tx, row.parent_tid) if row.parent_tid is not None else {}
        _check_parent(parent, inputs, made)
        goes_on = parent is not None and parent.status not in parents.OVER
        grows = goes_on and _may_grow(row, inputs, made)
        if goes_on and not grows:
            self._wait(held, f"waits for its parent task {row.parent_tid}")
            # as long as the parent's outputs are unknown, nobody can say whether it has to wait for the end
            return None if made else self.soon(self.context.clock())
        for dataset in inputs:
            if dataset.status in _OPEN:
                self._feed(held, row, dataset, grows=grows and dataset.is_master)
        if held.status in WORKING:
            self._complete(held)
        elif held.status is TaskState.PENDING and row.old_status in WORKING:
            self._go_on(held)
            self._complete(held)
        else:
            self._hand_on(held)
        return None

    def _go_on(self, held: TaskRef) -> None:
        """Take a task back to work that a lookup had held up. Where inputs wait, the Job Generator sees to that."""
        now = self.context.clock()
        with self.context.engine.begin() as tx:
            task = tasks.hold(tx, held)
            if not datasets.unused(tx, held.jeditaskid):
                why = "its inputs are looked up again"
                back = TaskState(task.old_status)
                tasks.move_task(tx, held, back, actor=self.name, why=why, now=now, error_dialog=None)

    def _hand_on(self, held: TaskRef) -> None:
        now = self.context.clock()
        with self.context.engine.begin() as tx:
            task = tasks.hold(tx, held)
            n_files = sum(dataset.n_files for dataset in datasets.inputs(tx, held.jeditaskid) if dataset.is_master)
            to = TaskState.ASSIGNING if _wants_nucleus(task) else TaskState.READY
            why = f"{n_files} inputs are known"
            tasks.move_task(tx, held, to, actor=self.name, why=why, now=now, error_dialog=None)

    def _wait(self, held: TaskRef, why: str) -> None:
        """Let a task wait, without a time: it is taken again when its parent is over (`parents.may_be_fed`)."""
        now = self.context.clock()
        with self.context.engine.begin() as tx:
            tasks.hold(tx, held)
            if held.status is TaskState.PENDING:
                tasks.update_task(tx, held.jeditaskid, error_dialog=why, modified_at=now)
            else:
                tasks.move_task(tx, held, TaskState.PENDING, actor=self.name, why=why, now=now, error_dialog=why)

    def _complete(self, held: TaskRef) -> None:
        """The last of the parent's outputs may have been processed already."""
        now = self.context.clock()
        with self.context.engine.begin() as tx:
            completion.complete_tasks(tx, [held.jeditaskid], actor=self.name, now=now)

    def _feed(self, held: TaskRef, row: sa.Row[Any], dataset: sa.Row[Any], *, grows: bool) -> None:
        view = from_row(DatasetView, dataset)
        section = "ddm" if dataset.type == "input" else "confeeder"
        cursor = dataset.content_cursor or ""
        while True:
            try:
                page: Contents = self.context.plugins.first(
                    section, "list_contents", row.vo, row.prod_source_label, dataset=view, cursor=cursor, limit=PAGE
                )
                page = self._within_events(dataset, page)
                page = self._for_jobs(held, row, dataset, page)
                self._enter(held, row, dataset, page, grows=grows)
            except (NotFound, Invalid) as error:
                if grows and isinstance(error, NotFound):  # the parent has not made its first job yet
                    return self._enter(held, row, dataset, Contents([], None), grows=True)
                if row.split_rule.get("waitInput") and isinstance(error, NotFound):
                    raise Retriable(f"waits for its input: {error}") from error
                self._mark_broken(held, dataset)
                raise
            if page.cursor is None:
                return None
            cursor = page.cursor

    def _within_events(self, dataset: sa.Row[Any], page: Contents) -> Contents:
        """The page up to the number of events that the task wants (`nEvents`); raises `Invalid` if nobody can count."""
        limit = dataset.selection.get("n_events")
        if not limit:
            return page
        with reading(self.context.engine) as tx:
            counts = {row.datasetid: row.n_events for row in datasets.inputs(tx, dataset.jeditaskid)}
            known = files.entered(tx, dataset.datasetid, [file["lfn"] for file in page.files])
        n_events = counts[dataset.datasetid]
        wanted = []
        for file in page.files:
            if file["lfn"] in known:
                continue
            if n_events >= limit:
                break
            if file["n_events"] is None:
                what = f"the catalogue does not say how many events {file['lfn']} has"
                raise Invalid("nEvents cannot be kept", [Fault("task_parameters.nEvents", what, "give nEventsPerFile")])
            wanted.append(file)
            n_events += file["n_events"]
        return Contents(wanted, page.cursor if n_events < limit else None)

    def _for_jobs(self, held: TaskRef, row: sa.Row[Any], dataset: sa.Row[Any], page: Contents) -> Contents:
        """The page as jobs get it: the main input with its events, cut where that is wanted.

        Raises `Invalid` for files that fit no job, before the first job is made. A task that has made jobs is not
        broken by files that came later: they are left out, which is recorded.
        """
        if not dataset.is_master or dataset.type != "input":
            return page
        parts = in_parts(page.files, row.split_rule)
        most = events_per_job(row.split_rule)
        if most is None:
            return Contents(parts, page.cursor)
        if row.started_at is None:
            check_events([(part["lfn"], part["n_events"]) for part in parts], most)
            return Contents(parts, page.cursor)
        fits = [part for part in parts if part["n_events"] is not None and part["n_events"] <= most]
        out = sorted({part["lfn"] for part in parts} - {part["lfn"] for part in fits})
        if out:
            self._leave_out(held, dataset, out, most)
        return Contents(fits, page.cursor)

    def _leave_out(self, held: TaskRef, dataset: sa.Row[Any], lfns: Sequence[str], most: int) -> None:
        what = f"{count_text(len(lfns), 'file')} of {dataset.dataset_name} left out, such as {lfns[0]}"
        why = {"reason": f"more events than the {most} of a job (nEventsPerJob), or nobody knows how many"}
        with self.context.engine.begin() as tx:
            tasks.hold(tx, held)
            now = self.context.clock()
            decisions.record(tx, actor=self.name, what=what, why=why, now=now, jeditaskid=held.jeditaskid)

    def _enter(self, held: TaskRef, row: sa.Row[Any], dataset: sa.Row[Any], page: Contents, *, grows: bool) -> None:
        """Enter a page and where it ends in one transaction."""
        now = self.context.clock()
        with self.context.engine.begin() as tx:
            tasks.hold(tx, held)
            tasks.extend(tx, held, until=self.lease_until(now))
            rows = [{"max_attempt": row.max_attempt, **file} for file in page.files]
            new = files.insert_new(tx, held.jeditaskid, dataset.datasetid, rows)
            added = {"n_files": len(new), "n_events": sum(file["n_events"] or 0 for file in new)}
            datasets.add_counts(tx, {dataset.datasetid: added}, now=now)
            datasets.update_dataset(tx, dataset.datasetid, content_cursor=page.cursor)
            if page.cursor is None:
                self._close(tx, dataset, now, grows=grows)

    def _close(self, tx: sa.Connection, dataset: sa.Row[Any], now: datetime, *, grows: bool) -> None:
        """All of a dataset is entered: it is ready, or looked up again later if a parent still adds to it."""
        if grows:
            datasets.update_dataset(tx, dataset.datasetid, next_lookup_at=now + timedelta(seconds=LOOKUP_SECONDS))
            if dataset.status != InputDatasetState.TOUPDATE:
                datasets.move_dataset(tx, dataset.datasetid, dataset.status, InputDatasetState.TOUPDATE, now=now)
            return
        total = next(d.n_files for d in datasets.inputs(tx, dataset.jeditaskid) if d.datasetid == dataset.datasetid)
        if total == 0:
            raise _empty(dataset)
        datasets.move_dataset(
            tx, dataset.datasetid, dataset.status, InputDatasetState.READY, now=now, next_lookup_at=None
        )

    def _mark_broken(self, held: TaskRef, dataset: sa.Row[Any]) -> None:
        now = self.context.clock()
        with self.context.engine.begin() as tx:
            tasks.hold(tx, held)
            datasets.move_dataset(tx, dataset.datasetid, dataset.status, InputDatasetState.BROKEN, now=now)


def _check_parent(parent: sa.Row[Any] | None, inputs: Sequence[sa.Row[Any]], made: Mapping[str, int]) -> None:
    """Raise `Invalid` when the parent is over in vain and has made nothing that the task reads.

    What a parent has made before it was killed is read, by a child that has waited as by one that has not.
    """
    if parent is None or parent.status not in parents.FRUITLESS or any(row.is_master and row.n_files for row in inputs):
        return
    if any(made.get(name) for row in inputs for name in row.dataset_name.split(",")):
        return
    fault = Fault(f"parent task {parent.jeditaskid}", f"it is {parent.status}", "retry it, and submit this task again")
    raise Invalid("the task has nothing to read", [fault])


def _may_grow(row: sa.Row[Any], inputs: Sequence[sa.Row[Any]], made: Collection[str]) -> bool:
    """Whether a child may begin before its parent is over: it reads nothing of it but in its main input, and all of it.

    Where it takes only some of the files, nobody knows which these are before all are there.
    """
    by_name = {row.datasetid: set(row.dataset_name.split(",")) for row in inputs}
    grown = [dataset for dataset in inputs if by_name[dataset.datasetid] & set(made)]
    chosen = any(dataset.selection.get(key) for dataset in grown for key in ("offset", "n_files", "n_events"))
    return bool(row.split_rule.get("noWaitParent")) and not chosen and [d.is_master for d in grown] == [True]


def _wants_nucleus(task: sa.Row[Any]) -> bool:
    return task.cloud == "WORLD" and not task.nucleus


def _empty(dataset: sa.Row[Any]) -> Invalid:
    wanted = chosen_words(dataset.selection)
    what = f"there are no files in it that {wanted}" if wanted else "there are no files in it"
    return Invalid("an input dataset is empty", [Fault(dataset.dataset_name, what, "see `bamboo dataset files`")])
