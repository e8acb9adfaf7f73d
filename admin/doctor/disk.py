"""Folders: whether they can be written to, and have room."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .findings import Check, Finding
from .patient import GIB, Patient

CHECK = Check("disk")
#: Of the files that a file system may hold, those that are left at least.
LEAST_FILES_LEFT = 0.01


def check(patient: Patient) -> Iterator[Finding]:
    for what_for, folder in _folders(patient).items():
        yield from _folder(patient, what_for, folder)


def _folders(patient: Patient) -> dict[str, Path]:
    """Folders by what they are for."""
    settings, file, state = patient.settings, patient.sqlite_file, patient.state
    found = {"sandboxes": settings.server.cache_dir} if state is None else {"the state folder": state.root}
    if settings.common.logdir:
        found["logs"] = settings.common.logdir
    if file is not None:
        found["the database"] = file.parent
    return {**found, "temporary files": Path(tempfile.gettempdir())}


def _folder(patient: Patient, what_for: str, folder: Path) -> Iterator[Finding]:
    where = f"{folder} ({what_for})"
    there = next((one for one in (folder, *folder.absolute().parents) if one.exists()), Path("/"))
    if not there.is_dir():
        yield CHECK.fault(where, f"{there} is no folder", "remove it, or name another folder")
        return
    try:
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(b"x")
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        who = f"user id {os.getuid()}"
        yield CHECK.fault(where, f"{who} cannot write there: {error.strerror}", "give the folder to who runs the part")
        return
    yield from _room(patient, where, there)


def _room(patient: Patient, where: str, folder: Path) -> Iterator[Finding]:
    seen, measures = os.statvfs(folder), patient.measures
    free = seen.f_bavail * seen.f_frsize
    what, do = f"{free / GIB:.1f} GiB are free", "make room, or move the folder"
    if free < measures.no_disk_bytes:
        yield CHECK.fault(where, f"only {what}", do)
    elif free < measures.low_disk_bytes:
        yield CHECK.warning(where, f"only {what}", do)
    else:
        yield CHECK.ok(where, f"it can be written to, and {what}")
    if seen.f_files and seen.f_favail < LEAST_FILES_LEFT * seen.f_files:
        yield CHECK.fault(where, f"only {seen.f_favail} more files can be made there", "remove some (df -i)")
