"""Archives: how a transform gets the user's files, unpacks them safely, and packs what was built."""

import contextlib
import os
import shutil
import tarfile
import time
import urllib.parse
import zlib
from pathlib import Path, PurePosixPath
from typing import Dict, List, Optional, Sequence, Set

from .toolbox import EXIT_BAD_ARGUMENT, TransformError, say

try:
    from lzma import LZMAError
except ImportError:  # a Python without it opens no such archive either
    LZMAError = tarfile.TarError  # type: ignore[misc,assignment]

EXIT_BAD_ARCHIVE = 143
EXIT_NO_DOWNLOAD = 146
#: More files and directories than any sandbox or library has.
MAX_MEMBERS = 100_000
#: Content that is larger than this may be so many times as large as its archive; sources pack to a fifth or so.
ALWAYS_TAKEN_BYTES = 1 << 30
MAX_RATIO = 100
#: What reading a broken archive raises.
BROKEN = (tarfile.TarError, zlib.error, LZMAError, EOFError, OSError, ValueError, KeyError)
DOWNLOAD_TRIES = 3
DOWNLOAD_PAUSE_SECONDS = float(os.environ.get("BAMBOO_DOWNLOAD_PAUSE_SECONDS", "30"))


class Refused(Exception):
    """An archive that is not unpacked, and why."""


def fetch(source_url: str, name: str, target: Path) -> None:
    """Download `<source_url>/cache/<name>` unless it is there already; a missing one is not asked for twice."""
    if target.exists():
        return
    url = "{}/cache/{}".format(source_url.rstrip("/"), urllib.parse.quote(name))
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise TransformError(EXIT_BAD_ARGUMENT, f"--sourceURL {source_url!r} is not an http(s) address")
    from urllib.error import HTTPError  # here, because it is slow to load and jobs without a sandbox do not need it

    problem = ""
    for attempt in range(DOWNLOAD_TRIES):
        if attempt:
            time.sleep(DOWNLOAD_PAUSE_SECONDS)
        try:
            _download(url, target)
            return
        except HTTPError as error:
            problem = f"HTTP {error.code}" + (": it is gone from the server" if error.code == 404 else "")
            error.close()
            if error.code == 404:
                break
        except OSError as error:
            problem = str(error)
        say(f"cannot download {url}: {problem}")
    say("ERROR: unable to fetch source tarball from web")
    raise TransformError(EXIT_NO_DOWNLOAD, f"no sandbox from {url}: {problem}")


def _download(url: str, target: Path) -> None:
    from urllib.request import urlopen

    partial = target.with_name(target.name + ".part")
    with urlopen(url, timeout=120) as answer, partial.open("wb") as sink:  # noqa: S310 - checked
        shutil.copyfileobj(answer, sink, 1 << 20)
        announced = answer.headers.get("Content-Length")
        if announced is not None and int(announced) != sink.tell():
            raise OSError(f"{sink.tell()} of {announced} bytes arrived")
    partial.replace(target)


def unpack(archive: Path, into: Path, max_members: int = MAX_MEMBERS) -> None:
    """Unpack a tar file into an empty directory, member by member; nothing gets out of it. Raises TransformError.

    All names and sizes are checked before anything is written. Files and directories are taken, and links that stay
    inside.
    """
    try:
        with tarfile.open(str(archive)) as tar:
            members = _members(tar, max_members, max(ALWAYS_TAKEN_BYTES, MAX_RATIO * archive.stat().st_size))
            links = {os.path.normpath(member.name) for member in members if member.issym()}
            faults = [fault for fault in (_fault_of(member, links) for member in members) if fault]
            if faults:
                raise Refused("; ".join(faults[:10]))
            for member in members:
                _unpack_member(tar, member, into)
    except Refused as error:
        raise TransformError(EXIT_BAD_ARCHIVE, f"{archive.name} is refused: {error}") from error
    except BROKEN as error:
        raise TransformError(EXIT_BAD_ARCHIVE, f"{archive.name} cannot be unpacked: {error}") from error


