"""A whole system whose server wants tokens: its client and pilots have them, and a secret reaches its jobs alone."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from oidc import RunningProvider, lay_out
from patience import PATIENCE_SECONDS
from systems import RunningSystem, descendants

from bamboo.admin.state import StateFolder
from bamboo.admin.tokens import key_folder
from bamboo.client import connect
from bamboo.client.errors import Refused
from bamboo.core.clock import utc_now

CANARY = "canary-93ab-in-the-mine"
PAYLOAD = 'printf %s "$PASSWORD" | sha256sum > x.txt'


@pytest.fixture
def system(start_system: Callable[..., RunningSystem]) -> RunningSystem:
    return start_system("--only-tokens", "--pilots", "1")


@pytest.mark.slow
def test_a_secret_reaches_its_jobs_and_nothing_else(system: RunningSystem) -> None:
    state = system.folder / "state"
    keys = key_folder(StateFolder(state))
    token = keys.issue("carol", ["user"], now=utc_now(), days=1)
    client = connect(system.url, token=token)
    client.set_secret("PASSWORD", CANARY)
    client.set_secret("___file___:KEYFILE", _base64(CANARY))
    common = {"outputs": ("x.txt",), "n_jobs": 1, "use_secrets": True}
    task = client.run(PAYLOAD, out_ds="user.carol.canary", **common)
    failing = client.run("false", out_ds="user.carol.failing", max_attempt=1, **common)
    assert task.wait(timeout_seconds=PATIENCE_SECONDS).is_success
    failing.wait(timeout_seconds=PATIENCE_SECONDS)
    commands = [process.command for process in descendants(system.process.pid)]
    assert len(commands) > 4
    assert not [command for command in commands if CANARY in command or token in command or "eyJ" in command]
    [output] = task.outputs()
    digest = hashlib.sha256(CANARY.encode()).hexdigest()
    assert Path(urlsplit(output.url).path).read_text() == f"{digest}  -\n"
    assert system.stop() == 0
    tokens = [token.encode(), keys.pilot_token.read_bytes()]
    canaries = [CANARY.encode(), _base64(CANARY).encode()]
    seen = 0
    for name, content in everything(state):
        seen += 1
        assert not [canary for canary in canaries if canary in content], name
        assert name.endswith("auth/pilot_token") or not [one for one in tokens if one in content], name
    assert seen > 10
    assert any(name.endswith("tgz") for name, _ in everything(state))
    assert CANARY not in (system.folder / "up.out").read_text()
    with sqlite3.connect(state / "bamboo.db") as database:
        assert CANARY not in "\n".join(database.iterdump())


@pytest.mark.slow
def test_without_a_token_nobody_comes_in(system: RunningSystem) -> None:
    with pytest.raises(Refused, match="shows no token"):
        connect(system.url, user="alice").submit_parameters({})
    told = system.run("task", "list")
    assert told.returncode == 5, told.stderr
    assert "bamboo client env" in told.stderr
    script = f'eval "$(bamboo client env --state {system.folder}/state)" && bamboo task list --json'
    shown = system.shell(script)
    assert (shown.returncode, json.loads(shown.stdout)) == (0, []), shown.stderr


@pytest.mark.slow
def test_the_commands_that_refusals_name_help(system: RunningSystem) -> None:
    state = f"--state {system.folder}/state"
    as_user = f'export BAMBOO_URL={system.url} BAMBOO_TOKEN="$(bamboo client token {state} --user bob)"'
    told = system.shell(f"{as_user}; bamboo queue set LOCAL maxrss=4000")
    assert told.returncode == 4, told.stderr
    assert "bamboo whoami --explain" in told.stderr and "`bamboo client token --role admin`" in told.stderr
    told = system.shell(f"{as_user}; bamboo whoami --explain")
    assert (told.returncode, "To have the role admin" in told.stdout) == (0, True), told.stderr
    as_admin = f'{as_user}; BAMBOO_TOKEN="$(bamboo client token {state} --user bob --role admin)"'
    told = system.shell(f"{as_admin}; bamboo whoami && bamboo queue set LOCAL maxrss=4000")
    assert told.returncode == 0, told.stderr
    assert "admin" in told.stdout


@pytest.mark.slow
def test_people_come_with_a_providers_tokens_and_pilots_with_their_own(
    start_system: Callable[..., RunningSystem], tmp_path: Path
) -> None:
    provider = RunningProvider(tmp_path / "provider").start()
    try:
        given = {f"BAMBOO_SERVER__{name.upper()}": value for name, value in lay_out(tmp_path / "vo", provider).items()}
        system = start_system("--pilots", "1", **given)
        state = f"--state {system.folder}/state"
        alice = {"BAMBOO_TOKEN": provider.token(), "PANDA_AUTH_VO": "cms"}
        ran = system.run(
            "run", "--exec", "true", "--out-ds", "user.alice.own", "--n-jobs", "2", "--watch", environ=alice
        )
        assert ran.returncode == 0, ran.stderr
        told = system.run("whoami", "--explain", environ=alice)
        assert told.returncode == 0 and provider.url in told.stdout and "/cms" in told.stdout, told.stdout
        told = system.shell(f'eval "$(bamboo client env {state})" && bamboo whoami --explain')
        assert told.returncode == 0 and "urn:bamboo:local" in told.stdout and "bamboo/admin" in told.stdout, told
        told = system.run("doctor", *state.split(), "--json", environ={**given, **alice})
        found = {one["where"]: one["verdict"] for one in json.loads(told.stdout) if one["check"] == "tokens"}
        assert found["$BAMBOO_TOKEN"] == "warning"  # it ends within the hour
        assert found[f"{system.folder}/state/auth/pilot_token"] == "ok"
    finally:
        provider.stop()


def everything(folder: Path) -> Iterator[tuple[str, bytes]]:
    """All files below a folder, and what the archives among them hold."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path), path.read_bytes()
            if path.name.endswith(("tgz", "tar.gz")):
                yield f"{path} unpacked", gzip.decompress(path.read_bytes())
                with tarfile.open(path) as archive:
                    assert archive.getnames()
                    assert not [name for name in archive.getnames() if "panda_secrets" in name]


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
