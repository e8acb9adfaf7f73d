"""Campaigns of faults: what is promised is kept, and a system in which a bug was planted is found out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import bamboo
from bamboo.admin.chaos.checker import INVARIANTS, Violation, leaks, runs, submissions
from bamboo.admin.chaos.history import History, Line, Step
from bamboo.admin.chaos.nemesis import BAD_WEATHER, plan
from bamboo.sql.books import TaskSeen

ROOT = Path(bamboo.__file__).parent
#: Folders of the source tree that a system needs nothing of.
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "tests", "benchmarks", "docs", "*.egg-info", "__pycache__", "bamboo-*"
)
SEED = os.environ.get("BAMBOO_TEST_SEED", "1")
CAMPAIGN_SECONDS = 900


def campaign(folder: Path, *options: str, source: Path | None = None) -> tuple[int, dict[str, Any]]:
    """Run a campaign in a process of its own, of another source tree if one is given; its exit status and outcome."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("BAMBOO_")}
    paths = {"PYTHONPATH": str(source)} if source else {}
    words = ["doctor", "chaos", "--json", "--replay", SEED, "--folder", str(folder / "campaign"), *options]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "bamboo", *words],
        capture_output=True,
        text=True,
        env={**environ, **paths},
        cwd=folder,
        timeout=CAMPAIGN_SECONDS,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.slow
def test_nothing_is_lost_or_counted_twice_whatever_is_killed(tmp_path: Path, database_url: str) -> None:
    status, outcome = campaign(tmp_path, "--kills", "300", "--pace", "0.2", "--db", database_url)
    assert outcome["violations"] == []
    assert status == 0
    assert outcome["kills"] >= 300
    assert outcome["inputs_finished"] > 0
    killed = {fault.removeprefix("kill: ") for fault in outcome["faults"] if fault.startswith("kill: ")}
    # Payloads live for a moment only: one may never be there when its turn comes.
    assert killed >= {"pilot", "keeper", "server worker", "server", "agent", "jedi master", "daemon worker"}


@dataclass(frozen=True)
class Mutant:
    """A bug to plant: in a file, one text in the place of another; `breaks` are promises of which one must be seen to
    be broken."""

    file: str
    old: str
    new: str
    breaks: frozenset[str]


