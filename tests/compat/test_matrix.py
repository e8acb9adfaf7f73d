"""Every scenario, with either client and either pilot, on either database: `corners` says which runs where.

One system for each database, with our pilots on its one queue and PanDA's on the other. All tasks are submitted at
once, and looked at one by one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest
from corners import CLIENTS, DATABASES, PILOTS, QUEUES, USERS, Corner, User, corners_of, matrix
from panda import Crew
from patience import eventually
from scenarios import SCENARIOS, STAYS, Scenario, Site
from systems import Process, descendants

from bamboo.client import Task

pytestmark = pytest.mark.slow

N_SLOTS = 6
#: How long PanDA's pilots may be silent: by default as in production, and not long where one of them gets lost.
PATIENCE: dict[str, dict[str, str]] = {"sqlite": {}, "postgres": {"BAMBOO_SERVER__PATIENCE_SECONDS": "40"}}
END_SECONDS = 300


class Submitted(NamedTuple):
    task: int
    out_ds: str
    user: User


class Board:
    """A running system with both kinds of pilots, and all tasks of the matrix that belong on its database."""

    def __init__(self, site: Site, database: str, folder: Path) -> None:
        self.site, self.database, self.folder = site, database, folder
        site.add_queue(QUEUES["pandas"])
        self.crew = Crew(site.system, site.engine, N_SLOTS, queue=QUEUES["pandas"])
        self.submitted: dict[tuple[str, Corner], Submitted] = {}

    def get(self, scenario: Scenario, corner: Corner) -> Submitted:
        """The task of a test. With the first come those of all tests after it, the slow ones before the others.

        A worker that takes over the last tests of another one starts a board of its own, for these only.
        """
        wanted = (scenario.name, corner)
        if wanted not in self.submitted:
            runs = list(matrix(self.database))
            rest = runs[runs.index((scenario, corner)) :]
            for each, where in sorted(rest, key=lambda run: run[1].pilot != "pandas"):
                if (each.name, where) not in self.submitted:
                    self.submitted[each.name, where] = self._submit(each, where)
        return self.submitted[wanted]

    def _submit(self, scenario: Scenario, corner: Corner) -> Submitted:
        name = f"{scenario.name}.{corner.client}.{corner.pilot}"
        user = USERS[corner.client](self.site, self.folder / name)
        scenario.lay_out(user.folder, self.site.storage)
        if scenario.secrets:
            user.set_secrets(dict(scenario.secrets), dict(scenario.secret_files))
        words = {"SEEN": str(self.folder / f"{name}.seen")}
        if scenario.parent:
            parent = self._submit(scenario.parent, corner)
            words |= {"PARENT_ID": str(parent.task), "PARENT_DS": parent.out_ds}
        options = list(scenario.options)
        for word, meaning in words.items():
            options = [option.replace(word, meaning) for option in options]
        out_ds = f"user.alice.{name}"
        task = user.submit(*options, "--outDS", out_ds, "--site", QUEUES[corner.pilot])
        return Submitted(task, out_ds, user)

    def end_of(self, submitted: Submitted) -> str:
        return self.site.end_of(submitted.task, END_SECONDS)

    def runs(self, pilot: str, word: str) -> bool:
        """Whether a pilot of this kind runs a command with this word in it."""
        return bool(self.crew.holder_of(word) if pilot == "pandas" else self._tree_of_ours(word))

    def lose(self, pilot: str, word: str) -> None:
        """SIGKILL for the pilot that runs it and for all below it, as when its machine vanishes."""
        if pilot == "pandas":
            holder = self.crew.holder_of(word)
            assert holder is not None
            holder.kill()
            return
        for process in self._tree_of_ours(word):
            with suppress(ProcessLookupError):  # a part may end because another one has
                os.kill(process.pid, signal.SIGKILL)

    def _tree_of_ours(self, word: str) -> list[Process]:
        for pilot in self.site.system.of_kind("pilot"):
            tree = [pilot, *descendants(pilot.pid)]
            if any(word in process.command for process in tree):
                return tree
        return []


@pytest.fixture(scope="module")
def board_on(
    sqlite_module_url: str,
    postgres_module_url: str,
    start_site: Callable[..., Site],  # after the databases, so that the systems end before these are dropped
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], Board]]:
    """Gives the board of a database; it is started when it is asked for first."""
    urls = {"sqlite": sqlite_module_url, "postgres": postgres_module_url}
    boards: dict[str, Board] = {}
    with ExitStack() as stack:

        def _board_on(database: str) -> Board:
            if database not in boards:
                site = start_site(urls[database], "--pilots", "3", **PATIENCE[database])
                boards[database] = board = Board(site, database, tmp_path_factory.mktemp("users"))
                stack.enter_context(board.crew)
            return boards[database]

        yield _board_on


RUNS = [
    pytest.param(scenario, corner, id=f"{scenario.name}-{'-'.join(corner)}")
    for database in DATABASES
    for scenario, corner in matrix(database)
]


@pytest.mark.parametrize(("scenario", "corner"), RUNS)
def test_scenario(scenario: Scenario, corner: Corner, board_on: Callable[[str], Board]) -> None:
    board = board_on(corner.database)
    submitted = board.get(scenario, corner)
    if scenario.disturbed == "kill":
        kill(board, submitted, corner.pilot)
    elif scenario.disturbed == "lose":
        eventually(lambda: board.runs(corner.pilot, "sleep 611"), "the payload to run", END_SECONDS)
        board.lose(corner.pilot, "sleep 611")
        assert not board.runs(corner.pilot, "sleep 611")
    assert board.end_of(submitted) == scenario.ends
    board.site.check(scenario, submitted.task, submitted.out_ds, corner.client)
    if scenario.ends == "failed":
        check_failure(board, submitted, corner.pilot)
    if scenario.metadata:
        assert tuple(submitted.user.metadata(submitted.task)) == scenario.metadata


def kill(board: Board, submitted: Submitted, pilot: str) -> None:
    """The user has the task killed: the payload ends, and the pilot reports what there was.

    PanDA's pilot saves no log when it hears of the kill in the answer to its first report, that the payload runs: so
    that report comes before the kill. It ends the payload's shell only; what the shell ran goes with the pilot itself.
    """
    eventually(lambda: board.runs(pilot, STAYS), "the payload to run", END_SECONDS)
    (job,) = Task(board.site.client, submitted.task).jobs()
    eventually(lambda: board.site.client.job(job.job_id).status == "running", "the pilot to say so")
    submitted.user.kill(submitted.task)
    assert board.end_of(submitted) == "aborted"
    eventually(lambda: not board.runs(pilot, STAYS), "the payload to be gone")
    eventually(lambda: board.site.client.job(job.job_id).status == "cancelled", "the pilot's last report")
    eventually(lambda: board.site.logs(f"{submitted.out_ds}.log"), "the log")


def check_failure(board: Board, submitted: Submitted, pilot: str) -> None:
    """The exit code is the payload's own; PanDA's pilot says it two minutes late, as an error of the payload (17)."""
    (job,) = Task(board.site.client, submitted.task).jobs()
    assert str(job.row["transExitCode"]) == "3"
    assert pilot == "ours" or str(job.row["pilotErrorCode"]) == "1305"


def test_the_sample_meets_everything() -> None:
    """Each scenario each client, pilot and database; and each pair of these is met, and each corner."""
    sample = {name: corners_of(number) for number, name in enumerate(SCENARIOS)}
    for corners in sample.values():
        assert [set(values) for values in zip(*corners, strict=True)] == [set(CLIENTS), set(PILOTS), set(DATABASES)]
    met = {corner for corners in sample.values() for corner in corners}
    assert met == {Corner(*corner) for corner in product(CLIENTS, PILOTS, DATABASES)}
    assert len(RUNS) == 3 * len(SCENARIOS)


def test_patience_is_where_it_is_needed() -> None:
    """A lost pilot of PanDA's must be missed soon; one whose payload fails is silent for two minutes (17)."""
    place = {name: corners_of(number)[0].database for number, name in enumerate(SCENARIOS)}
    assert PATIENCE[place["lost"]]
    assert not PATIENCE[place["fails"]]
