"""`bamboo retry-rules`: rules are entered, switched and tried on what failed before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from world import World

from bamboo.core.clock import utc_now
from bamboo.core.errors import Duplicate, Invalid, NotFound
from bamboo.core.settings import Settings
from bamboo.daemon.chores.adder import Adder
from bamboo.daemon.context import Context
from bamboo.plugins.manager import Plugins
from bamboo.sql import tables as t

Operator = Callable[..., Any]
NO_DISK = ("--action", "no_retry", "--source", "payload", "--code", "65", "--message", "disk")


def listed(operator: Operator) -> dict[str, dict[str, Any]]:
    return {rule["name"]: rule for rule in operator("retry-rules", "list", "--json").json}


def test_rules_come_and_go(operator: Operator) -> None:
    shipped = listed(operator)
    assert {rule["origin"] for rule in shipped.values()} == {"shipped"}
    limit = ("--action", "limit_retry", "--source", "pilot", "--parameter", "maxAttempt=2", "--work-queue", "7")
    assert operator("retry-rules", "add", "mine", *limit, "--passive", "--by", "alice").out == "rule mine is passive\n"
    mine = listed(operator)["mine"]
    assert (mine["action"], mine["parameters"], mine["code"], mine["active"], mine["work_queue"], mine["origin"]) == (
        "limit_retry",
        {"maxAttempt": 2},
        None,
        False,
        "7",
        "database, by alice",
    )
    assert isinstance(operator("retry-rules", "add", "mine", *NO_DISK).error, Duplicate)
    assert operator("retry-rules", "add", "mine", *NO_DISK, "--replace").error is None
    assert listed(operator)["mine"]["message"] == "disk"
    assert operator("retry-rules", "disable", "mine").out == "rule mine is passive\n"
    assert "mine" in operator("retry-rules", "list").out
    assert operator("retry-rules", "remove", "mine").error is None
    assert listed(operator) == shipped
    assert isinstance(operator("retry-rules", "remove", "mine").error, NotFound)


def test_a_rule_of_the_file_is_switched_in_the_database(operator: Operator) -> None:
    operator("retry-rules", "enable", "out-of-memory", "--by", "bob")
    changed = listed(operator)["out-of-memory"]
    assert (changed["active"], changed["origin"]) == (True, "database, by bob")
    operator("retry-rules", "remove", "out-of-memory")
    assert listed(operator)["out-of-memory"]["active"] is False
    missing = operator("retry-rules", "enable", "out-of-memry").error
    assert isinstance(missing, NotFound)
    assert "did you mean 'out-of-memory'?" in str(missing)


def test_all_faults_of_a_rule_are_told_and_nothing_is_entered(operator: Operator) -> None:
    refused = operator("retry-rules", "add", "x", "--action", "no", "--source", "no", "--message", "(a+)+$").error
    assert isinstance(refused, Invalid)
    assert [fault.where for fault in refused.faults] == ["rule x action", "rule x source", "rule x message"]
    assert isinstance(operator("retry-rules", "add", "x", *NO_DISK, "--parameter", "n=many").error, Invalid)
    assert "x" not in listed(operator)


def test_a_file_is_checked_before_it_is_used(operator: Operator, tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('version = 1\n[[rule]]\nname = "a"\naction = "no_retry"\nsource = "exe"\nmessage = "(a+)+$"\n')
    assert isinstance(operator("retry-rules", "check", path).error, Invalid)
    path.write_text(path.read_text().replace("(a+)+$", "a+"))
    assert operator("retry-rules", "check", path).out == f"{path} can be used: 1 rules\n"


@pytest.fixture
def past(engine: sa.Engine) -> World:
    """Three inputs that failed for the disk: one was finished later, one failed again and for good, one is open."""
    world = World(engine, utc_now).start(4, max_attempt=2)
    settings = Settings()
    context = Context(engine=engine, clock=utc_now, settings=settings, plugins=Plugins(settings, engine, utc_now))
    world.hold(3, "failed", exe_error_code=65, exe_error_diag="no space on the disk")
    Adder(context).run_once()
    (again,) = world.generate(1)
    assert again
    world.report(world.move(world.claim(1), "starting", "running"), "finished")
    world.hold(1, "failed", exe_error_code=66, exe_error_diag="another thing")
    Adder(context).run_once()
    return world


@pytest.mark.parametrize("database_url", ["sqlite", "postgres"], indirect=True)
def test_a_rule_is_tried_on_the_past(operator: Operator, past: World, engine: sa.Engine) -> None:
    assert [row.status for row in past.inputs().values()] == ["finished", "failed", "ready", "ready"]
    told = operator("retry-rules", "test", "disk", *NO_DISK, "--json").json
    assert (told["failures"], told["matched"]) == (4, 3)
    ended = {"inputs": 3, "finished": 1, "failed": 1, "open": 1, "in_vain": 1, "to_finish": 1}
    assert told["inputs"] == ended
    lost = "it would have lost 1 inputs that another attempt finished, and saved 1 jobs that were in vain"
    assert told["verdict"] == lost
    said = operator("retry-rules", "test", "disk", *NO_DISK).out
    assert "3 of 4 failures match" in said
    assert "exe 65: no space on the disk" in said
    assert "disk" not in listed(operator)

    with engine.begin() as tx:  # archived jobs count as well
        columns = list(t.archived_jobs.columns.keys())
        failed = t.jobs.c.status == "failed"
        chosen = sa.select(*(t.jobs.c[name] for name in columns)).where(failed)
        tx.execute(sa.insert(t.archived_jobs).from_select(columns, chosen))
        tx.execute(sa.delete(t.jobs).where(failed))
    assert operator("retry-rules", "test", "disk", *NO_DISK, "--json").json["inputs"] == ended


def test_a_rule_in_force_is_tried_though_it_is_passive(operator: Operator, past: World) -> None:
    with past.engine.begin() as tx:
        tx.execute(
            sa.update(t.jobs)
            .where(t.jobs.c.exe_error_code == 65)
            .values(pilot_error_code=1212, pilot_error_diag="", min_ram_count_mb=1000)
        )
    told = operator("retry-rules", "test", "out-of-memory").out
    assert "rule out-of-memory (pilot 1212: increase_memory): 1500 MB of memory" in told
    assert "it would have changed what the next jobs ask for after 3 of 3 failures" in told
    assert "nothing matched" in operator("retry-rules", "test", "out-of-time").out
    assert "0 of 0" in operator("retry-rules", "test", "out-of-memory", "--days", 0).out
    assert isinstance(operator("retry-rules", "test", "no-such-rule").error, NotFound)


def test_a_slow_rule_ends_its_trial(operator: Operator, past: World) -> None:
    with past.engine.begin() as tx:
        tx.execute(sa.update(t.jobs).values(exe_error_diag="ab" * 50 + "!"))
    words = ("--action", "no_retry", "--source", "exe", "--message", "(?:ab|ab)+$")
    assert isinstance(operator("retry-rules", "test", "x", *words).error, Invalid)
