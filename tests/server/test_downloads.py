"""Sandboxes in and out, start-up documents of pilots, transformations."""

from __future__ import annotations

import gzip
import io
import os
import struct
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from bamboo.core.clock import ManualClock
from bamboo.core.settings import Settings
from bamboo.server.job_wire import TRANSFORMS
from bamboo.server.transforms import one_file
from bamboo.sql import queues

NAME = "jobO.b2b0.tar.gz"


def upload(client: FlaskClient, content: bytes, name: str = NAME, user: str = "alice", *, http: int = 200) -> Any:
    answer = client.post(
        "/api/v1/file_server/upload_cache_file",
        data={"file": (io.BytesIO(content), name)},
        headers={"X-Bamboo-User": user},
    )
    assert answer.status_code == http, answer.text
    return answer.json


@pytest.fixture
def client(app: Any) -> FlaskClient:
    return app.test_client()  # type: ignore[no-any-return]


def known(content: bytes) -> dict[str, int]:
    """Size and checksum as PanDA's clients compute them."""
    return {"file_size": len(content), "checksum": struct.unpack("<I", content[-8:-4])[0]}


def test_a_sandbox_comes_back_byte_by_byte(api: Any, client: FlaskClient, settings: Settings) -> None:
    content = gzip.compress(os.urandom(5000))
    assert api.post("file_server/validate_cache_file", known(content))["message"] == "NOTFOUND"
    assert upload(client, content)["success"]
    assert api.post("file_server/validate_cache_file", known(content))["message"] == f"FOUND:bamboo.test:{NAME}"
    answer = client.get(f"/cache/{NAME}", buffered=True)
    assert (answer.status_code, answer.data) == (200, content)
    assert "Content-Encoding" not in answer.headers
    assert [path.name for path in settings.server.cache_dir.iterdir()] == [NAME]  # no temporary file is left


def test_only_the_owners_own_sandboxes_are_reused(bob: Any, client: FlaskClient) -> None:
    content = gzip.compress(b"x" * 100)
    upload(client, content)
    assert bob.post("file_server/validate_cache_file", known(content))["message"] == "NOTFOUND"


def test_a_sandbox_whose_file_is_gone_is_not_found(api: Any, client: FlaskClient, settings: Settings) -> None:
    content = gzip.compress(b"x" * 100)
    upload(client, content)
    (settings.server.cache_dir / NAME).unlink()
    assert api.post("file_server/validate_cache_file", known(content))["message"] == "NOTFOUND"
    assert client.get(f"/cache/{NAME}", buffered=True).status_code == 404
    assert upload(client, content)["success"]  # and may be sent again
    assert client.get(f"/cache/{NAME}", buffered=True).data == content


def test_a_name_is_written_once(client: FlaskClient) -> None:
    first, other = gzip.compress(b"first" * 10), gzip.compress(b"other" * 10)
    assert upload(client, first)["success"]
    assert upload(client, first)["success"]  # the answer got lost
    for content, user in ((other, "alice"), (first, "bob")):
        answer = upload(client, content, user=user)
        assert (answer["success"], answer["status"]) == (False, 409)
        assert answer["message"]
    assert client.get(f"/cache/{NAME}", buffered=True).data == first
    assert upload(client, first, "notes.__ow__")["success"]
    assert upload(client, other, "notes.__ow__")["success"]
    assert client.get("/cache/notes.__ow__", buffered=True).data == other


def test_use_is_noted_now_and_then(client: FlaskClient, engine: sa.Engine, clock: ManualClock) -> None:
    upload(client, gzip.compress(b"x" * 100))

    def last_used() -> Any:
        with engine.begin() as tx:
            return tx.execute(sa.text("SELECT last_used_at FROM sandboxes")).scalar_one()

    first = last_used()
    clock.advance(minutes=59)
    client.get(f"/cache/{NAME}", buffered=True)
    assert last_used() == first
    clock.advance(minutes=2)
    client.get(f"/cache/{NAME}", buffered=True)
    assert last_used() != first


