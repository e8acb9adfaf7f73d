"""How the objects of the Python API look in a notebook, and progress there: one drawing, updated in place.

HTML without scripts, styles and addresses, so that it looks as the notebook does, dark or light, trusted or not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from .text import duration_text

if TYPE_CHECKING:
    from .cli.output import Column
    from .evidence import Comparison
    from .model import JobInfo, TaskInfo

T = TypeVar("T")

#: A listing is drawn up to so many rows.
ROWS_DRAWN = 100


class Listing(list[T]):
    """A list that a notebook draws as a table: of tasks, jobs, files, datasets or queues, all of a kind."""

    def _repr_html_(self) -> str:
        return listing_html(self)


def drawn(
    title: str = "",
    state: str = "",
    *,
    done: int = 0,
    total: int = 0,
    facts: Sequence[tuple[str, object]] = (),
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[object]]]] = (),
) -> str:
    """The one shape that all of them have: a title, a bar, facts, and tables of (caption, titles, rows)."""
    from .html import render  # templates are for those who look

    return render("notebook.html", title=title, state=state, done=done, total=total, facts=facts, tables=tables)


def task_html(info: TaskInfo) -> str:
    """A task: state, progress, times, and its errors by cause."""
    facts = (
        ("name", info.name.rstrip("/")),
        ("reason", info.error),
        ("jobs", ", ".join(f"{number} {status}" for status, number in info.jobs.items())),
        ("created (UTC)", info.created),
        ("ended (UTC)", info.ended),
    )
    errors = [(one.count, f"{one.source} {one.code}", one.diag, one.who, one.example_job) for one in info.errors]
    titles = ("jobs", "error", "what was said", "who must act", "such as job")
    return drawn(
        f"task {info.task_id}",
        info.state,
        done=info.n_files_finished + info.n_files_failed,
        total=info.n_files,
        facts=facts,
        tables=[("", titles, errors)] if errors else (),
    )


def job_html(job: JobInfo) -> str:
    """A job: state, where it ran, errors, and its files where they are known."""
    seconds = (job.ended - job.started).total_seconds() if job.started and job.ended else None
    facts = (
        *(("error", cause) for cause in job.causes),
        ("task", job.task_id),
        ("queue", job.queue),
        ("node", job.node),
        ("attempt", job.attempt_nr),
        ("started (UTC)", job.started),
        ("ran for", "" if seconds is None else duration_text(seconds)),
    )
    files = [(file.type, file.lfn, file.status, file.size_bytes or "") for file in job.files]
    tables = [("", ("type", "file", "state", "bytes"), files)] if files else ()
    return drawn(f"job {job.job_id}", job.status, facts=facts, tables=tables)


def comparison_html(found: Comparison) -> str:
    """Two jobs side by side: what differs."""
    a, b = found.jobs
    rows = [(line.part, line.name, line.a, line.b) for line in found.differences]
    titles = ("part", "what", f"job {a.job_id}", f"job {b.job_id}")
    return drawn(f"jobs {a.job_id} and {b.job_id}", found.chosen, tables=[("", titles, rows)])


def listing_html(items: Sequence[Any]) -> str:
    """A table of things of one kind, with the columns that the command line gives them."""
    rows = [getattr(item, "info", item) for item in items[:ROWS_DRAWN]]
    columns = _columns(rows[0]) if rows else ()
    cells = [[column.cell(row) for column in columns] for row in rows]
    more = f", of which {ROWS_DRAWN} are shown" if len(items) > ROWS_DRAWN else ""
    return drawn(f"{len(items)} in all{more}", tables=[("", [column.title for column in columns], cells)])


def _columns(item: object) -> Sequence[Column]:
    from .cli import dataset, files, job, queue, task_list
    from .model import DatasetInfo, FileInfo, JobInfo, QueueInfo, TaskInfo

    known: dict[type, Sequence[Column]] = {
        TaskInfo: task_list.COLUMNS,
        JobInfo: job.COLUMNS,
        FileInfo: files.FILES,
        DatasetInfo: dataset.COLUMNS,
        QueueInfo: queue.COLUMNS,
    }
    return known.get(type(item)) or (output_column(),)


def output_column() -> Column:
    """What is left for things that have no columns of their own: their text."""
    from .cli.output import Column

    return Column("", str)


class Drawing:
    """A task as it was seen last, with its pace: HTML where that can be shown, else text."""

    def __init__(self, info: TaskInfo, pace: str) -> None:
        self._info, self._pace = info, pace

    def __repr__(self) -> str:
        return f"task {self._info.task_id} {self._info.state}" + (f", {self._pace}" if self._pace else "")

    def _repr_html_(self) -> str:
        info = self._info
        done = info.n_files_finished + info.n_files_failed
        return drawn(
            f"task {info.task_id}", ", ".join(filter(None, (info.state, self._pace))), done=done, total=info.n_files
        )


def in_notebook() -> bool:
    """Whether this runs in the kernel of a notebook, which draws what is displayed."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def one_place() -> Callable[[object], None]:
    """Draws an object, and each further one in the place of the last."""
    from IPython.display import display

    handles: list[Any] = []

    def draw(what: object) -> None:
        if handles:
            handles[0].update(what)
        else:
            handles.append(display(what, display_id=True))

    return draw
