"""A task in the hands of a script: look at it, wait for it, act on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from .errors import Refused
from .evidence import ContrastInfo
from .model import FileInfo, JobInfo, TaskInfo
from .polling import Poller
from .rows import read

if TYPE_CHECKING:
    from .api import Client


class Task:
    """One task of a server. `info` is what was seen last; `refresh` looks again.

    `taken_up_again`: it was there before it was submitted, and goes on with the command it had.
    """

    def __init__(
        self, client: Client, task_id: int, info: TaskInfo | None = None, *, taken_up_again: bool = False
    ) -> None:
        self._client = client
        self._info = info
        self.task_id = task_id
        self.taken_up_again = taken_up_again

    def __repr__(self) -> str:
        seen = f" {self._info.state}" if self._info else ""
        return f"<Task {self.task_id}{seen}>"

    def _repr_html_(self) -> str:
        return self.info._repr_html_()

    @property
    def info(self) -> TaskInfo:
        """The task as it was seen last; asks for it if it was not seen yet."""
        return self._info or self.refresh()

    @property
    def status(self) -> str:
        """The state as it was seen last."""
        return self.info.status

    def refresh(self) -> TaskInfo:
        """Ask the server for the task as it is now."""
        self._info = self._client.task_info(self.task_id)
        return self._info

    def wait(
        self,
        timeout_seconds: float | None = None,
        on_progress: Callable[[TaskInfo], object] | None = None,
        poller: Poller | None = None,
    ) -> TaskInfo:
        """Wait until the task is over; `on_progress` gets every look at it. Raises `WaitTimedOut`."""

        def look() -> TaskInfo:
            info = self.refresh()
            if on_progress:
                on_progress(info)
            return info

        return (poller or Poller()).until(look, lambda info: info.is_over, timeout_seconds)

    def watch(self, timeout_seconds: float | None = None) -> TaskInfo:
        """Wait and show the progress: drawn in place in a notebook or on a terminal, as lines elsewhere.

        Raises `WaitTimedOut`; to interrupt it leaves the task running.
        """
        from .cli.watching import follow_to_end

        return follow_to_end(self, timeout_seconds)

    def contrasts(self) -> list[ContrastInfo]:
        """What failed jobs have in common that finished ones have not, the clearest first."""
        return self._client.contrasts(self.task_id)

    def report(self) -> str:
        """The task as one HTML page for a ticket, without what looks like a secret."""
        from .report import task_report

        return task_report(self._client, self.task_id)

    def follow(self, on_progress: Callable[[TaskInfo], object]) -> TaskInfo:
        """Wait until the task is over; `on_progress` hears of each change as it happens."""
        on_progress(self.info)
        try:
            while not self.info.is_over:  # the end of a stream is no end when a command came in meanwhile
                for event in self._client.task_events(self.task_id):
                    if event.name == "state":
                        on_progress(read(TaskInfo, {**self.info.row, **event.data}))
                on_progress(self.refresh())
        except Refused as refusal:
            if refusal.status != HTTPStatus.NOT_FOUND:
                raise
            return self.wait(on_progress=on_progress)  # an older server has no streams
        return self.info

    def kill(self) -> str:
        """End the task and its jobs now. Returns what the server says, as the other commands do."""
        return self._client.command("kill", self.task_id)

    def finish(self, *, soft: bool = False) -> str:
        """End the task, keeping what was processed; with `soft`, running jobs may come to their end."""
        return self._client.command("finish", self.task_id, **({"soft": True} if soft else {}))

    def retry(self, new_parameters: Mapping[str, Any] | None = None) -> str:
        """Try the failed inputs again, with other task parameters if given."""
        return self._client.command(
            "retry", self.task_id, **({"new_parameters": dict(new_parameters)} if new_parameters else {})
        )

    def pause(self) -> str:
        """Start no more jobs until `resume`."""
        return self._client.command("pause", self.task_id)

    def resume(self) -> str:
        """Go on after a pause."""
        return self._client.command("resume", self.task_id)

    def avalanche(self) -> str:
        """Do not wait for the scout jobs."""
        return self._client.command("avalanche", self.task_id)

    def reload_input(self) -> str:
        """Look the input datasets up again and process what is new in them."""
        return self._client.command("reload_input", self.task_id)

    def parameters(self) -> dict[str, Any]:
        """The task parameters as they were submitted."""
        return self._client.task_parameters(self.task_id)

    def metadata(self) -> dict[str, Any]:
        """What the jobs have left as `userJobMetadata.json`, by job id."""
        return self._client.metadata(self.task_id)

    def jobs(self, status: str | None = None, limit: int | None = None) -> Iterator[JobInfo]:
        """The jobs of the task, oldest first."""
        return self._client.jobs(self.task_id, status=status, limit=limit)

    def outputs(self) -> Iterator[FileInfo]:
        """The registered files of the output datasets; none of a dataset that no job has come to write to."""
        for dataset in self.info.datasets:
            if dataset.type != "output":
                continue
            try:
                yield from self._client.files(dataset.name)
            except Refused as refusal:
                if refusal.status != HTTPStatus.NOT_FOUND:
                    raise
