"""Agents on a real database, round by round, with a clock that stands still."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from world import World

from bamboo.core.settings import Settings
from bamboo.jedi.agents import Agent, TaskCommando
from bamboo.jedi.context import Context
from bamboo.plugins.manager import Plugins
from bamboo.sql import catalogue, commands, counts, datasets, decisions, queues, task_queries, tasks
from bamboo.sql import tables as t

on_both_databases = pytest.mark.parametrize("database_url", ["sqlite", "postgres"], indirect=True)

OUTPUT = {
    "type": "template",
    "param_type": "output",
    "value": "user.alice.$JEDITASKID._${SN/P}.out.txt",
    "dataset": "user.alice.a_out.txt/",
    "hidden": True,
}


def reads(dataset: str = "user.alice.in", value: str = "${IN}", **more: Any) -> dict[str, Any]:
    """A piece of the command line that reads a dataset."""
    return {"type": "template", "param_type": "input", "value": value, "dataset": dataset, **more}


@dataclass
class Jedi(World):
    """The agents, what they find and what they leave. Tasks are submitted with their parameters."""

    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        self.plugins = Plugins(self.settings, self.engine, self.clock)

    @property
    def context(self) -> Context:
        return Context(self.engine, self.clock, self.settings, self.plugins)

    def run(self, *agents: type[Agent]) -> list[Any]:  # type: ignore[override]
        """A round of each; gives their reports."""
        return [agent(self.context).run_once() for agent in agents]

    def submit(self, *pieces: dict[str, Any], vo: str = "wlcg", label: str = "user", **parameters: Any) -> int:
        """Submit a task of these pieces of a command line, and make it the one that is looked at."""
        given = {
            "taskName": "user.alice.a",
            "vo": vo,
            "prodSourceLabel": label,
            "sourceURL": "http://server",
            "jobParameters": [*(pieces or (reads(),)), OUTPUT],
            **parameters,
        }
        return self.submit_raw(given, vo=vo, label=label)

    def submit_raw(self, parameters: dict[str, Any], *, vo: str = "wlcg", label: str = "user") -> int:
        with self.engine.begin() as tx:
            self.jeditaskid = tasks.insert_task(
                tx,
                parameters,
                actor="alice",
                now=self.clock(),
                request_id=None,
                task_name="user.alice.a",
                user_name="alice",
                vo=vo,
                prod_source_label=label,
                split_rule={},
            )
        return self.jeditaskid

    def store(self, name: str, *lfns: str, **more: Any) -> None:
        """Register files in the catalogue, in a dataset that is made if need be."""
        rows = [
            {"lfn": lfn, "url": f"file:///{lfn}", "size_bytes": 5, "adler32": "00000001", "n_events": 10, **more}
            for lfn in lfns
        ]
        with self.engine.begin() as tx:
            dataset = catalogue.ensure_dataset(tx, name, user_name="alice", now=self.clock())
            catalogue.add_files(tx, dataset, rows, now=self.clock())

    def queue(self, name: str = "Q", **attributes: Any) -> None:
        with self.engine.begin() as tx:
            queues.set_queue(tx, name, {"storage": "DISK", **attributes}, now=self.clock())

    def count_jobs(self) -> None:
        """What the chore for it does: the throttler and the broker see the jobs that there are now."""
        with self.engine.begin() as tx:
            counts.replace(tx, now=self.clock())

    def command(self, verb: str, **parameters: Any) -> sa.Row[Any]:
        """Give a command and have it carried out; gives its row, with status and answer."""
        with self.engine.begin() as tx:
            number = commands.enqueue(
                tx, self.jeditaskid, verb, user_name="alice", now=self.clock(), parameters=parameters
            )
        self.run(TaskCommando)
        with self.engine.connect() as tx:
            return tx.execute(sa.select(t.commands).where(t.commands.c.commandid == number)).one()

    def task(self) -> sa.Row[Any]:
        with self.engine.connect() as tx:
            return tasks.get_task(tx, self.jeditaskid)

    def set(self, **columns: Any) -> None:
        """Set columns of the task directly."""
        with self.engine.begin() as tx:
            tasks.update_task(tx, self.jeditaskid, **columns)

    def dataset(self, kind: str = "input") -> sa.Row[Any]:
        with self.engine.connect() as tx:
            (found,) = datasets.of_task(tx, self.jeditaskid, [kind])
        return found

    def dataset_types(self) -> list[str]:
        with self.engine.connect() as tx:
            return [found.type for found in datasets.of_task(tx, self.jeditaskid)]

    def lfns(self) -> list[str]:
        """The inputs of the task."""
        with self.engine.connect() as tx:
            statement = sa.select(t.files.c.lfn).where(t.files.c.jeditaskid == self.jeditaskid)
            return sorted(tx.scalars(statement))

    def story(self) -> list[str]:
        """The states that the task went through."""
        with self.engine.connect() as tx:
            return [line.new_status for line in task_queries.events_of(tx, self.jeditaskid, limit=99)]

    def last_line(self) -> sa.Row[Any]:
        """The last thing that happened to the task."""
        with self.engine.connect() as tx:
            return task_queries.events_of(tx, self.jeditaskid, limit=1)[0]

    def decided(self) -> list[sa.Row[Any]]:
        with self.engine.connect() as tx:
            return decisions.of_task(tx, self.jeditaskid)