MUTANTS = {
    "a submission is acknowledged before it is committed": Mutant(
        "server/api/task.py",
        "    with context().writing() as tx:\n        return enter(tx, submission, now=now, request_id=request_id())\n",
        "    import threading\n"
        "    tx = context().engine.connect()\n"
        "    transaction = tx.begin()\n"
        "    entered = enter(tx, submission, now=now, request_id=request_id())\n"
        "    threading.Timer(0.7, lambda: (transaction.commit(), tx.close())).start()\n"
        "    return entered\n",
        frozenset({"I1"}),
    ),
    "an attempt that is offered again keeps its number": Mutant(
        "daemon/chores/watcher.py",
        "            new_attempt=True,\n",
        "            new_attempt=False,\n",
        frozenset({"I2", "I3", "I5"}),
    ),
    "the rule of leases is the other way round": Mutant(
        "sql/jobs.py",
        "    return is_in(*LEASED), jobs.c.lease_until < now\n",
        "    return is_in(*LEASED), jobs.c.lease_until > now\n",
        frozenset({"I3"}),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_is_found(tmp_path: Path, name: str) -> None:
    """In a copy of the source tree: nothing of it is in the product."""
    mutant = MUTANTS[name]
    copy = tmp_path / "source" / "bamboo"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    text = (copy / mutant.file).read_text()
    assert text.count(mutant.old) == 1
    (copy / mutant.file).write_text(text.replace(mutant.old, mutant.new))
    status, outcome = campaign(tmp_path, "--kills", "300", source=copy.parent)
    assert status == 1
    found = {violation["invariant"] for violation in outcome["violations"]}
    assert found & mutant.breaks, outcome["violations"]


def test_a_seed_says_all_that_is_done() -> None:
    """The same again for the same seed, other things for another, and the database only where it may be killed."""
    first, again, other = (
        list(islice(plan(seed, 0.3, networks=["a"], with_database=False), 300)) for seed in (7, 7, 8)
    )
    assert first == again
    assert first != other
    assert not any(fault.kind.startswith("database") for fault in first)
    with_it = islice(plan(7, 0.3, networks=["a", "b"], with_database=True), 300)
    assert {"database", "database backend", "a", "b"} <= {fault.kind for fault in with_it}
    assert {fault.deed for fault in first} == {"kill", "stop", "lose", *BAD_WEATHER}


def test_the_history_is_what_was_noted(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    history.note(Step.INVOKE, "user.chaos.a/", 3)
    history.note(Step.OK, "user.chaos.a/", 3, task_id=17)
    told = [(line.step, line.task_name, line.n_inputs, line.task_id) for line in history.lines()]
    assert told == [(Step.INVOKE, "user.chaos.a/", 3, 0), (Step.OK, "user.chaos.a/", 3, 17)]
    history.close()


@pytest.mark.parametrize(
    ("step", "there", "is_right"),
    [
        (Step.OK, [5], True),
        (Step.OK, [], False),
        (Step.OK, [6], False),
        (Step.OK, [5, 6], False),
        (Step.UNKNOWN, [], True),
        (Step.UNKNOWN, [6], True),
        (Step.UNKNOWN, [5, 6], False),
        (Step.FAIL, [], True),
        (Step.FAIL, [5], False),
        (Step.INVOKE, [5], True),
    ],
)
def test_what_clients_were_told_is_held_against_what_is_there(step: Step, there: list[int], is_right: bool) -> None:
    history = [Line(Step.INVOKE, "a", 1), Line(step, "a", 1, 5 if step is Step.OK else 0)]
    seen = [TaskSeen(task, "a", "done", 1, 1) for task in there]
    assert (list(submissions(history, seen)) == []) is is_right


def test_a_task_that_nobody_asked_for_is_found() -> None:
    (found,) = submissions([], [TaskSeen(5, "a", "done", 1, 1)])
    assert found.invariant == "I1"
    assert INVARIANTS["I1"] in str(found)


@pytest.mark.parametrize(
    ("told", "broken"),
    [
        ([("start", 1), ("end", 1), ("start", 2)], []),
        ([("start", 1), ("overlap", 2), ("start", 2)], ["I3"]),
        ([("start", 1), ("start", 1)], ["I5"]),
        ([("start", 2), ("start", 1)], ["I5"]),
    ],
)
def test_what_payloads_have_left_is_held_against_the_order_of_attempts(
    tmp_path: Path, told: list[tuple[str, int]], broken: list[str]
) -> None:
    lines = [json.dumps({"what": what, "pandaid": 17, "attempt_nr": attempt}) for what, attempt in told]
    (tmp_path / "10.in0.txt.jsonl").write_text("\n".join([*lines, '{"what": "sta']))
    assert [found.invariant for found in runs(tmp_path)] == broken


def test_a_secret_in_a_log_is_found_also_where_it_is_cut_in_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bamboo.admin.chaos.checker.SCANNED_BYTES", 8)
    (tmp_path / "auth").mkdir()
    (tmp_path / "auth" / "key").write_bytes(b"canary")
    assert list(leaks(tmp_path, [b"canary"])) == []
    (tmp_path / "server.log").write_bytes(b"12345canary678")
    assert list(leaks(tmp_path, [b"canary"])) == [Violation("I9", f"{tmp_path / 'server.log'} holds a secret")]


def test_a_database_that_is_used_is_refused(
    tmp_path: Path, database_url: str, open_database: Callable[[str], sa.Engine]
) -> None:
    from bamboo.admin.chaos.campaign import Setting, run_campaign
    from bamboo.core.errors import BadState

    engine = open_database(database_url)
    with engine.begin() as tx:
        tx.execute(
            sa.text(
                "INSERT INTO tasks (task_name, user_name, vo, prod_source_label, status, split_rule, created_at,"
                " modified_at, state_changed_at) VALUES ('x', 'u', 'v', 'user', 'done', '{}', '2026-01-01',"
                " '2026-01-01', '2026-01-01')"
            )
        )
    with pytest.raises(BadState, match="never works on one that is used"):
        run_campaign(Setting(tmp_path, 1, database_url=database_url), print)
