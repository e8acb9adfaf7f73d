"""Secrets: kept sealed, shown to their user alone, and given to the pilots of their user's jobs."""

from __future__ import annotations

import json
import logging
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from flask import Flask
from flask.testing import FlaskClient

from bamboo.core.clock import ManualClock
from bamboo.core.errors import BadSettings
from bamboo.core.settings import Settings
from bamboo.server.api.creds import MAX_CHARACTERS_PER_USER, MAX_VALUE_CHARACTERS
from bamboo.server.app import create_app
from bamboo.server.secret_box import SecretBox
from bamboo.sql import tables as t

CANARY = "canary-4f1e2d-in-the-mine"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "secrets_key"
    path.write_bytes(Fernet.generate_key() + b"\n")
    return path


@pytest.fixture
def app(settings: Settings, key_file: Path, engine: sa.Engine, clock: ManualClock) -> Flask:
    """The application with a key, and room for large values."""
    return open_app(settings, f"file:{key_file}", engine, clock)


def open_app(settings: Settings, secrets_key: str, engine: sa.Engine, clock: ManualClock) -> Flask:
    section = settings.server.model_copy(update={"secrets_key": secrets_key, "max_body_bytes": 16 << 20})
    return create_app(Settings(server=section), engine, clock)


def put(api: Any, key: str | None, value: str | None) -> Any:
    return api.post("creds/set_user_secrets", {"key": key, "value": value})


def shown(api: Any) -> dict[str, str]:
    """What the user sees: JSON text inside the JSON (client protocol 6.7)."""
    answer = api.get("creds/get_user_secrets")
    assert answer["success"] is True
    assert isinstance(answer["data"], str)
    return dict(json.loads(answer["data"]))


def test_a_secret_is_set_seen_replaced_and_deleted(api: Any) -> None:
    assert shown(api) == {}
    answer = put(api, "K", "one")
    assert answer["success"] is True
    assert answer["data"] == "the secret is set"  # what pbook prints
    put(api, "K", "zwei ✓\n'\"\\")
    put(api, "L", "")
    assert shown(api) == {"K": "zwei ✓\n'\"\\", "L": ""}
    assert put(api, "K", None)["success"] is True
    assert shown(api) == {"L": ""}


def test_deleting_a_name_deletes_the_file_of_that_name(api: Any) -> None:
    put(api, "___file___:F", "ZGF0YQ==")
    put(api, "F", "a variable")
    put(api, "F", None)
    assert shown(api) == {"___file___:F": "ZGF0YQ=="}
    put(api, "F", None)
    assert shown(api) == {}
    refused = put(api, "F", None)
    assert refused["success"] is False
    assert "you have no secret 'F'" in refused["message"]


def test_nothing_and_nothing_deletes_all_of_the_callers_own(api: Any, bob: Any) -> None:
    for user in (api, bob):
        put(user, "A", "1")
        put(user, "___file___:B", "Mg==")
    assert put(api, None, None)["data"] == "2 secrets are deleted"
    assert shown(api) == {}
    assert len(shown(bob)) == 2


@pytest.mark.parametrize(
    "key", ["a b", "a=b", "../x", "a/b", "___file___:", "___file___:../x", "é", "x" * 129, "-x", "", " "]
)
def test_what_can_be_neither_variable_nor_file_is_refused(api: Any, key: str) -> None:
    answer = put(api, key, CANARY)
    assert answer["success"] is False
    assert answer["errors"][0]["where"] == "key"
    assert CANARY not in json.dumps(answer)


def test_a_file_must_be_base64(api: Any) -> None:
    assert put(api, "___file___:F", f"{CANARY}!")["errors"][0]["where"] == "value"
    assert shown(api) == {}


def test_a_value_without_a_name_is_refused(api: Any) -> None:
    answer = put(api, None, CANARY)
    assert answer["success"] is False
    assert CANARY not in json.dumps(answer)


def test_limits(api: Any) -> None:
    largest = "x" * MAX_VALUE_CHARACTERS
    assert put(api, "A", largest)["success"] is True
    told = api.post("creds/set_user_secrets", {"key": "B", "value": largest + "x"})  # pbook prints the message
    assert (told["success"], told["status"]) == (False, 413)
    assert str(MAX_VALUE_CHARACTERS) in told["message"]
    for key in "BCD":
        assert put(api, key, largest)["success"] is True
    told = api.post("creds/set_user_secrets", {"key": "E", "value": "x"})
    assert (told["success"], told["status"]) == (False, 413)
    assert str(MAX_CHARACTERS_PER_USER) in told["message"]
    assert put(api, "A", "smaller")["success"] is True
    assert put(api, "E", "x")["success"] is True


def test_an_empty_post_asks_too(api: Any) -> None:
    """Clients before 2.0 that use urllib."""
    put(api, "K", "v")
    assert json.loads(api.post("creds/get_user_secrets")["data"]) == {"K": "v"}


def test_without_a_key_nothing_is_kept(settings: Settings, engine: sa.Engine, clock: ManualClock) -> None:
    client = open_app(settings, "", engine, clock).test_client()
    answer = client.post("/api/v1/creds/set_user_secrets", json={"key": "K", "value": "v"})
    assert answer.status_code == 200
    assert "keeps no secrets" in answer.json["message"]
    assert answer.json["success"] is False


def test_a_task_that_needs_secrets_is_refused_where_there_are_none(
    settings: Settings, engine: sa.Engine, clock: ManualClock
) -> None:
    client = open_app(settings, "", engine, clock).test_client()
    answer = submit(client)
    assert answer["success"] is False
    assert answer["errors"][0]["where"] == "task_parameters.useSecrets"


