"""The log of a job: one tar file with what a person needs to understand how it went."""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

from .job import Job

KEPT = ("payload.stdout", "payload.stderr", "jobReport.json", "userJobMetadata.json")
KEPT_RANGES = 20  # files of what was printed for event ranges that failed
KEPT_BYTES = 32 << 20
PILOT_LOG_BYTES = 4 << 20
LISTED_FILES = 2000


def make_log(job: Job, target: Path, pilot_log: Path) -> None:
    """Write the tar file, with the job's part of the pilot's log. Raises OSError."""
    folder = f"job.{job.spec.pandaid}.{job.spec.attempt_nr}"
    with tarfile.open(target, "w:gz", compresslevel=6) as archive:
        for name in KEPT:
            path = job.directory / name
            if path.is_file() and not path.is_symlink() and path.stat().st_size <= KEPT_BYTES:
                archive.add(path, f"{folder}/{name}", recursive=False)
        for path in sorted(job.directory.glob("payload.std???.range-*"))[:KEPT_RANGES]:
            archive.add(path, f"{folder}/{path.name}", recursive=False)
        merged = job.directory / target.name  # the logs that a merge job put together, under its own log's name
        if merged.is_file() and not merged.is_symlink():
            archive.add(merged, f"{folder}/{merged.name}", recursive=False)
        with pilot_log.open("rb") as source:
            source.seek(job.log_from)
            _add_text(archive, f"{folder}/pilot.log", source.read(PILOT_LOG_BYTES))
        listing = "".join(f"{line}\n" for line in _listing(job.directory)).encode("utf-8", "surrogateescape")
        _add_text(archive, f"{folder}/files.txt", listing)


def _add_text(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mtime = int(time.time())
    archive.addfile(member, io.BytesIO(content))


def _listing(directory: Path) -> Iterator[str]:
    """Say which files were in the job directory: size, time, name."""
    listed = 0
    for folder, _, names in os.walk(directory):
        for name in sorted(names):
            if listed == LISTED_FILES:
                yield "… more files, not listed"
                return
            path = Path(folder, name)
            try:
                status = path.lstat()
            except OSError:
                continue
            listed += 1
            changed = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(status.st_mtime))
            yield f"{status.st_size:>12} {changed} {path.relative_to(directory)}"
