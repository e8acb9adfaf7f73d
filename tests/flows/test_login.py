"""Logging in: the real command, a real server and a real provider of identities, each a process."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from oidc import RunningProvider, lay_out
from patience import PATIENCE_SECONDS, eventually

import bamboo
from bamboo.client import connect
from bamboo.client.cli.exits import Exit
from bamboo.client.errors import LoginFailed, ServerUnreachable
from bamboo.client.logins import Login, LoginStore, StoredLogin
from bamboo.client.oidc import Application, Provider
from bamboo.core.clock import ManualClock, utc_now

SERVING = Path(bamboo.__file__).parent / "tests" / "server" / "serving.py"
WAITING = "Waiting for your answer"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProvider]:
    started = RunningProvider(tmp_path_factory.mktemp("keys")).start()
    yield started
    started.stop()


@pytest.fixture
def provider(running: RunningProvider) -> RunningProvider:
    running.reset()
    return running


class Server:
    """The web server in processes of its own, which trusts the provider and knows nobody else."""

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        eventually(self._is_ready, "the server to be ready")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/readyz", timeout=PATIENCE_SECONDS).status_code == 200
        except requests.ConnectionError:
            return False


@pytest.fixture(scope="module")
def server(
    running: RunningProvider, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(sqlite_template, folder / "bamboo.db")
    given = {**lay_out(folder / "auth", running), "token_keys_copy": str(folder / "copy")}
    section = json.dumps({"port": 0, "workers": 2, **given})
    started = Server(
        [sys.executable, str(SERVING), f"sqlite:///{folder / 'bamboo.db'}", str(folder / "cache"), section]
    )
    yield started
    started.stop()


@dataclass
class Person:
    """Somebody with a home of their own, who types commands."""

    home: Path
    server: str
    more: dict[str, str] = field(default_factory=lambda: {"PANDA_AUTH_VO": "cms"})

    def begin(self, *words: str) -> subprocess.Popen[str]:
        clean = {name: value for name, value in os.environ.items() if not re.match("BAMBOO|PANDA|XDG", name)}
        return subprocess.Popen(
            [sys.executable, "-m", "bamboo", *words],
            env={**clean, "HOME": str(self.home), "BAMBOO_URL": self.server, "NO_COLOR": "1", **self.more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *words: str) -> tuple[int, str, str]:
        return ended(self.begin(*words))

    def log_in(self, provider: RunningProvider, answer: str = "yes", *words: str) -> tuple[int, str, str]:
        """`bamboo login`, and an answer on the page that it names."""
        process = self.begin("login", *words)
        assert process.stderr is not None
        told = ""
        while WAITING not in told:
            line = process.stderr.readline()
            assert line, f"it ended after {told!r}"
            told += line
        provider.answer(told, answer)
        return ended(process)

    @property
    def store(self) -> LoginStore:
        return LoginStore(self.server, {"HOME": str(self.home)})

    @property
    def login(self) -> Login:
        found = self.store.read()
        assert found is not None
        return found


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, out, err


@pytest.fixture
def person(server: Server, tmp_path: Path) -> Person:
    home = tmp_path / "home"
    home.mkdir()
    return Person(home, server.url)


def rejected(ended: tuple[int, str, str], words: str) -> bool:
    """Whether a command said that somebody is not logged in, in these words and with something to do."""
    code, _, err = ended
    assert words in err, err
    assert "Traceback" not in err
    return code == Exit.NOT_AUTHENTICATED and "hint:" in err


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_who_logs_in_may_work(algorithm: str, person: Person, provider: RunningProvider) -> None:
    provider.behave(algorithm=algorithm)
    assert rejected(person("task", "list"), "bamboo login")
    code, out, err = person.log_in(provider)
    assert (code, out) == (Exit.OK, f"logged in to {person.server} as alice\n"), err
    assert person("task", "list")[0] == Exit.OK
    path = person.store.path
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    person.more = {}  # the VO is that of the login
    assert person("task", "list")[0] == Exit.OK
    token = person.login.tokens.id_token
    sent = person("run", "--exec", "true", "--outputs", "x.txt", "--outDS", f"user.alice.in.{algorithm}")
    assert sent[0] == Exit.OK, sent
    assert token not in sent[1] + sent[2]
    assert person.login.tokens.id_token == token  # not renewed without need


def test_an_old_token_is_renewed_by_itself(person: Person, provider: RunningProvider) -> None:
    provider.behave(lifetime_seconds=2)
    assert person.log_in(provider)[0] == Exit.OK
    before = person.login
    provider.behave(lifetime_seconds=3600)
    eventually(lambda: utc_now() > before.ends_at, "the token to expire")
    code, _, err = person("task", "list")
    assert (code, err) == (Exit.OK, "")
    after = person.login
    assert after.ends_at > before.ends_at
    assert after.tokens.refresh_token != before.tokens.refresh_token


def test_many_commands_at_once_renew_it_once(person: Person, provider: RunningProvider) -> None:
    """A refresh token is good once: the second to show it would be logged out."""
    provider.behave(lifetime_seconds=2)
    assert person.log_in(provider)[0] == Exit.OK
    ends_at, n_before = person.login.ends_at, provider.asked("/token")
    provider.behave(lifetime_seconds=3600)
    eventually(lambda: utc_now() > ends_at, "the token to expire")
    commands = [person.begin("task", "list") for _ in range(4)]
    assert [ended(command)[::2] for command in commands] == [(Exit.OK, "")] * 4
    assert provider.asked("/token") == n_before + 1


def test_the_provider_may_be_away(person: Person, provider: RunningProvider, server: Server) -> None:
    """The server goes on with the keys that it has, after a new start too, and the client with its token."""
    assert person.log_in(provider)[0] == Exit.OK
    assert person("task", "list")[0] == Exit.OK
    eventually(lambda: list((server_copy(server)).glob("*.json")), "the keys to be on the disk")
    provider.stop()
    assert person("task", "list")[0] == Exit.OK
    server.stop()
    server.start()
    moved = Person(person.home, server.url)
    moved.store.write(replace_server(person.login, server.url))
    assert moved("task", "list")[0] == Exit.OK


def server_copy(server: Server) -> Path:
    return Path(json.loads(server.command[-1])["token_keys_copy"])


def replace_server(login: Login, url: str) -> Login:
    """The server of before has another port now."""
    return Login(url, login.vo, login.issuer, login.application, login.tokens)


def test_who_logs_out_is_out(person: Person, provider: RunningProvider) -> None:
    assert person.log_in(provider)[0] == Exit.OK
    login = person.login
    code, out, _ = person("logout")
    assert (code, out) == (Exit.OK, f"logged out of {person.server}\n")
    assert not person.store.path.exists()
    assert rejected(person("task", "list"), "bamboo login")
    with pytest.raises(LoginFailed, match="does not renew"):  # forgotten at the provider too
        Provider(login.application, utc_now).renew(login.tokens.refresh_token)
    assert "were not logged in" in person("logout")[2]


def test_logging_out_works_without_the_provider(person: Person, provider: RunningProvider) -> None:
    assert person.log_in(provider)[0] == Exit.OK
    provider.stop()
    code, out, err = person("logout")
    assert (code, out.startswith("logged out")) == (Exit.OK, True)
    assert "provider was not told" in err
    assert not person.store.path.exists()


#: How the provider behaves, what the user answers, and what the command says.
FAILURES: dict[str, tuple[dict[str, Any], str, str]] = {
    "denied": ({}, "no", "denied on the provider's page"),
    "another issuer's token": ({"claims": {"iss": "https://evil.test"}}, "yes", "token of another issuer"),
    "somebody else's token": ({"claims": {"aud": "other"}}, "yes", "a token for somebody else"),
    "an ID token of nothing": ({"claims": {"iss": None}}, "yes", "token of another issuer, None"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_logins_that_fail_at_the_end(case: str, person: Person, provider: RunningProvider) -> None:
    behaviour, answer, words = FAILURES[case]
    provider.behave(**behaviour)
    assert rejected(person.log_in(provider, answer), words)
    assert not person.store.path.exists()


AT_ONCE: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "no device flow": ({"discovery": {"device_authorization_endpoint": None}}, (), "has no device_authorization_end"),
    "another issuer": ({"discovery": {"issuer": "https://evil.test"}}, (), "another issuer, 'https://evil.test'"),
    "no issuer": ({"discovery": {"issuer": None}}, (), "describes no provider"),
    "an endpoint by http": (
        {"discovery": {"device_authorization_endpoint": "http://192.0.2.1/device"}},
        (),
        "has no https device_authorization_endpoint",
    ),
    "a VO without login": ({}, ("--vo", "atlas"), "no login for VO 'atlas'"),
    "the code expires": ({"code_seconds": 1}, (), "expired before it was confirmed"),
}


@pytest.mark.parametrize("case", AT_ONCE)
def test_logins_that_fail_without_an_answer(case: str, person: Person, provider: RunningProvider) -> None:
    behaviour, words, reason = AT_ONCE[case]
    provider.behave(**behaviour)
    assert rejected(person("login", *words), reason)


def test_a_provider_that_is_away(person: Person, provider: RunningProvider) -> None:
    provider.stop()
    code, _, err = person("login")
    assert (code, "no answer from" in err) == (Exit.UNREACHABLE, True)


def test_a_provider_that_others_could_speak_for() -> None:
    with pytest.raises(LoginFailed, match="could be read on the way"):
        Provider(Application("http://192.0.2.1/.well-known/openid-configuration", "bamboo"), utc_now)


def test_a_role_in_the_vo_is_not_a_part_of_its_name(person: Person, provider: RunningProvider) -> None:
    person.more = {"PANDA_AUTH_VO": "cms:user"}
    assert person.log_in(provider)[0] == Exit.OK
    assert person.login.vo == "cms"


# what a provider may ask of those who wait, with a clock that moves only while they sleep


class Sleeper:
    """Notes how long somebody sleeps, and wakes them at once."""

    def __init__(self, clock: ManualClock, then: Callable[[int], object] = lambda _: None) -> None:
        self.clock, self.then = clock, then
        self.slept: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds=seconds)
        self.then(len(self.slept))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(utc_now())


@pytest.fixture
def talk(person: Person, provider: RunningProvider, clock: ManualClock) -> Provider:
    """A conversation with the provider as `bamboo login` has it."""
    assert person.log_in(provider)[0] == Exit.OK
    return Provider(person.login.application, clock)


def test_asking_becomes_slower_when_the_provider_wants_it(
    talk: Provider, provider: RunningProvider, clock: ManualClock
) -> None:
    provider.behave(interval_seconds=3, slow_downs=2)
    device = talk.begin()
    sleeper = Sleeper(clock, lambda n: provider.answer(device.page) if n == 4 else None)
    assert talk.wait_for(device, sleeper).id_token
    assert sleeper.slept == [3, 8, 13, 13]


def test_asking_goes_on_when_the_provider_was_away(
    talk: Provider, provider: RunningProvider, clock: ManualClock
) -> None:
    device = talk.begin()
    provider.stop()

    def come_back(n: int) -> None:
        if n == 4:  # it has forgotten the code, and says so: a real answer
            provider.start()

    sleeper = Sleeper(clock, come_back)
    with pytest.raises(LoginFailed, match="device_code"):
        talk.wait_for(device, sleeper)
    assert sleeper.slept == [1, 2, 4, 8]


def test_nobody_asks_for_ever(talk: Provider, clock: ManualClock) -> None:
    device = talk.begin()
    sleeper = Sleeper(clock)
    with pytest.raises(LoginFailed, match="expired"):
        talk.wait_for(device, sleeper)
    assert sum(sleeper.slept) == pytest.approx(600, abs=1)


# tokens that are kept


@pytest.fixture
def kept(person: Person, provider: RunningProvider, clock: ManualClock) -> StoredLogin:
    assert person.log_in(provider)[0] == Exit.OK
    return StoredLogin(person.store, person.login, clock)


def test_a_token_is_renewed_five_minutes_before_its_end(kept: StoredLogin, clock: ManualClock, person: Person) -> None:
    first = kept.token()
    clock.now = person.login.ends_at
    clock.advance(seconds=-301)
    assert kept.token() == first
    clock.advance(seconds=1)
    assert kept.token() != first


def test_a_token_that_cannot_be_renewed_is_good_to_its_end(
    kept: StoredLogin, clock: ManualClock, person: Person, provider: RunningProvider
) -> None:
    first = kept.token()
    provider.stop()
    clock.now = person.login.ends_at
    clock.advance(seconds=-1)
    assert kept.token() == first
    clock.advance(seconds=1)
    with pytest.raises(ServerUnreachable):
        kept.token()


def test_a_login_without_a_refresh_token_ends(person: Person, provider: RunningProvider, clock: ManualClock) -> None:
    provider.behave(gives_refresh_token=False)
    assert person.log_in(provider)[0] == Exit.OK
    kept = StoredLogin(person.store, person.login, clock)
    assert kept.token()
    clock.now = person.login.ends_at
    with pytest.raises(LoginFailed, match="nothing to renew it by"):
        kept.token()


def test_a_login_that_the_provider_ended(kept: StoredLogin, clock: ManualClock, person: Person) -> None:
    assert Provider(person.login.application, utc_now).revoke(person.login.tokens.refresh_token)
    clock.now = person.login.ends_at
    with pytest.raises(LoginFailed, match="does not renew it"):
        kept.token()


def test_a_provider_that_became_another_one(
    kept: StoredLogin, clock: ManualClock, person: Person, provider: RunningProvider
) -> None:
    """Refresh tokens are shown to those who gave them, and to nobody else."""
    other = RunningProvider(provider.folder).start()
    try:
        config = {**vars(person.login.application), "oidc_config_url": other.discovery}
        login = person.login
        person.store.write(Login(login.server, login.vo, login.issuer, type(login.application)(**config), login.tokens))
        clock.now = login.ends_at
        with pytest.raises(LoginFailed, match="the provider of your login was"):
            kept.token()
        assert other.asked("/token") == 0
    finally:
        other.stop()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"server": 1, "application": {}, "tokens": {}}'])
def test_a_damaged_login_is_told(text: str, person: Person, provider: RunningProvider) -> None:
    assert person.log_in(provider)[0] == Exit.OK
    person.store.path.write_text(text)
    assert rejected(person("task", "list"), "is damaged")
    person("logout")
    assert not person.store.path.exists()


def test_a_login_that_others_can_read_is_not_used(person: Person, provider: RunningProvider) -> None:
    assert person.log_in(provider)[0] == Exit.OK
    person.store.path.chmod(0o644)
    assert rejected(person("task", "list"), "others can read")


def test_a_login_is_for_one_server(person: Person, provider: RunningProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other server is ever sent its token; and a token or a name that is given wins."""
    assert person.log_in(provider)[0] == Exit.OK
    monkeypatch.setenv("HOME", str(person.home))
    for name in ("XDG_STATE_HOME", "BAMBOO_TOKEN", "PANDA_AUTH_ID_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    kept = person.login.tokens.id_token
    assert connect(person.server).transport.identity.token == kept
    assert connect("http://127.0.0.1:1").transport.identity.token == ""
    assert connect(person.server.replace("127.0.0.1", "localhost")).transport.identity.token == ""
    other = LoginStore("http://127.0.0.1:1")
    shutil.copy(person.store.path, other.path)
    assert connect(other.server).transport.identity.token == ""
    assert connect(person.server, token="given").transport.identity.token == "given"
    assert connect(person.server, "somebody").transport.identity.token == ""
