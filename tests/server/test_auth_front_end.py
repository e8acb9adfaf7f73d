"""Certificates by a front end: believed from one machine that proves who it is, and from nobody else."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from flask import Flask
from patience import PATIENCE_SECONDS, eventually
from tokens import Issuer

from bamboo.core.clock import ManualClock
from bamboo.core.errors import BadSettings
from bamboo.core.settings import Settings
from bamboo.server.app import create_app
from bamboo.server.auth.caller import Caller
from bamboo.server.auth.door import Door
from bamboo.server.auth.errors import NotAdmitted, NotProven
from bamboo.server.auth.front_end import user_name_of
from bamboo.tests.server.test_auth_door import FAR, bearer, who

FRONT, SECRET = "192.0.2.80", "s" * 32
ALICE = "/DC=ch/DC=cern/OU=Organic Units/OU=Users/CN=alice/CN=123456/CN=Alice Example"
ROBOT = "/DC=org/O=Grid/CN=Robot: pilots/CN=Bob Builder"
POLICIES = {
    "cms": [
        [ALICE, {"group": "cms", "role": "user"}],
        [ROBOT, {"group": "pilots", "role": "pilot"}],
        ["/cms", {"group": "cms", "role": "user"}],
    ]
}
WHOLE = {"SSL-Client-S-DN": ALICE, "SSL-Client-Verify": "SUCCESS", "X-Bamboo-Front-End": SECRET, "Origin": "cms"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What is asked here is asked before any database."""
    return sqlite_url


@pytest.fixture
def given(issuer: Issuer, tmp_path: Path) -> dict[str, Any]:
    """The settings that matter."""
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    issuer.policies.write_text(json.dumps(POLICIES))
    return {"trusted_front_ends": f"{FRONT}, 2001:db8::1", "front_end_secret": f"file:{tmp_path / 'secret'}"}


@pytest.fixture
def app(issuer: Issuer, given: dict[str, Any], engine: sa.Engine, clock: ManualClock) -> Flask:
    return create_app(Settings(server=issuer.section(**given)), engine, clock)


def test_who_shows_a_certificate_comes_in(app: Flask) -> None:
    found = who(app, WHOLE, FRONT)
    assert found == Caller("Alice Example", frozenset({"user"}), vo="cms", groups=frozenset({"cms"}))
    assert who(app, {**WHOLE, "SSL-Client-S-DN": ROBOT}, FRONT).roles == {"pilot"}


def test_proxies_are_their_owners(app: Flask) -> None:
    for end in ("/CN=proxy", "/CN=limited proxy", "/CN=1234567", "/CN=1234567/CN=proxy"):
        assert who(app, {**WHOLE, "SSL-Client-S-DN": ALICE + end}, FRONT).user_name == "Alice Example"


def test_the_same_machine_by_other_spellings_of_its_address(app: Flask) -> None:
    for address in (f"::ffff:{FRONT}", "2001:0db8:0::1"):
        assert who(app, WHOLE, address).user_name == "Alice Example"


def without(*names: str, **changes: str) -> dict[str, str]:
    return {name: value for name, value in WHOLE.items() if name not in names} | {
        name.replace("_", "-"): value for name, value in changes.items()
    }


REFUSED: dict[str, tuple[dict[str, str], str, str]] = {
    "from elsewhere": (WHOLE, FAR, "shows no token"),
    "from this machine": (WHOLE, "127.0.0.1", "shows no token"),
    "no certificate": (without("SSL-Client-S-DN"), FRONT, "shows no token"),
    "none, as Apache writes it": (without(SSL_Client_S_DN="(null)"), FRONT, "shows no token"),
    "no secret": (without("X-Bamboo-Front-End"), FRONT, "does not show its secret"),
    "another secret": (without(**{"X-Bamboo-Front-End": "t" * 32}), FRONT, "does not show its secret"),
    "a secret with more in it": (without(**{"X-Bamboo-Front-End": f"{SECRET},x"}), FRONT, "does not show its secret"),
    "not verified": (without("SSL-Client-Verify"), FRONT, "has not verified"),
    "verification failed": (without(SSL_Client_Verify="FAILED:expired"), FRONT, "has not verified"),
    "a web page": (without(Origin="https://evil.test"), FRONT, "not taken from web pages"),
    "a page that says no origin": (without("Origin", Sec_Fetch_Site="cross-site"), FRONT, "not taken from web pages"),
    "the other form": (without(SSL_Client_S_DN="CN=Alice Example,DC=ch"), FRONT, "not in the form"),
    "no name": (without(SSL_Client_S_DN="/DC=ch/CN=123"), FRONT, "no usable name"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_who_does_not_come_in(case: str, app: Flask) -> None:
    headers, address, reason = REFUSED[case]
    with pytest.raises(NotProven, match=reason):
        who(app, headers, address)


@pytest.mark.parametrize(
    "subject",
    ["/DC=ch/CN=Alice Example", f"{ALICE} 2", f"{ALICE}/CN=eve", f"/CN=x{ALICE}", ALICE.lower(), "/cms"],
)
def test_only_whole_subjects_count(subject: str, app: Flask) -> None:
    """Not even a subject that is spelt as a group of tokens."""
    with pytest.raises((NotAdmitted, NotProven)):
        who(app, {**WHOLE, "SSL-Client-S-DN": subject}, FRONT)


def test_tokens_go_before_certificates(app: Flask, issuer: Issuer) -> None:
    assert who(app, {**WHOLE, **bearer(issuer.token(name="Carol"))}, FRONT).user_name == "Carol"
    with pytest.raises(NotProven, match="expired"):
        who(app, {**WHOLE, **bearer(issuer.token(exp=1))}, FRONT)


def test_without_the_setting_the_headers_mean_nothing(guarded: Flask) -> None:
    for address in (FRONT, FAR, "127.0.0.1"):
        with pytest.raises(NotProven, match="shows no token"):
            who(guarded, WHOLE, address)


def test_certificates_alone_will_do(
    issuer: Issuer, given: dict[str, Any], engine: sa.Engine, clock: ManualClock
) -> None:
    section = issuer.section(**given, token_authType="x509", token_keys="")
    app = create_app(Settings(server=section), engine, clock)
    assert who(app, WHOLE, FRONT).user_name == "Alice Example"
    with pytest.raises(NotProven, match="knows no keys"):
        who(app, bearer(issuer.token()), FRONT)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"token_authType": "none"}, "without a certificate"),
        ({"trusted_front_ends": "0.0.0.0"}, "not the address of one machine"),  # noqa: S104 - to be refused
        ({"trusted_front_ends": "::"}, "not the address of one machine"),
        ({"trusted_front_ends": "192.0.2.0/24"}, "not the address of one machine"),
        ({"trusted_front_ends": "front.example.org"}, "not the address of one machine"),
        ({"trusted_front_ends": "*"}, "not the address of one machine"),
        ({"front_end_secret": ""}, "front_end_secret: missing"),
        ({"front_end_secret": "file:/no/such/file"}, "front_end_secret: missing"),
        ({"front_end_secret": SECRET}, "front_end_secret: missing"),
        ({"auth_policies": ""}, "auth_policies: missing"),
    ],
)
def test_front_ends_that_would_let_in_anybody_are_refused_at_the_start(
    changes: dict[str, Any], fault: str, issuer: Issuer, given: dict[str, Any]
) -> None:
    with pytest.raises(BadSettings, match=fault):
        Door.build(issuer.section(**{**given, **changes}))


