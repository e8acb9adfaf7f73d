"""What `bamboo up` makes for its user: keys, tokens, and the environment for PanDA's client."""

from __future__ import annotations

import os
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from bamboo.admin.cli.client import token as token_command
from bamboo.admin.client_environment import exports
from bamboo.admin.state import StateFolder
from bamboo.admin.tokens import ISSUER, VO, KeyFolder, key_folder
from bamboo.client.identity import Identity, token_claims
from bamboo.core.errors import Invalid, NotFound
from bamboo.server.auth.keys import KeyFiles
from bamboo.server.auth.policies import Policies
from bamboo.server.auth.tokens import TokenRules, verify
from bamboo.server.secret_box import SecretBox

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "state of things")
    folder.make()
    key_folder(folder).prepare(NOW)
    folder.url.write_text("http://127.0.0.1:4711")
    return folder


@pytest.fixture
def keys(state: StateFolder) -> KeyFolder:
    return key_folder(state)


def roles_of(keys: KeyFolder, token: str) -> set[str]:
    claims = verify(token, KeyFiles([keys.trusted_keys]), TokenRules(ISSUER), NOW)
    return {found.role for found in Policies.load(keys.policies).memberships(VO, claims["groups"])}


def test_its_tokens_pass_and_have_their_roles(keys: KeyFolder) -> None:
    assert roles_of(keys, keys.owner_token(NOW)) == {"user", "production", "admin"}
    assert roles_of(keys, keys.pilot_token.read_text()) == {"pilot"}
    assert roles_of(keys, keys.issue("bob", ["user"], now=NOW, days=1)) == {"user"}
    assert roles_of(keys, keys.issue("bob", ["production"], now=NOW, days=1)) == {"user", "production"}
    with pytest.raises(Invalid, match="'root' is none"):
        keys.issue("bob", ["root"], now=NOW, days=1)


def test_a_pilots_token_may_be_for_certain_queues(keys: KeyFolder) -> None:
    token = keys.issue("p", ["pilot"], now=NOW, days=1, queues=["Q2", "Q1"])
    assert token_claims(token)["bamboo_queues"] == ["Q1", "Q2"]
    assert "bamboo_queues" not in token_claims(keys.issue("p", ["pilot"], now=NOW, days=1))
    with pytest.raises(Invalid, match="only pilots work for queues"):
        keys.issue("bob", ["user"], now=NOW, days=1, queues=["Q1"])


def test_the_command_issues_such_a_token(state: StateFolder) -> None:
    words = ["--state", str(state.root), "--user", "p", "--role", "pilot", "--queue", "Q1", "--queue", "Q2"]
    told = CliRunner().invoke(token_command, words)
    assert told.exit_code == 0, told.output
    assert token_claims(told.output.strip())["bamboo_queues"] == ["Q1", "Q2"]


def test_tokens_live_for_thirty_days(keys: KeyFolder) -> None:
    assert token_claims(keys.owner_token(NOW))["exp"] == (NOW + timedelta(days=30)).timestamp()


def test_only_the_owner_can_read_them(keys: KeyFolder) -> None:
    assert stat.S_IMODE(keys.root.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in keys.root.iterdir()}
    assert set(modes.values()) == {0o600}
    assert keys.signing_key.read_text().startswith("-----BEGIN")
    assert '"d"' not in keys.trusted_keys.read_text()
    assert not keys.pilot_token.read_text().endswith("\n")  # which PanDA's pilot would send along


def test_a_second_start_keeps_keys(keys: KeyFolder) -> None:
    before = keys.signing_key.read_text(), keys.secrets_key.read_text(), keys.owner_token(NOW)
    keys.prepare(NOW + timedelta(days=1))
    assert (keys.signing_key.read_text(), keys.secrets_key.read_text()) == before[:2]
    assert roles_of(keys, before[2])
    assert SecretBox.build(f"file:{keys.secrets_key}")


def test_the_environment_is_what_panda_client_wants(state: StateFolder) -> None:
    """As a shell understands it, blanks in paths and all (client protocol 1)."""
    script = "\n".join([*exports(state, {"http_proxy": "http://proxy:1"}, NOW), "env -0"])
    shell = {"PATH": "/usr/bin:/bin"}
    told = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=shell, check=True)
    env = dict(line.split("=", 1) for line in told.stdout.split("\0") if line)
    base = "http://127.0.0.1:4711/server/panda"
    assert [env[name] for name in ("PANDA_URL", "PANDA_URL_SSL", "PANDACACHE_URL")] == [base] * 3
    assert (env["PANDA_AUTH"], env["PANDA_AUTH_VO"], env["PANDA_BEHIND_REAL_LB"]) == ("oidc", VO, "1")
    assert env["BAMBOO_URL"] == "http://127.0.0.1:4711"
    assert env["no_proxy"] == "127.0.0.1"
    assert os.access(env["PANDA_CONFIG_ROOT"], os.W_OK)
    claims = token_claims(env["PANDA_AUTH_ID_TOKEN"])
    assert {"name", "preferred_username", "groups", "exp"} <= claims.keys()
    found = Identity.find(environ=env)
    assert (found.token, found.vo) == (env["BAMBOO_TOKEN"], VO)
    assert env["PATH"].endswith(":/usr/bin:/bin")


def test_a_panda_client_on_the_path_is_found(state: StateFolder, tmp_path: Path) -> None:
    """Bamboo in one environment and panda-client in another left prun without PANDA_SYS."""
    client, links = tmp_path / "client env", tmp_path / "links"
    for name in ("bin/prun", "bin/python3", "etc/panda/share/functions.sh"):
        path = client / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o755)
    links.mkdir()
    (links / "prun").symlink_to(client / "bin" / "prun")
    wanted = [f"export PANDA_SYS='{client}'", f"export PANDA_PYTHON_EXEC='{client / 'bin' / 'python3'}'"]

    def told(**environ: str) -> list[str]:
        return [line for line in exports(state, environ, NOW) if "PANDA_SYS" in line or "PYTHON_EXEC" in line]

    assert told(PATH=f"/usr/bin:{client / 'bin'}") == told(PATH=str(links)) == wanted
    assert told(PATH="/usr/bin") == told() == told(PATH=str(links), PANDA_SYS="/mine") == []


def test_a_folder_without_a_system_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="has no system in it"):
        exports(StateFolder(tmp_path), {}, NOW)
    with pytest.raises(NotFound, match="no signing key"):
        KeyFolder(tmp_path).issue("bob", ["user"], now=NOW, days=1)
