"""The whole life of tasks and jobs, driven at random: every promise about the books holds at every step.

Users submit, command and kill, pilots claim and report (in any order, twice, too late, about jobs that are no longer
theirs or archived by now, with their own tokens and those of others), agents and chores take their turns, time passes.
The real application, agents and chores run on a real database; only the clock is ours. At the end everything is left in
peace and has to come to an end by itself.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from bamboo.core.clock import ManualClock
from bamboo.core.settings import RetentionSection, ServerSection, Settings
from bamboo.core.states import JOBS, InputFileState, JobState, TaskState
from bamboo.daemon.chores import activator, adder, aggregates, archive, closer, watcher
from bamboo.daemon.context import Context as ChoreContext
from bamboo.jedi.agents import AGENTS
from bamboo.jedi.context import Context as AgentContext
from bamboo.plugins.manager import Plugins
from bamboo.server.app import create_app
from bamboo.sql import books, datasets, queues
from bamboo.sql import tables as t
from bamboo.sql.engine import open_engine
from bamboo.sql.views import all_jobs

CHORES = (adder, watcher, activator, closer, aggregates, archive)
AGENT_CLASSES = [agent for agents in AGENTS.values() for agent in agents]
#: States that a task leaves only on a user's command.
AT_REST = {"done", "finished", "failed", "aborted", "broken", "exhausted"}
COMMANDS = ("kill", "finish", "retry", "reload_input", "pause", "resume")
#: The books are looked at after so many steps; 1 to find the one that was wrong.
EVERY = int(os.environ.get("BAMBOO_TEST_EVERY", "5"))


#: What pilots report.
STATES = st.sampled_from(["starting", "running", "running", "finished", "finished", "failed"])


def _attempt(job: Any) -> tuple[int, int]:
    return job["PandaID"], job["attemptNr"]


class Life(RuleBasedStateMachine):
    """One system, from its first task to its last report."""

    make_database: ClassVar[Callable[[], Any]]

    claims = Bundle("claims")
    tasks = Bundle("tasks")

    @initialize()
    def start(self) -> None:
        self.database = type(self).make_database()
        self.engine = open_engine(self.database.__enter__(), pool_size=2)
        self.clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.n_steps = 0
        server = ServerSection(lease_seconds=600, heartbeat_seconds=60, sent_seconds=300, secrets_key="env:KEY_OF_LIFE")
        configured = Settings(server=server, retention=RetentionSection(archive_jobs=0.02))
        plugins = Plugins(configured, self.engine, self.clock)
        self.client = create_app(configured, self.engine, self.clock).test_client()
        self.agents = [agent(AgentContext(self.engine, self.clock, configured, plugins)) for agent in AGENT_CLASSES]
        context = ChoreContext(engine=self.engine, clock=self.clock, settings=configured, plugins=plugins)
        self.chores = [chore.build(context) for chore in CHORES]
        self.serial = itertools.count()
        with self.engine.begin() as tx:
            queues.set_storage(tx, "DISK", site="S", endpoint="file://localhost", path="/storage")
            queues.set_queue(tx, "Q", {"site": "S", "storage": "DISK"}, now=self.clock())

    # what users do

    @rule(target=tasks, n_inputs=st.integers(1, 5), per_job=st.integers(1, 3), max_attempt=st.integers(1, 3))
    def submit(self, n_inputs: int, per_job: int, max_attempt: int) -> int:
        name = f"user.alice.{next(self.serial)}"
        self._add_inputs(f"{name}.in", n_inputs)
        parameters = {
            "taskName": name,
            "vo": "bamboo",
            "prodSourceLabel": "user",
            "nFilesPerJob": per_job,
            "maxAttempt": max_attempt,
            "sourceURL": "http://localhost",
            "jobParameters": [
                {"type": "template", "param_type": "input", "value": "${IN}", "dataset": f"{name}.in"},
                {
                    "type": "template",
                    "param_type": "output",
                    "value": "x.$JEDITASKID.${SN}.txt",
                    "dataset": f"{name}.out",
                },
            ],
        }
        answer = self._post("task/submit", {"task_parameters": parameters, "parent_tid": None})
        assert answer["success"], answer
        return int(answer["data"])

    @rule(task=tasks, verb=st.sampled_from(COMMANDS), soft=st.booleans())
    def command(self, task: int, verb: str, soft: bool) -> None:
        self._post(f"task/{verb}", {"task_id": task, **({"soft": soft} if verb == "finish" else {})})

    @rule(job=claims)
    def kill_job(self, job: Any) -> None:
        if job is not None:
            self._post("job/kill", {"job_ids": [job["PandaID"]]})

    @rule(task=tasks, n_inputs=st.integers(1, 3))
    def new_data(self, task: int, n_inputs: int) -> None:
        self._add_inputs(f"user.alice.{task - t.FIRST_TASK_ID}.in", n_inputs)

    def _add_inputs(self, dataset: str, n: int) -> None:
        rows = [
            {"lfn": f"f{uuid.uuid4().hex}", "url": "file:///f", "size_bytes": 5, "adler32": "00000001"}
            for _ in range(n)
        ]
        assert self._post("dataset/add_files", {"dataset": dataset, "files": rows, "create": True})["success"]

    # what pilots do

    @rule(target=claims, repeated=st.booleans())
    def claim(self, repeated: bool) -> Any:
        key = uuid.uuid4().hex
        job = self._ask_for_work(key)
        if repeated:  # the answer was lost on the way: the repetition gets the same job
            again = self._ask_for_work(key, "1")
            assert (again or {}).get("PandaID") == (job or {}).get("PandaID")
        return job

    @rule(job=claims, state=STATES, with_token=st.booleans())
    def report(self, job: Any, state: str, with_token: bool) -> None:
        if job is not None:
            self._report(job, state, token=job["attemptToken"] if with_token else "")

    @rule(job=claims, other=claims, state=STATES)
    def report_with_the_token_of_another(self, job: Any, other: Any, state: str) -> None:
        if job and other and _attempt(job) != _attempt(other):
            refused = self._report(job, state, token=other["attemptToken"])
            assert refused["code"] == "BAM-AUTH-002", refused

    @rule(job=claims)
    def report_without_outputs(self, job: Any) -> None:
        if job is not None:
            self._report(job, "finished", with_outputs=False)

    def _ask_for_work(self, key: str, retry: str = "") -> Any:
        headers = {"Idempotency-Key": key, "X-Attempt-Token": "1", **({"X-Retry": retry} if retry else {})}
        answer = self._post("pilot/acquire_jobs", {"computing_element": "Q", "prod_source_label": "user"}, **headers)
        return answer["data"]["jobs"][0] if answer["success"] else None

    def _report(self, job: Any, state: str, with_outputs: bool = True, token: str = "") -> Any:
        body = {"job_id": job["PandaID"], "job_status": state, "attempt_nr": job["attemptNr"]}
        if state == "finished" and with_outputs:
            entry = {"guid": "", "fsize": 3, "adler32": "00000002", "surl": "file:///out"}
            body["job_output_report"] = json.dumps(dict.fromkeys(job["outFiles"].split(","), entry))
        if state == "failed":
            body |= {"pilot_error_code": 1305, "pilot_error_diag": "it failed", "trans_exit_code": 1}
        return self._post("pilot/update_job", body, **({"Authorization": f"Bearer {token}"} if token else {}))

    # what the system does

    @rule(agent=st.integers(0, len(AGENT_CLASSES) - 1))
    def agent_round(self, agent: int) -> None:
        self.agents[agent].run_once()

    @rule()
    def every_agent(self) -> None:
        for agent in self.agents:
            agent.run_once()

    @rule(chore=st.integers(0, len(CHORES) - 1))
    def chore_round(self, chore: int) -> None:
        self.chores[chore].run_once()

    @rule(minutes=st.sampled_from([1, 4, 6, 11, 61]))
    def time_passes(self, minutes: int) -> None:
        self.clock.advance(minutes=minutes)

    # what always holds

    @invariant()
    def after_some_steps_the_books_are_right(self) -> None:
        if hasattr(self, "engine"):
            self.n_steps += 1
            if self.n_steps % EVERY == 0:
                self._look_at_the_books()

    def _look_at_the_books(self) -> None:
        with self.engine.connect() as tx:
            self._no_input_is_counted_twice(tx)
            self._counters_agree_with_a_recount(tx)
            self._every_step_is_on_record_and_may_be_taken(tx)
            self._nothing_is_there_twice(tx)
            self._inputs_in_work_belong_to_a_job_that_is_not_over(tx)
            self._outputs_are_registered_if_and_only_if_their_jobs_finished(tx)

    def _no_input_is_counted_twice(self, tx: sa.Connection) -> None:
        finished = sa.select(t.job_files.c.fileid).where(
            t.job_files.c.fileid.is_not(None), t.job_files.c.status == InputFileState.FINISHED
        )
        ids = list(tx.scalars(finished))
        marked = set(tx.scalars(sa.select(t.files.c.fileid).where(t.files.c.status == InputFileState.FINISHED)))
        assert len(ids) == len(set(ids))
        assert set(ids) == marked

    def _counters_agree_with_a_recount(self, tx: sa.Connection) -> None:
        for task in tx.scalars(sa.select(t.tasks.c.jeditaskid)).all():
            assert datasets.recount(tx, task) == {}

    def _every_step_is_on_record_and_may_be_taken(self, tx: sa.Connection) -> None:
        assert (books.illegal_steps(tx), books.broken_chains(tx), books.unexplained(tx)) == ([], [], {})
        last = sa.select(sa.func.max(t.job_events.c.id)).group_by(t.job_events.c.pandaid)
        told = sa.select(t.job_events.c.pandaid, t.job_events.c.new_status).where(t.job_events.c.id.in_(last))
        assert dict(tx.execute(told).all()) == dict(tx.execute(sa.select(all_jobs.c.pandaid, all_jobs.c.status)).all())

    def _nothing_is_there_twice(self, tx: sa.Connection) -> None:
        assert books.doubles(tx) == {}

    def _inputs_in_work_belong_to_a_job_that_is_not_over(self, tx: sa.Connection) -> None:
        owners = sa.select(t.files.c.fileid, all_jobs.c.status).join(all_jobs, all_jobs.c.pandaid == t.files.c.pandaid)
        assert all(status not in JOBS.final for _, status in tx.execute(owners))

    def _outputs_are_registered_if_and_only_if_their_jobs_finished(self, tx: sa.Connection) -> None:
        registered = sa.select(t.catalogue_files.c.lfn, t.catalogue_files.c.pandaid).where(
            t.catalogue_files.c.pandaid.is_not(None)
        )
        made = (
            sa.select(t.job_files.c.lfn, t.job_files.c.pandaid)
            .join(all_jobs, all_jobs.c.pandaid == t.job_files.c.pandaid)
            .where(t.job_files.c.type == "output", all_jobs.c.status == JobState.FINISHED)
        )
        assert sorted(tx.execute(registered).all()) == sorted(tx.execute(made).all())

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        try:
            self._look_at_the_books()
            self._come_to_an_end()
            self._look_at_the_books()
        finally:
            self.engine.dispose()
            self.database.__exit__(None, None, None)

    def _come_to_an_end(self) -> None:
        """With working pilots and nobody interfering, every task ends, and its books are closed."""
        for _ in range(60):
            states = self._task_states()
            if set(states.values()) <= AT_REST:
                break
            for task, state in states.items():
                if state == TaskState.PAUSED:
                    self._post("task/resume", {"task_id": task})
            self.every_agent()
            while (job := self._ask_for_work(uuid.uuid4().hex)) is not None:
                self._report(job, "running")
                self._report(job, "finished")
            for chore in self.chores:
                chore.run_once()
            self.clock.advance(minutes=11)
        assert set(states.values()) <= AT_REST, states
        with self.engine.connect() as tx:
            open_jobs = sa.select(t.jobs.c.pandaid).where(t.jobs.c.status.not_in(list(JOBS.final)))
            assert not list(tx.scalars(open_jobs))
            for task, state in states.items():
                master = next((d for d in datasets.inputs(tx, task) if d.is_master), None)
                if master is None:  # ended before it was refined
                    assert state in ("aborted", "failed")
                    continue
                if state == "done":
                    assert master.n_files_finished == master.n_files > 0
                if state in ("finished", "failed"):
                    assert master.n_files_finished + master.n_files_failed == master.n_files
                    assert (master.n_files_finished == 0) == (state == "failed")

    def _task_states(self) -> dict[int, str]:
        with self.engine.connect() as tx:
            return dict(tx.execute(sa.select(t.tasks.c.jeditaskid, t.tasks.c.status)).all())

    def _post(self, path: str, body: Any, **headers: str) -> Any:
        reply = self.client.post(f"/api/v1/{path}", json=body, headers={"X-Bamboo-User": "alice", **headers})
        assert reply.status_code in (200, 409), reply.text
        return reply.json


@contextmanager
def sqlite_copy(template: Path, folder: Path) -> Iterator[str]:
    path = folder / f"{uuid.uuid4().hex}.db"
    shutil.copy(template, path)
    yield f"sqlite:///{path}"
    for left in folder.glob(f"{path.name}*"):
        left.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_the_books_hold_whatever_happens(
    backend: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than three thousand steps on SQLite, and fewer on PostgreSQL, which is slower for one client."""
    monkeypatch.setenv("KEY_OF_LIFE", Fernet.generate_key().decode())
    lives = {"sqlite": "40", "postgres": "10"}[backend]
    if backend == "sqlite":
        template = request.getfixturevalue("sqlite_template")
        make: Callable[[], Any] = lambda: sqlite_copy(template, tmp_path)  # noqa: E731
    else:
        make = request.getfixturevalue("new_postgres_database")

    class Here(Life):
        make_database = staticmethod(make)

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=int(os.environ.get("BAMBOO_TEST_LIVES", lives)),
            stateful_step_count=80,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking takes minutes: do it by hand
            print_blob=True,
        ),
    )