def test_a_short_secret_is_refused_at_the_start(issuer: Issuer, given: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s" * 31 + "\n")
    with pytest.raises(BadSettings, match="less than 32") as told:
        Door.build(issuer.section(**given))
    assert "sss" not in str(told.value)


#: Subjects, and what panda-server's `clean_user_id` makes of them.
NAMES = {
    ALICE: "Alice Example",
    "/C=UK/O=eScience/OU=Oxford/L=OeSC/CN=alice example": "alice example",
    "/DC=ch/CN=alice/CN=123456/CN=Alice Example/CN=proxy/CN=limited proxy": "Alice Example",
    "/O=Grid/CN=Alice Example 123": "Alice Example",
    "/O=Grid/CN=alice_42": "alice",
    "/O=Grid/CN=Jean O'Neill (Oxford)": "Jean ONeill Oxford",
    "/O=Grid/CN=Alice Example/emailAddress=alice@example.org": "Alice Example",
    "/O=Grid/CN=Alice Example alice@example.org": "Alice Example",
    ROBOT: "Bob Builder",
    "/DC=ch/CN=Alice Example/CN=nickname:alice": "Alice Example",
}


@pytest.mark.parametrize("subject", NAMES)
def test_names_are_pandas(subject: str) -> None:
    assert user_name_of(subject) == NAMES[subject]


@pytest.fixture
def real_server(
    issuer: Issuer, given: dict[str, Any], sqlite_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[[], str]:
    """Starts a server that trusts a front end on this machine; gives its address."""

    def _start() -> str:
        section = issuer.section(**{**given, "trusted_front_ends": "127.0.0.1"}, port=0, workers=1)
        told = json.dumps({**section.model_dump(mode="json", exclude_unset=True)})
        program = Path(__file__).parent / "serving.py"
        command = [sys.executable, str(program), sqlite_url, str(tmp_path / "cache"), told]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        stdout = process.stdout

        def _end() -> None:
            process.terminate()
            process.wait(PATIENCE_SECONDS)
            stdout.close()

        request.addfinalizer(_end)
        return stdout.readline().strip()

    return _start


def status_of(address: str, headers: str) -> int:
    """The status of a request with these lines, exactly as they are."""
    parts = urlsplit(address)
    with socket.create_connection((str(parts.hostname), parts.port or 0), timeout=PATIENCE_SECONDS) as connection:
        line = "GET /api/v1/task/get_status?task_id=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        connection.sendall(f"{line}{headers}\r\n".encode())
        return int(connection.makefile("rb").readline().split()[1])


def test_no_other_spelling_of_a_header_gets_past_a_front_end(real_server: Callable[[], str]) -> None:
    """A front end replaces the header that it sets, and lets pass what looks like it to a WSGI application."""
    address = real_server()
    lines = {name: f"{name}: {value}\r\n" for name, value in WHOLE.items()}
    eventually(lambda: _answers(address), "the server to answer")
    assert status_of(address, "".join(lines.values())) == 200
    subject = lines.pop("SSL-Client-S-DN")
    assert status_of(address, "".join(lines.values())) == 401
    assert status_of(address, "".join(lines.values()) + subject.replace("SSL-Client-S-DN", "SSL_CLIENT_S_DN")) == 401


def _answers(address: str) -> bool:
    try:
        return status_of(address, "") == 401
    except (OSError, IndexError):
        return False