@pytest.mark.parametrize(
    ("given", "stored"),
    [("/home/alice/x.tar.gz", "x.tar.gz"), ("../../x.tar.gz", "x.tar.gz")],
)
def test_of_a_path_only_the_name_is_kept(client: FlaskClient, settings: Settings, given: str, stored: str) -> None:
    assert upload(client, gzip.compress(b"x" * 100), given)["success"]
    assert [path.name for path in settings.server.cache_dir.iterdir()] == [stored]


@pytest.mark.parametrize("name", ["..", ".hidden", "a b", "x\x00y", "é", "x" * 300, "a%2fb", ".upload-x"])
def test_names_that_are_none(client: FlaskClient, settings: Settings, name: str) -> None:
    answer = upload(client, gzip.compress(b"x" * 100), name)
    assert (answer["success"], answer["status"]) == (False, 422)
    assert list(settings.server.cache_dir.iterdir()) == []


@pytest.mark.parametrize(
    "path",
    [
        "/cache/../bamboo.db",
        "/cache/%2e%2e%2fbamboo.db",
        "/cache/..%5cbamboo.db",
        "/cache//etc/passwd",
        "/cache/%00",
        "/cache/schedconfig/..%2f..%2fx.all.json",
        "/cache/.upload-x",
        "/trf/user/../__init__.py",
        "/trf/user/run_gen.py",
        "/trf/user/%2e%2e",
    ],
)
def test_nobody_walks_out_of_the_cache(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json["success"] is False


def test_sizes_are_bounded(client: FlaskClient, settings: Settings) -> None:
    fits, large, huge = os.urandom(99_000), os.urandom(150_000), os.urandom(300_000)
    assert upload(client, fits)["success"]
    told = upload(client, large, "other.tar")  # prun prints the message, when the HTTP status is 200
    assert (told["success"], told["status"]) == (False, 413)
    assert "at most 100000 are accepted" in told["message"]
    assert upload(client, large, "sources.a.tar.gz")["success"]
    assert upload(client, huge, "sources.b.tar.gz")["status"] == 413
    assert {path.name for path in settings.server.cache_dir.iterdir()} == {NAME, "sources.a.tar.gz"}


def test_an_upload_without_a_file(api: Any, client: FlaskClient) -> None:
    answer = client.post("/api/v1/file_server/upload_cache_file", data={"other": "x"})
    assert answer.json["errors"][0]["where"] == "file"
    answer = client.post("/api/v1/file_server/upload_cache_file", data=b"garbage", content_type="multipart/form-data")
    assert answer.json["success"] is False
    assert api.post("file_server/validate_cache_file", {"file_size": -1, "checksum": 2**40})["status"] == 422


def test_a_cache_that_cannot_be_written_to(client: FlaskClient, settings: Settings) -> None:
    settings.server.cache_dir.parent.joinpath("cache").write_text("a file is in the way")
    assert upload(client, b"x" * 100, http=503)["status"] == 503
    answer = client.get("/readyz")
    assert answer.status_code == 503 and "cache directory" in answer.json["problems"][0]


def test_what_pilots_read_at_their_start(client: FlaskClient, world: Any, engine: sa.Engine) -> None:
    with engine.begin() as tx:
        queues.set_storage(tx, "LOCAL_DISK", site="LOCAL", endpoint="file://localhost", path="/data")
    world.queue("LOCAL", storage="LOCAL_DISK", maxwdir=1000)
    queue = client.get("/cache/schedconfig/LOCAL.all.json").json
    assert (queue["nickname"], queue["state"], queue["maxwdir"]) == ("LOCAL", "ACTIVE", 1000)
    assert queue["astorages"]["pw"] == ["LOCAL_DISK"]
    assert client.get("/cache/schedconfig/pandaqueues.json").json == {"LOCAL": queue}
    storage = client.get("/cache/ddmendpoints.json").json["LOCAL_DISK"]
    assert storage["arprotocols"]["write_lan"][0] == {
        "endpoint": "file://localhost",
        "path": "/data/",
        "flavour": "FILE",
        "id": 1,
    }
    assert client.get("/cache/schedconfig/NOWHERE.all.json").status_code == 404


def test_every_transformation_is_there(client: FlaskClient) -> None:
    for name, file in TRANSFORMS.items():
        assert client.get(f"/trf/user/{name}").data == one_file(file)
