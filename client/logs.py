"""The log archive of a job: what is in it, and the text of its members."""

from __future__ import annotations

import lzma
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import NoSuchFile, UnsafeArchive
from .model import FileInfo, JobInfo
from .storage import fetch

#: What a payload printed; the pilot puts these into every log archive.
PAYLOAD_STREAMS = ("payload.stdout", "payload.stderr")
#: No member is shown beyond this.
LONGEST_MEMBER_BYTES = 64 << 20
#: What reading a broken archive raises.
BROKEN = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, KeyError)


@dataclass(frozen=True)
class LogMember:
    """One file inside a log archive; `name` is its last component."""

    name: str
    path: str
    size_bytes: int


class LogArchive:
    """An open log archive. Members are read in place; nothing is ever unpacked to disk."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._infos = {info.name: info for info in archive.getmembers() if info.isfile()}

    @property
    def members(self) -> list[LogMember]:
        """The files in the archive, by path."""
        return [LogMember(Path(path).name, path, info.size) for path, info in sorted(self._infos.items())]

    def find(self, name: str) -> LogMember | None:
        """The member with this path or last component; the one nearest the top if there are several."""
        found = [member for member in self.members if name in (member.path, member.name)]
        return min(found, key=lambda member: member.path.count("/"), default=None)

    def content(self, member: LogMember) -> bytes:
        """What is in a member, up to `LONGEST_MEMBER_BYTES`."""
        stream = self._archive.extractfile(self._infos[member.path])
        return stream.read(LONGEST_MEMBER_BYTES) if stream else b""


def log_file(job: JobInfo) -> FileInfo:
    """The log archive among the files of a job. Raises `NoSuchFile` if the job has left none."""
    for file in job.files:
        if file.type == "log" and file.url:
            return file
    hint = f"its last output: bamboo job show {job.job_id}" if job.stdout_tail else "a job that never ran leaves none"
    raise NoSuchFile(f"job {job.job_id} ({job.status}) has no log archive", hint=hint)


@contextmanager
def open_log(job: JobInfo) -> Iterator[LogArchive]:
    """Fetch the job's log archive, verified, and open it for as long as the context lasts."""
    file = log_file(job)
    with tempfile.TemporaryDirectory(prefix="bamboo-log-") as folder:
        path, _ = fetch(file, Path(folder))
        with read_archive(path, file.lfn, hint=f"it came from {file.url}") as log:
            yield log


@contextmanager
def read_archive(path: Path, name: str, *, hint: str = "") -> Iterator[LogArchive]:
    """Open a log archive for as long as the context lasts. Raises `UnsafeArchive`, with the hint."""
    try:
        with tarfile.open(path, "r:*") as archive:
            yield LogArchive(archive)
    except BROKEN as error:
        raise UnsafeArchive(f"{name} cannot be read: {error}", hint=hint) from error
