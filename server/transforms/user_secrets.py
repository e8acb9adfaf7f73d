"""The user's secrets for a job (`panda_secrets.json`): environment variables, and files in the run directory."""

import base64
import contextlib
import json
import os
import re
from pathlib import Path
from typing import Dict

from .toolbox import EXIT_BAD_ARGUMENT, TransformError, is_plain_name, say

SECRETS_FILE = "panda_secrets.json"
FILE_MARK = "___file___:"
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class UserSecrets:
    """`variables` by name, `files` (bytes) by name; values are never printed."""

    def __init__(self, variables: Dict[str, str], files: Dict[str, bytes]) -> None:
        self.variables = variables
        self.files = files

    @classmethod
    def read(cls, job_dir: Path) -> "UserSecrets":
        """Read the job's secrets, none when there is no file. Raises TransformError for what cannot be used."""
        path = job_dir / SECRETS_FILE
        if not path.is_file():
            return cls({}, {})
        try:
            given = json.loads(path.read_bytes().decode("utf-8"))
        except ValueError:
            given = None
        if not isinstance(given, dict):
            raise TransformError(EXIT_BAD_ARGUMENT, f"{SECRETS_FILE} is not a JSON object")
        secrets = cls({}, {})
        for key, value in given.items():
            secrets._add(str(key), value)
        return secrets

    def _add(self, key: str, value: object) -> None:
        if not isinstance(value, str):
            say(f"secret {key} is not a text and is ignored")
        elif key.startswith(FILE_MARK):
            name = key[len(FILE_MARK) :]
            if not is_plain_name(name):
                raise TransformError(EXIT_BAD_ARGUMENT, f"secret file {name!r} is not a plain file name")
            try:
                self.files[name] = base64.b64decode("".join(value.split()), validate=True)
            except ValueError as error:
                raise TransformError(EXIT_BAD_ARGUMENT, f"secret file {name!r} is not base64") from error
        elif not _IDENTIFIER.fullmatch(key) or "\0" in value:
            say(f"secret {key} cannot be an environment variable and is ignored")
        else:
            self.variables[key] = value

    def write_files(self, run_dir: Path) -> None:
        """Write the secret files, readable by their owner only."""
        self.remove_files(run_dir)
        for name, content in self.files.items():
            handle = os.open(str(run_dir / name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as sink:
                sink.write(content)

    def remove_files(self, run_dir: Path) -> None:
        """Remove the secret files, so that no pattern takes them for an output."""
        for name in self.files:
            with contextlib.suppress(FileNotFoundError):
                (run_dir / name).unlink()
