"""One running system for each module and database: its parts are real processes, and its users type real commands."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from panda import PandaClient, token_of
from scenarios import Site
from systems import RunningSystem

from bamboo.sql.engine import open_engine

#: Our own pilots lose their jobs soon; those of PanDA must be waited for, as in production.
TIMES = {"BAMBOO_SERVER__LEASE_SECONDS": "30", "BAMBOO_SERVER__HEARTBEAT_SECONDS": "2"}


@pytest.fixture(scope="module")
def start_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Site]]:
    """Starts systems: `start_site("sqlite:///…", "--pilots", "2", BAMBOO_SERVER__LEASE_SECONDS="8")`."""
    started: list[Site] = []

    def _start(database_url: str, *arguments: str, **environ: str) -> Site:
        folder = tmp_path_factory.mktemp("site") / "system"
        system = RunningSystem(folder, ["--db", database_url, *arguments], {**TIMES, **environ}).start()
        started.append(Site(system, open_engine(database_url), token_of(system, "alice")))
        started[-1].register_inputs()
        return started[-1]

    yield _start
    for site in started:
        site.engine.dispose()
        site.system.clean_up()


@pytest.fixture(scope="module")
def sqlite_module_url(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("database") / "bamboo.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="module")
def postgres_module_url(new_postgres_database: Callable[[], Any]) -> Iterator[str]:
    with new_postgres_database() as url:
        yield url


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def module_database_url(request: pytest.FixtureRequest) -> str:
    """A database for a whole module."""
    return str(request.getfixturevalue(f"{request.param}_module_url"))


@pytest.fixture
def panda_client(tmp_path: Path) -> Callable[..., PandaClient]:
    """Makes clients: `panda_client(site, version="1.7.6")`, each in a folder of its own."""

    def _make(site: Site, **options: Any) -> PandaClient:
        return PandaClient(site.system, tmp_path / "alice", token=site.token, **options)

    return _make
