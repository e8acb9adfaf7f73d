"""An OpenID provider in a process of its own (`oidc_provider.py`), and the people who answer on its page."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from patience import PATIENCE_SECONDS

CLIENT_ID, CLIENT_SECRET = "bamboo-client", "known-to-all"
POLICIES = {
    "cms": [
        ["/cms", {"group": "cms", "role": "user"}],
        ["/cms/prod", {"group": "prod", "role": "production"}],
        ["/cms/pilots", {"group": "pilots", "role": "pilot"}],
    ]
}


@dataclass
class RunningProvider:
    """A provider that can be stopped and started again at the same address."""

    folder: Path
    certificate: Path | None = None
    port: int = 0
    process: subprocess.Popen[str] = field(init=False)

    def start(self) -> RunningProvider:
        self.folder.mkdir(parents=True, exist_ok=True)
        program = Path(__file__).with_name("oidc_provider.py")
        more = [str(self.certificate)] if self.certificate else []
        command = [sys.executable, "-W", "ignore", str(program), str(self.folder), str(self.port), *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        return self

    def stop(self) -> None:
        """SIGKILL: nothing answers at its address any more."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def reset(self) -> None:
        """As if it had just been started: with all that it knew but its keys forgotten."""
        if self.process.poll() is not None:
            self.start()
        self._ask("POST", "/test/reset")

    def hang(self) -> None:
        """SIGSTOP: it takes connections, and says nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    @property
    def url(self) -> str:
        """Its address, which is the issuer of its tokens."""
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}"

    @property
    def discovery(self) -> str:
        return f"{self.url}/.well-known/openid-configuration"

    def behave(self, **how: Any) -> None:
        """Change `Behaviour`."""
        self._ask("POST", "/test/behave", json=how)

    def asked(self, path: str) -> int:
        """How many requests there were for a path."""
        return int(self._ask("GET", "/test/asked").get(path, 0))

    def token(self, claims: dict[str, Any] | None = None, **how: Any) -> str:
        """A token as the provider would sign it, but for `claims` (None takes one out) and for `how` (see `sign`)."""
        return str(self._ask("POST", "/test/sign", json={"claims": claims or {}, **how}))

    def jwks(self) -> dict[str, Any]:
        return dict(self._ask("GET", "/jwks"))

    def answer(self, told: str, answer: str = "yes", user: str = "alice") -> None:
        """What a person does who reads a command's words: goes to the page in them, and answers."""
        page = re.search(rf"{re.escape(self.url)}/device\?user_code=\S+", told)
        assert page, told
        reply = requests.post(page[0], data={"user": user, "answer": answer}, timeout=PATIENCE_SECONDS)
        assert reply.status_code == 200, reply.text

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        verify = str(self.certificate) if self.certificate else True
        reply = requests.request(method, f"{self.url}{path}", timeout=PATIENCE_SECONDS, verify=verify, **more)
        assert reply.status_code == 200, reply.text
        return reply.json()


def lay_out(folder: Path, provider: RunningProvider, vo: str = "cms", policies: Any = POLICIES) -> dict[str, str]:
    """The files of a server that trusts a provider; returns its settings."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policies.json").write_text(json.dumps(policies))
    login = {"audience": "", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "vo": vo}
    (folder / f"{vo}_auth_config.json").write_text(json.dumps({**login, "oidc_config_url": provider.discovery}))
    return {
        "token_authType": "oidc",
        "token_keys": provider.discovery,
        "token_issuer": provider.url,
        "token_audience": CLIENT_ID,
        "auth_policies": str(folder / "policies.json"),
        "auth_config": str(folder),
    }


def certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1, with its key in the same file, that nobody has signed but itself."""
    folder.mkdir(parents=True, exist_ok=True)
    path, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(path)]
    subprocess.run([*command, *names], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path
