"""The real application on a real database, and jobs to hand out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from joserfc.jwk import ECKey, RSAKey
from tokens import Issuer

from bamboo.core.clock import ManualClock
from bamboo.core.settings import ServerSection, Settings
from bamboo.core.states import JobState
from bamboo.server.app import create_app
from bamboo.sql import datasets, generation, queues, tasks

CAPTURES = Path(__file__).parent / "captures"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        server=ServerSection(
            collect_seconds=0,  # else tests would wait for figures; test_heartbeats.py collects
            cache_dir=tmp_path / "cache",
            max_body_bytes=256 * 1024,
            max_sandbox_bytes=200_000,
            max_small_sandbox_bytes=100_000,
            public_url="http://bamboo.test:25080",
        )
    )


@pytest.fixture
def app(settings: Settings, engine: sa.Engine, clock: ManualClock) -> Flask:
    return create_app(settings, engine, clock)


@pytest.fixture
def pages(app: Flask) -> FlaskClient:
    """A browser of somebody on the server's machine."""
    return app.test_client()


@pytest.fixture(scope="session")
def issuers_keys() -> tuple[ECKey, RSAKey]:
    """Made once: that takes longer than to ask."""
    return ECKey.generate_key("P-256", {"kid": "ec"}), RSAKey.generate_key(2048, {"kid": "rsa"})


@pytest.fixture
def issuer(tmp_path: Path, clock: ManualClock, issuers_keys: tuple[ECKey, RSAKey]) -> Issuer:
    return Issuer(tmp_path, clock(), *issuers_keys)


@pytest.fixture
def guarded(issuer: Issuer, engine: sa.Engine, clock: ManualClock) -> Flask:
    """An application that wants tokens."""
    return create_app(Settings(server=issuer.section()), engine, clock)


class Api:
    """Calls of the API as a user; answers are the parsed envelopes."""

    def __init__(self, client: FlaskClient, user: str = "alice") -> None:
        self.client = client
        self.user = user

    def post(self, path: str, body: Any = None, *, http: int = 200, **headers: str) -> Any:
        given = {"X-Bamboo-User": self.user, **{name.replace("_", "-"): value for name, value in headers.items()}}
        answer = self.client.post(f"/api/v1/{path}", json=body, headers=given)
        assert answer.status_code == http, answer.text
        return answer.json

    def get(self, path: str, *, http: int = 200, **query: Any) -> Any:
        answer = self.client.get(f"/api/v1/{path}", query_string=query, headers={"X-Bamboo-User": self.user})
        assert answer.status_code == http, answer.text
        return answer.json


@pytest.fixture
def api(app: Flask) -> Api:
    return Api(app.test_client())


@pytest.fixture
def bob(app: Flask) -> Api:
    return Api(app.test_client(), "bob")


def parameters(**changes: Any) -> dict[str, Any]:
    """Task parameters as prun sends them for a hello world without build; None takes a key out."""
    given = json.loads((CAPTURES / "hello.json").read_text())["task_parameters"]
    return {key: value for key, value in {**given, **changes}.items() if value is not None}


class World:
    """Makes queues, tasks and jobs, by the same functions that the agents use."""

    def __init__(self, engine: sa.Engine, clock: ManualClock) -> None:
        self.engine = engine
        self.clock = clock

    def queue(self, name: str = "LOCAL", **attributes: Any) -> str:
        with self.engine.begin() as tx:
            queues.set_queue(tx, name, attributes, now=self.clock())
        return name

    def task(self, name: str = "user.alice.t/", user: str = "alice", **columns: Any) -> int:
        with self.engine.begin() as tx:
            return tasks.insert_task(
                tx,
                parameters(),
                actor=user,
                now=self.clock(),
                request_id=None,
                task_name=name,
                user_name=user,
                vo="bamboo",
                prod_source_label="user",
                split_rule={},
                **columns,
            )

    def jobs(self, n: int = 1, *, queue: str = "LOCAL", task: int | None = None, **columns: Any) -> list[int]:
        """Activated jobs with an output and a log each."""
        jeditaskid = self.task() if task is None else task
        now = self.clock()
        with self.engine.begin() as tx:
            known = {row.type: row.datasetid for row in datasets.of_task(tx, jeditaskid)}
            if not known:
                common = {"jeditaskid": jeditaskid, "selection": {}, "scope": "user.alice"}
                rows = [
                    {**common, "type": kind, "dataset_name": f"user.alice.{kind}", "stream_name": kind.upper()}
                    for kind in ("output", "log")
                ]
                datasets.insert_datasets(tx, rows, now=now)
                known = {row.type: row.datasetid for row in datasets.of_task(tx, jeditaskid)}
            first = tasks.take_serials(tx, jeditaskid, n)
            new = [
                generation.NewJob(job_columns(serial, queue, columns), "-p x", (), outputs(serial, known))
                for serial in range(first, first + n)
            ]
            made = generation.insert_jobs(
                tx, jeditaskid, new, status=JobState.ACTIVATED, actor="test", why="test", now=now
            )
        return [job.pandaid for job in made]


def job_columns(serial: int, queue: str, changes: dict[str, Any]) -> dict[str, Any]:
    return {
        "attempt_nr": 1,
        "serial_nr": serial,
        "queue": queue,
        "current_priority": 1000,
        "gshare": "Undefined",
        "resource_type": "SCORE",
        "prod_source_label": "user",
        "vo": "bamboo",
        "user_name": "alice",
        "transformation": "runGen-00-00-02",
        "core_count": 1,
        "min_ram_count_mb": 100,
        "max_disk_count_mb": 100,
        "max_walltime_seconds": 3600,
        "n_input_files": 0,
        "input_file_bytes": 0,
        "is_scout": False,
        **changes,
    }


def outputs(serial: int, known: dict[str, int]) -> list[dict[str, Any]]:
    return [
        {
            "datasetid": known[kind],
            "type": kind,
            "lfn": f"{serial:06d}.{kind}",
            "scope": "user.alice",
            "storage": "LOCAL_DISK",
            "first_event": 0,
        }
        for kind in ("output", "log")
    ]


@pytest.fixture
def world(engine: sa.Engine, clock: ManualClock) -> World:
    made = World(engine, clock)
    made.queue()
    return made


@pytest.fixture
def claim(api: Api, world: World) -> Callable[..., dict[str, Any]]:
    """Makes a job and takes it; returns its dictionary."""

    def _claim(**columns: Any) -> dict[str, Any]:
        world.jobs(1, **columns)
        return dict(api.post("pilot/acquire_jobs", {"computing_element": "LOCAL"})["data"]["jobs"][0])

    return _claim