def _members(tar: tarfile.TarFile, max_members: int, max_bytes: int) -> List[tarfile.TarInfo]:
    """All members of an archive, which is read no further than to the limits. Raises Refused.

    A hard link counts with its file, which is written once more for it.
    """
    members: List[tarfile.TarInfo] = []
    sizes: Dict[str, int] = {}
    total = 0
    for member in tar:
        if member.size < 0:
            raise tarfile.ReadError(f"{member.name!r} has a negative size")
        size = sizes.get(os.path.normpath(member.linkname), 0) if member.islnk() else member.size
        sizes[os.path.normpath(member.name)] = size
        members.append(member)
        total += size
        if len(members) > max_members:
            raise Refused(f"it has more than {max_members} members")
        if total > max_bytes:
            raise Refused(f"it unpacks to more than {max_bytes} bytes, the most for an archive of its size")
    return members


def _fault_of(member: tarfile.TarInfo, links: Set[str]) -> Optional[str]:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\0" in member.name:
        return f"{member.name!r} leads out of the work directory"
    below = [str(parent) for parent in path.parents if str(parent) in links]
    if below or (str(path) in links and not member.issym()):
        return f"{member.name!r} goes through a link of the same archive"
    if member.issym() and not stays_inside(path, member.linkname):
        return f"{member.name!r} is a link to {member.linkname!r}, out of the work directory"
    if member.islnk() and (".." in PurePosixPath(member.linkname).parts or os.path.normpath(member.linkname) in links):
        return f"{member.name!r} is a link to {member.linkname!r}, out of the work directory"
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        return f"{member.name!r} is neither a file nor a directory"
    return None


def stays_inside(link: PurePosixPath, target: str) -> bool:
    """Tell whether a symbolic link at `link` (relative to a root) leads to something below the root.

    `..` is only allowed in front: behind the name of another link it would lead elsewhere than it seems to.
    """
    parts = list(PurePosixPath(target).parts)
    ups = 0
    while parts[ups:] and parts[ups] == "..":
        ups += 1
    up_to_root = len(link.parts) - 1
    inside = ups <= up_to_root and (bool(parts[ups:]) or ups < up_to_root)
    return bool(parts) and parts[0] != "/" and "\0" not in target and ".." not in parts[ups:] and inside


def _unpack_member(tar: tarfile.TarFile, member: tarfile.TarInfo, into: Path) -> None:
    target = into / member.name
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        if not target.is_symlink():
            target.symlink_to(member.linkname)
        return
    source = tar.extractfile(member)  # of a hard link: the file it is a second name of
    if source is None:
        raise ValueError(f"{member.name!r} has no content")
    with contextlib.closing(source), target.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
    target.chmod(0o644 | (member.mode & 0o111) | 0o100)  # user code is run from here: files are executable


def pack(folders: Sequence[Path], target: Path) -> None:
    """Write all that is in some folders to one tar (`.tar`) or tar.gz, complete or not at all. Raises OSError.

    `unpack` takes it: links inside a folder stay links, what leads out of it is packed as the file it leads to.
    """
    partial = target.with_name(target.name + ".part")
    with tarfile.open(str(partial), "w" if target.name.endswith(".tar") else "w:gz") as tar:
        for folder in folders:
            for name in names_below(folder):
                _pack_one(tar, folder / name, folder)
    partial.replace(target)


def names_below(folder: Path) -> List[str]:
    """List all files and directories in a folder by their paths relative to it, a directory before its content."""
    found = []
    for place, folders, files in os.walk(str(folder)):
        found += [os.path.relpath(f"{place}/{name}", str(folder)) for name in sorted(folders + files)]
    return found


def _pack_one(tar: tarfile.TarFile, path: Path, folder: Path) -> None:
    """Add a file, a directory or a link; say what cannot be added."""
    name = path.relative_to(folder)
    if path.is_symlink():
        target = os.readlink(str(path))
        if target.startswith("/") and folder.resolve() in path.resolve().parents:
            target = os.path.relpath(str(path.resolve()), str(path.parent.resolve()))
        if stays_inside(PurePosixPath(str(name)), target):
            link = tarfile.TarInfo(str(name))
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
            return
        if not path.is_file():
            say(f"left out: {name} is a link to {target}")
            return
    member = tar.gettarinfo(str(path.resolve() if path.is_symlink() else path), str(name))
    if path.is_file():
        member.type = tarfile.REGTYPE  # a second name of a file gets the content too
        member.size = path.stat().st_size
        with path.open("rb") as content:
            tar.addfile(member, content)
    elif path.is_dir():
        tar.addfile(member)
    else:
        say(f"left out: {name} is neither a file nor a directory")
