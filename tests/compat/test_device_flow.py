"""PanDA's own client logs in at a provider that our server trusts (manual ch. 7.6, client protocol 4.3)."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from oidc import RunningProvider, lay_out
from panda import PandaClient
from patience import PATIENCE_SECONDS
from systems import RunningSystem

ONE_FILE = ("--exec", "echo hello > x.txt", "--outputs", "x.txt", "--noBuild")
#: What bamboo's own environment calls the VO.
POLICIES = {"bamboo": [["/cms", {"group": "cms", "role": "user"}]]}


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProvider]:
    running = RunningProvider(tmp_path_factory.mktemp("provider")).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def system(
    provider: RunningProvider, sqlite_module_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningSystem]:
    """A system without pilots of its own, which have no tokens of the provider's."""
    folder = tmp_path_factory.mktemp("site")
    section = lay_out(folder / "auth", provider, "bamboo", POLICIES)
    environ = {f"BAMBOO_SERVER__{name.upper()}": value for name, value in section.items()}
    running = RunningSystem(folder / "system", ["--db", sqlite_module_url, "--pilots", "0"], environ).start()
    yield running
    running.clean_up()


@pytest.fixture
def alice(system: RunningSystem, tmp_path: Path) -> PandaClient:
    """Somebody who has no token yet."""
    client = PandaClient(system, tmp_path / "alice", token="")
    del client.environ["PANDA_AUTH_ID_TOKEN"]
    return client


def log_in(client: PandaClient, provider: RunningProvider, *command: str, answer: str = "yes") -> str:
    """What a command prints that asks for a login first, which is answered on the page and then with `y`."""
    process = subprocess.Popen(
        command,
        cwd=client.folder,
        env=client.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    told = ""
    while "sign in" not in told:
        line = process.stdout.readline()
        assert line, told
        told += line
    provider.answer(told, answer)
    rest, _ = process.communicate("y\n", timeout=PATIENCE_SECONDS)
    return told + rest


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_login_prun_and_pbook(alice: PandaClient, provider: RunningProvider, algorithm: str) -> None:
    provider.behave(algorithm=algorithm, lifetime_seconds=3600)
    name = f"user.alice.device.{algorithm}"
    told = log_in(alice, provider, "prun", *ONE_FILE, "--outDS", name)
    assert "Traceback" not in told, told
    found = re.search(r"jediTaskID=(\d+)", told)
    assert found, told
    assert re.search(rf"{found[1]}\D[^\n]*{re.escape(name)}", alice.pbook("show")), alice.pbook("show")
    assert "will be killed" in alice.pbook("kill", found[1])


def test_an_old_token_is_renewed_by_the_client_itself(alice: PandaClient, provider: RunningProvider) -> None:
    provider.behave(lifetime_seconds=200)  # less than the five minutes that the client wants
    log_in(alice, provider, "prun", *ONE_FILE, "--outDS", "user.alice.device.first")
    kept = Path(alice.environ["PANDA_CONFIG_ROOT"]) / ".token"
    before = json.loads(kept.read_text())["id_token"]
    provider.behave(lifetime_seconds=3600)
    assert alice.prun(*ONE_FILE, "--outDS", "user.alice.device.second")
    assert json.loads(kept.read_text())["id_token"] != before


def test_who_says_no_has_no_task(alice: PandaClient, provider: RunningProvider) -> None:
    """The client says so, and ends in a traceback of its own."""
    told = log_in(alice, provider, "prun", *ONE_FILE, "--outDS", "user.alice.device.denied", answer="no")
    assert "access_denied" in told
    assert "jediTaskID" not in told
