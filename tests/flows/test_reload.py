"""JEDI and the daemon read their configuration again (F36): as a whole, or not at all."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from patience import eventually
from systems import Operator, descendants

from bamboo.jedi.agents import AGENTS


@pytest.fixture
def operator(tmp_path: Path, sqlite_url: str) -> Iterator[Operator]:
    made = Operator(tmp_path, {"BAMBOO_DATABASE__URL": sqlite_url, "BAMBOO_CONFIG": str(tmp_path / "parts.cfg")})
    yield made
    made.clean_up()


def write(operator: Operator, **sections: dict[str, object]) -> None:
    lines = ["[common]", f"logdir = {operator.folder}", "log_format = json"]
    for section, values in sections.items():
        lines += [f"[{section}]", *(f"{key} = {value}" for key, value in values.items())]
    (operator.folder / "parts.cfg").write_text("\n".join(lines))


def jedi(n: int, **more: object) -> dict[str, dict[str, object]]:
    return {"master": {"period_seconds": 0.2}, "jobgen": {"procConfig": f"::{n}", **more}}


def daemon(n: int, **more: object) -> dict[str, dict[str, object]]:
    config = json.dumps({"tmpwatch": {"period": 3600}})
    return {"daemon": {"enable": True, "n_proc": n, "config": config, **more}}


WRONG = [
    (jedi, {"procConf": 1}),
    (jedi, {"modConfig": "::no.such.module:Broker"}),
    (daemon, {"n_procs": 1}),
    (daemon, {"config": json.dumps({"no_such_chore": {"period": 1}})}),
]


@pytest.mark.parametrize(("sections", "wrong"), WRONG, ids=["jedi key", "jedi plugin", "daemon key", "daemon chore"])
def test_new_settings_are_taken_as_a_whole_or_not_at_all(
    operator: Operator, sections: Callable[..., dict[str, dict[str, object]]], wrong: dict[str, object]
) -> None:
    part = sections.__name__
    write(operator, **sections(1))
    operator.start(part, "-m", "bamboo", part)
    process = operator.running[part]

    def told(event: str) -> int:
        log = operator.folder / f"{part}.log"
        return log.read_text().count(f'"event": "{event}"') if log.exists() else 0

    def children() -> set[int]:
        return {one.pid for one in descendants(process.pid)}

    eventually(lambda: told(f"{'master' if part == 'jedi' else part}_started"), f"{part} to begin")
    n, n_more = (1, 2) if part == "daemon" else (sum(map(len, AGENTS.values())), 2 * len(AGENTS["jobgen"]))
    eventually(lambda: len(children()) == n, "all processes")
    before = children()
    write(operator, **sections(3, **wrong))
    process.send_signal(signal.SIGHUP)
    eventually(lambda: told("reload_refused"), "a refusal")
    eventually(lambda: children() == before, "the trial to be over")
    write(operator, **sections(3))
    process.send_signal(signal.SIGHUP)
    eventually(lambda: told("reloaded"), "the new settings")
    eventually(lambda: len(children()) == n + n_more, "more processes")
    assert not before & children()
    assert told("reload_refused") == 1
    assert operator.stop(part) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in before)
