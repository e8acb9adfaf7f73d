"""Tasks as PanDA's client 2.2.0 wrote them (`prun --noSubmit --dumpTaskParams`), with the command line in cliParams."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bamboo.jedi.agents import ContentsFeeder, JobGenerator, TaskRefiner
from bamboo.sql import job_queries
from bamboo.sql import tables as t
from bamboo.tests.jedi.rounds import Jedi

_CAPTURES = Path(__file__).parent / "captures"
_STREAMS = re.compile(r'--inMap "(\{.*?\})"')
_INPUTS = re.compile(r'-i "(\[.*?\])"')


def captured(name: str, **changes: Any) -> dict[str, Any]:
    """Task parameters as the client sent them, with changes."""
    given: dict[str, Any] = json.loads((_CAPTURES / f"{name}.json").read_text())["task_parameters"]
    return {**given, **changes}


def start(jedi: Jedi, name: str, **changes: Any) -> Jedi:
    """Submit a captured task and bring it to its first jobs."""
    jedi.queue("LOCAL")
    jedi.submit_raw(captured(name, **changes))
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    return jedi


def lines(jedi: Jedi) -> list[str]:
    """The command lines of the jobs of the task, in their order."""
    mine = [pandaid for pandaid, job in jedi.jobs().items() if job.jeditaskid == jedi.jeditaskid]
    with jedi.engine.connect() as tx:
        found = job_queries.parameters_of(tx, mine)
    return [found[pandaid] for pandaid in mine]


def streams(jedi: Jedi) -> list[dict[str, list[str]]]:
    """What `--inMap` tells each job."""
    return [ast.literal_eval(found[1]) for line in lines(jedi) if (found := _STREAMS.search(line))]


def inputs(jedi: Jedi) -> list[list[str]]:
    """What `-i` tells each job."""
    return [ast.literal_eval(found[1]) for line in lines(jedi) if (found := _INPUTS.search(line))]


def staged(jedi: Jedi) -> list[list[str]]:
    """What pilots bring to each job."""
    with jedi.engine.connect() as tx:
        statement = sa.select(t.job_files).where(t.job_files.c.type == "input").order_by(t.job_files.c.row_id)
        rows = tx.execute(statement.where(t.job_files.c.jeditaskid == jedi.jeditaskid)).all()
    return [sorted(row.lfn for row in rows if row.pandaid == pandaid) for pandaid in sorted({r.pandaid for r in rows})]
