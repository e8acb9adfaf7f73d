"""A job directory in which transforms are run as pilots run them: one file, a shell, the job's parameters."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

from bamboo.pilot.payload_command import literal
from bamboo.server.job_wire import TRANSFORMS
from bamboo.server.transforms import one_file


def panda_quoted(parameters: str) -> str:
    """What PanDA's pilot makes of job parameters (panda-pilot.md 12.1), written down independently of our pilot.

    It splits them like a shell; when there is an option among them it joins options and values again, each in quotes.
    """
    words = shlex.split(parameters, posix=True)
    if not any(word.startswith("-") for word in words):
        return parameters
    return " ".join("'" + word.replace("'", "'\"'\"'") + "'" for word in words)


QUOTINGS: dict[str, Callable[[str], str]] = {"own pilot": literal, "PanDA's pilot": panda_quoted}


class JobDirectory:
    """Runs served transforms; no process of theirs may end with a traceback."""

    def __init__(self, path: Path, quoted: Callable[[str], str] = literal) -> None:
        self.path = path
        self.quoted = quoted
        path.mkdir(parents=True, exist_ok=True)

    def run(self, name: str, parameters: str, **env: str) -> tuple[int, str]:
        """Run a transform with job parameters as they stand in a job definition; gives exit code and all it printed."""
        script = self.path / name
        script.write_bytes(one_file(TRANSFORMS[name]))
        script.chmod(0o755)
        return self.shell(f"./{name} {self.quoted(parameters)}", **env)

    def shell(self, command: str, **env: str) -> tuple[int, str]:
        done = subprocess.run(
            ["/bin/bash", "-c", command],
            cwd=self.path,
            capture_output=True,
            text=True,
            env={**os.environ, "BAMBOO_DOWNLOAD_PAUSE_SECONDS": "0", **env},
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + done.stderr

    def read(self, name: str) -> str:
        return (self.path / name).read_text()

    def write(self, name: str, content: str = "") -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path


def archive(**files: str) -> bytes:
    """A tar.gz; `__` in a name stands for `/`."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return content.getvalue()


def members(path: Path) -> dict[str, str]:
    """The plain files in a tar file."""
    with tarfile.open(path) as tar:
        return {
            member.name: content.read().decode() for member in tar if (content := tar.extractfile(member)) is not None
        }
