"""The environment in which PanDA's client and ours work with a system of `bamboo up` (client protocol 1)."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from ..core.errors import NotFound
from .state import StateFolder
from .tokens import VO, key_folder


def exports(state: StateFolder, environ: Mapping[str, str], now: datetime) -> list[str]:
    """`export` lines for a shell, with a new token. Raises `NotFound` when the folder has no system in it."""
    try:
        url, token = state.url.read_text(), key_folder(state).owner_token(now)
    except FileNotFoundError as error:
        hint = "start one with `bamboo up`, or name --state"
        raise NotFound(f"{state.root} has no system in it", hint=hint) from error
    state.client.mkdir(mode=0o700, exist_ok=True)
    panda = f"{url}/server/panda"  # with a path: without one the client leaves sourceURL out
    variables = {
        "BAMBOO_URL": url,
        "BAMBOO_TOKEN": token,
        "PANDA_URL": panda,
        "PANDA_URL_SSL": panda,
        "PANDACACHE_URL": panda,
        "PANDA_BEHIND_REAL_LB": "1",  # keeps the client from asking the DNS for the server's other names
        "PANDA_AUTH": "oidc",
        "PANDA_AUTH_VO": VO,
        "PANDA_AUTH_ID_TOKEN": token,
        "PANDA_CONFIG_ROOT": str(state.client),
        **_installed_client(environ),
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    return [*lines, *_paths(environ), *_past_the_proxy(url, environ)]


def _installed_client(environ: Mapping[str, str]) -> dict[str, str]:
    """What the launchers of panda-client need: of the one beside this interpreter, else of the first `prun` on PATH.

    Empty where there is none, or where the shell has been told already.
    """
    beside = Path(sys.prefix)
    if _has_functions(beside):
        return {"PANDA_SYS": str(beside), "PANDA_PYTHON_EXEC": sys.executable}
    launcher = shutil.which("prun", path=environ.get("PATH", ""))
    if launcher is None or environ.get("PANDA_SYS"):
        return {}
    # as it stands and behind links: pipx and the like link programs from elsewhere
    for folder in (Path(launcher).parent.parent, Path(launcher).resolve().parent.parent):
        python = next((path for name in ("python3", "python") if (path := folder / "bin" / name).exists()), None)
        if _has_functions(folder):
            return {"PANDA_SYS": str(folder), **({"PANDA_PYTHON_EXEC": str(python)} if python else {})}
    return {}


def _has_functions(prefix: Path) -> bool:
    return (prefix / "etc/panda/share/functions.sh").exists()


def _paths(environ: Mapping[str, str]) -> list[str]:
    """The folder of our own programs, unless the shell looks there already."""
    programs = str(Path(sys.executable).parent)
    if programs in environ.get("PATH", "").split(os.pathsep):
        return []
    return [f'export PATH={shlex.quote(programs)}"${{PATH:+:$PATH}}"']


def _past_the_proxy(url: str, environ: Mapping[str, str]) -> list[str]:
    """The server is no business of an HTTP proxy."""
    host = urlsplit(url).hostname or ""
    proxied = any(environ.get(name) for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"))
    if not proxied or host in environ.get("no_proxy", "").split(","):
        return []
    return [f'export no_proxy={shlex.quote(host)}"${{no_proxy:+,$no_proxy}}"', 'export NO_PROXY="$no_proxy"']
