"""A provider's keys on this machine's disk, so that a server which starts while the provider is away knows them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ...core.files import replace_file

log = logging.getLogger(__name__)

OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


class KeyCopy:
    """Files in one folder, one for each address. Whoever can write there can make tokens."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path_of(self, address: str) -> Path:
        """The file for an address."""
        return self._folder / f"{hashlib.sha256(address.encode()).hexdigest()[:32]}.json"

    def read(self, address: str) -> tuple[datetime, list[dict[str, Any]]] | None:
        """When the keys of an address were fetched, and the JWKs; None without a copy that can be trusted."""
        path = self.path_of(address)
        try:
            with path.open("rb") as stream:
                found = os.fstat(stream.fileno())
                if found.st_uid != os.geteuid() or found.st_mode & OTHERS_MAY_WRITE:
                    raise ValueError("others may write it")
                document = json.load(stream)
            if document["address"] != address or not all(isinstance(entry, dict) for entry in document["keys"]):
                raise ValueError("it is about something else")
            at = datetime.fromisoformat(document["fetched_at"])
            if at.tzinfo is None:
                raise ValueError("its time has no zone")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            extra = {"event": "bad_key_copy", "path": str(path), "problem": str(error) or type(error).__name__}
            log.warning("the copy of the keys is not used", extra=extra)
            return None
        return at, document["keys"]

    def write(self, address: str, at: datetime, entries: Sequence[dict[str, Any]]) -> None:
        """Keep the JWKs of an address. That it cannot be done is logged: the keys in memory do."""
        document = {"address": address, "fetched_at": at.isoformat(), "keys": list(entries)}
        path = self.path_of(address)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(path, json.dumps(document).encode())
        except OSError as error:
            extra = {"event": "key_copy_not_written", "path": str(path), "problem": str(error)}
            log.warning("the copy of the keys cannot be written", extra=extra)
