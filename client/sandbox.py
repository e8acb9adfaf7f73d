"""The user's own files that travel with a task: chosen by PanDA's rules, equal files packed into equal bytes."""

from __future__ import annotations

import gzip
import os
import re
import struct
import tarfile
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from stat import S_ISREG

from ..core.errors import Fault, Invalid
from .errors import SandboxTooLarge
from .text import bytes_text

#: What the server accepts for an archive that goes to every job (PanDA's limit for names not beginning `sources.`).
LARGEST_ARCHIVE_BYTES = 10 << 20
#: What it accepts for an archive that only build jobs fetch.
LARGEST_SOURCES_BYTES = 768 << 20
LARGEST_FILE_BYTES = 1 << 20
#: Left out with a note: what a build makes, and data.
PRODUCTS = ("*.o", "*.a", "*.so")
DATA = ("*.root",)
_NUMBERS = re.compile(r"(\.\d+)+$")


@dataclass(frozen=True, kw_only=True)
class SandboxRules:
    """Which files of a work directory go along. Patterns match a file's name or its path in the directory."""

    work_dir: Path
    always: tuple[str, ...] = ()  #: patterns of files that go along though a rule would leave them out (--extFile)
    never: tuple[str, ...] = ()  #: patterns of files and folders that stay behind (--excludeFile)
    inputs: frozenset[Path] = frozenset()  #: resolved paths of files that reach the jobs as inputs already
    largest_file_bytes: int = LARGEST_FILE_BYTES
    with_products: bool = False  #: what a build has made goes along (--noCompile); data do not


@dataclass(frozen=True)
class LeftOut:
    """A file that stayed behind, worth telling."""

    name: str
    why: str


@dataclass(frozen=True)
class Collection:
    """Files and folders to pack, by their paths in the work directory, and what stayed behind."""

    work_dir: Path
    names: tuple[str, ...]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True)
class Archive:
    """A packed sandbox. `checksum` is the CRC-32 in the gzip trailer; with the size it tells archives apart."""

    path: Path
    size_bytes: int
    checksum: int
    n_files: int


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) or fnmatch(name.rpartition("/")[2], pattern) for pattern in patterns)


def is_hidden(name: str) -> bool:
    """Names such as `.git`: a dot and a letter."""
    return len(name) > 1 and name[0] == "." and name[1].isalpha()


def collect(rules: SandboxRules) -> Collection:
    """Choose the files under the work directory. Raises `Invalid` if it is no directory."""
    root = rules.work_dir
    if not root.is_dir():
        raise Invalid("sandbox", [Fault("workDir", f"{root} is not a directory", "give the directory of your files")])
    names, left_out = [], []
    for name in walk(root, rules):
        reason = why_left_out(root / name, name, rules)
        if reason is None:
            names.append(name)
        elif reason:
            left_out.append(LeftOut(name, reason))
    return Collection(root, tuple(sorted(names)), tuple(sorted(left_out, key=lambda left: left.name)))


def walk(root: Path, rules: SandboxRules) -> Iterator[str]:
    """Every file and folder below `root` that is not hidden or excluded; links to folders are not followed."""
    for folder, folders, files in os.walk(root):
        above = Path(folder).relative_to(root)

        def kept(names: list[str], above: Path = above) -> dict[str, str]:
            paths = {name: (above / name).as_posix() for name in names if not is_hidden(name)}
            return {name: path for name, path in paths.items() if not matches(path, rules.never)}

        inside = kept([name for name in folders if not _is_left_out(Path(folder) / (name or new_archive_name()))])
        folders[:] = sorted(inside)
        yield from inside.values()
        yield from kept(files).values()


def _is_left_out(folder: Path) -> bool:
    """Links to folders are not followed, and folders that are tagged as caches (bford.info/cachedir) are not sent."""
    return folder.is_symlink() or (folder / "CACHEDIR.TAG").exists()


def why_left_out(path: Path, name: str, rules: SandboxRules) -> str | None:
    """None if the file or folder goes along, "" if it silently does not, otherwise the reason to tell."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return ""  # a dead link
    if path.is_dir():
        return None
    if not S_ISREG(stat.st_mode):
        return "not a regular file"
    if matches(name, rules.always):
        return None
    if rules.inputs and path.resolve() in rules.inputs:
        return ""
    # Data may have numbers behind: `tree.root.3` is one, `user.root.10000000._000001.x.txt` of the user root is none.
    without_numbers = _NUMBERS.sub("", name)
    if matches(without_numbers, DATA) or (not rules.with_products and matches(name, PRODUCTS)):
        return "looks like a build product or data"
    if stat.st_size > rules.largest_file_bytes:
        return f"{bytes_text(stat.st_size)}, over the limit of {bytes_text(rules.largest_file_bytes)}"
    return None


def new_archive_name(*, for_build: bool = False) -> str:
    """PanDA's name for a sandbox: one that build jobs download, or one that every job does."""
    return f"{'sources' if for_build else 'jobO'}.{uuid.uuid4()}.tar.gz"


def pack(collection: Collection, path: Path) -> Archive:
    """Write the archive. Owners are dropped, folders get no time and gzip no date: equal files give equal bytes."""
    n_files = 0
    largest_bytes = LARGEST_SOURCES_BYTES if path.name.startswith("sources.") else LARGEST_ARCHIVE_BYTES
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for name in collection.names:
            n_files += add_member(archive, collection.work_dir / name, name)
            if raw.tell() > largest_bytes:
                raise too_large(collection, largest_bytes)
    size_bytes = path.stat().st_size
    if size_bytes > largest_bytes:
        raise too_large(collection, largest_bytes)
    return Archive(path, size_bytes, gzip_checksum(path), n_files)


@contextmanager
def packing(collection: Collection, name: str = "") -> Iterator[Archive]:
    """The packed archive under a name, by default a new one for all jobs, for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="bamboo-sandbox-") as folder:
        yield pack(collection, Path(folder) / (name or new_archive_name()))


def add_member(archive: tarfile.TarFile, path: Path, name: str) -> bool:
    """Add one file or folder; returns whether it was a file. Links were followed when it was collected."""
    member = tarfile.TarInfo(name)
    stat = path.stat()
    member.mode = stat.st_mode & 0o777
    if path.is_dir():
        member.type = tarfile.DIRTYPE
        archive.addfile(member)
        return False
    with path.open("rb") as stream:
        member.size = os.fstat(stream.fileno()).st_size
        member.mtime = int(stat.st_mtime)
        archive.addfile(member, stream)
    return True


def gzip_checksum(path: Path) -> int:
    """The CRC-32 of the unpacked bytes, as the gzip trailer has it (unsigned)."""
    with path.open("rb") as stream:
        stream.seek(-8, os.SEEK_END)
        (checksum,) = struct.unpack("<I", stream.read(4))
    return int(checksum)


def too_large(collection: Collection, largest_bytes: int) -> SandboxTooLarge:
    files = [collection.work_dir / name for name in collection.names if (collection.work_dir / name).is_file()]
    largest = sorted(files, key=lambda path: path.stat().st_size, reverse=True)[:3]
    told = ", ".join(f"{path.relative_to(collection.work_dir)} ({bytes_text(path.stat().st_size)})" for path in largest)
    return SandboxTooLarge(
        f"the files of {collection.work_dir} make more than {bytes_text(largest_bytes)}; the largest: {told}",
        hint="leave some out with --excludeFile, or give data as --inFiles",
    )