def test_a_task_with_secrets_is_taken(app: Flask) -> None:
    assert submit(app.test_client())["success"] is True


def submit(client: FlaskClient) -> Any:
    given = json.loads((Path(__file__).parent / "captures" / "hello.json").read_text())["task_parameters"]
    body = {"task_parameters": {**given, "useSecrets": True}}
    return client.post("/api/v1/task/submit", json=body, headers={"X-Bamboo-User": "alice"}).json


# keys


def test_keys_are_changed_without_losing_anything(
    settings: Settings, key_file: Path, engine: sa.Engine, clock: ManualClock, api: Any
) -> None:
    put(api, "K", CANARY)
    old = key_file.read_text()
    key_file.write_text(Fernet.generate_key().decode() + "\n" + old)
    client = open_app(settings, f"file:{key_file}", engine, clock).test_client()
    answer = client.get("/api/v1/creds/get_user_secrets", headers={"X-Bamboo-User": "alice"})
    assert json.loads(answer.json["data"]) == {"K": CANARY}


def test_with_another_key_nothing_can_be_read(
    settings: Settings, engine: sa.Engine, clock: ManualClock, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(api, "K", CANARY)
    monkeypatch.setenv("OTHER_KEY", Fernet.generate_key().decode())
    client = open_app(settings, "env:OTHER_KEY", engine, clock).test_client()
    answer = client.get("/api/v1/creds/get_user_secrets", headers={"X-Bamboo-User": "alice"})
    assert answer.json["success"] is False
    assert "the secret K cannot be read" in answer.json["message"]


def test_a_sealed_secret_opens_for_nobody_else(api: Any, bob: Any, engine: sa.Engine) -> None:
    """Whoever can write to the database cannot move a secret to another user, or under another name."""
    put(api, "K", CANARY)
    put(bob, "K", "bob's")
    with engine.begin() as tx:
        sealed = tx.scalar(sa.select(t.secrets.c.sealed).where(t.secrets.c.user_name == "alice"))
        tx.execute(sa.update(t.secrets).where(t.secrets.c.user_name == "bob").values(sealed=sealed))
    answer = bob.get("creds/get_user_secrets")
    assert answer["success"] is False
    assert CANARY not in json.dumps(answer)


@pytest.mark.parametrize("setting", ["file:/no/such/file", "env:NO_SUCH_VARIABLE", "plain", "http:x", "file:"])
def test_settings_that_lead_to_no_key_are_refused_at_the_start(setting: str) -> None:
    with pytest.raises(BadSettings, match="secrets_key"):
        SecretBox.build(setting)


@pytest.mark.parametrize("content", ["", "short", "x" * 44])
def test_files_that_hold_no_keys_are_refused_at_the_start(content: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    with pytest.raises(BadSettings, match="holds no Fernet keys") as told:
        SecretBox.build(f"file:{path}")
    assert not content or content not in str(told.value)


# delivery


def test_jobs_that_use_them_get_their_users_secrets(api: Any, bob: Any, world: Any) -> None:
    put(api, "K", CANARY)
    put(bob, "K", "bob's")
    world.jobs(1, uses_secrets=True)
    world.jobs(1)
    world.jobs(1, uses_secrets=True, user_name="bob")
    world.jobs(1, uses_secrets=True, user_name="carol")
    taken = api.post("pilot/acquire_jobs", {"computing_element": "LOCAL", "n_jobs": 4})["data"]["jobs"]
    given = {job["PandaID"]: job.get("secrets") for job in taken}
    assert [json.loads(text) if text else text for _, text in sorted(given.items())] == [
        {"K": CANARY},
        None,
        {"K": "bob's"},
        {},
    ]


def test_a_secret_that_cannot_be_read_is_left_out_of_jobs(
    api: Any, world: Any, engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """A job is not held up for ever by what only its user can set right; the log says it."""
    put(api, "K", "fine")
    put(api, "L", CANARY)
    with engine.begin() as tx:
        tx.execute(sa.update(t.secrets).where(t.secrets.c.key == "L").values(sealed="broken"))
    world.jobs(1, uses_secrets=True)
    taken = api.post("pilot/acquire_jobs", {"computing_element": "LOCAL"})["data"]["jobs"]
    assert json.loads(taken[0]["secrets"]) == {"K": "fine"}
    assert "a secret cannot be opened" in caplog.text


def test_a_secret_is_nowhere_else(
    api: Any, bob: Any, world: Any, app: Flask, engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """A canary: set, delivered and asked for in every way, it shows only where it should."""
    caplog.set_level(logging.DEBUG)
    put(api, "K", CANARY)
    put(api, "___file___:F", b64encode(CANARY.encode()).decode())
    [pandaid] = world.jobs(1, uses_secrets=True)
    taken = api.post("pilot/acquire_jobs", {"computing_element": "LOCAL"})["data"]["jobs"]
    assert CANARY in taken[0]["secrets"]
    assert CANARY not in json.dumps({**taken[0], "secrets": None})
    for user in (api, bob):
        seen = [
            user.get("job/get_detailed_info", job_id=pandaid),
            user.get("job/list"),
            user.get("task/get_detailed_info", task_id=taken[0]["taskID"]),
        ]
        assert CANARY not in json.dumps(seen)
    assert CANARY not in json.dumps(bob.get("creds/get_user_secrets"))
    assert CANARY not in app.test_client().get("/").text
    assert CANARY not in dump(engine)
    assert CANARY not in caplog.text


def dump(engine: sa.Engine) -> str:
    """Every value in the database."""
    with engine.connect() as tx:
        return "\n".join(str(row) for table in t.metadata.sorted_tables for row in tx.execute(sa.select(table)))
