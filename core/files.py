"""Files that must never be seen half written, nor by others; secrets that settings lead to."""

from __future__ import annotations

import os
import threading
from pathlib import Path

OWNER_ONLY = 0o600


def replace_file(path: Path, content: bytes, mode: int = OWNER_ONLY) -> None:
    """Put a file in place at once; nobody else can read it in between."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as sink:
            sink.write(content)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def referenced(setting: str) -> str:
    """What `file:PATH` or `env:NAME` leads to; raises `KeyError` for neither and for no variable, and `OSError`."""
    kind, _, name = setting.partition(":")
    return {"file": lambda: Path(name).read_text(), "env": lambda: os.environ[name]}[kind]()
