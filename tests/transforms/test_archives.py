"""Whatever is in an archive, nothing is written outside of the folder it is unpacked to."""

from __future__ import annotations

import errno
import io
import os
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bamboo.server.transforms.archives import names_below, pack, unpack
from bamboo.server.transforms.toolbox import TransformError
from bamboo.tests.transforms.job_directory import JobDirectory

KINDS = [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
PATHS = st.lists(st.sampled_from(["a", "b", "c", "..", ".", ""]), min_size=1, max_size=5).map("/".join)


def member(kind: bytes, name: str, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    made.size = 4 if kind == tarfile.REGTYPE else 0
    return made


def tar_of(path: Path, *parts: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for part in parts:
            tar.addfile(part, io.BytesIO(b"evil"))
    return path


def is_loop(path: Path) -> bool:
    """Whether links lead round in a circle, and so nowhere: `realpath` then makes something up."""
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


MEMBERS = st.builds(member, st.sampled_from(KINDS), PATHS, PATHS)


@settings(deadline=None, max_examples=200)
@given(st.lists(MEMBERS, max_size=6))
def test_nothing_gets_out(parts: list[tarfile.TarInfo]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        home, root = Path(scratch), Path(scratch, "x", "y", "root")
        root.mkdir(parents=True)
        (home / "a").write_text("mine")
        archive = tar_of(home / "t.tgz", *parts)
        try:
            unpack(archive, root)
        except TransformError as error:
            assert error.exit_code == 143
        assert (home / "a").read_text() == "mine"
        assert {str(path.relative_to(home)) for path in home.rglob("*") if root not in path.parents} == {
            *("a", "t.tgz", "x", "x/y", "x/y/root")
        }
        for path in root.rglob("*"):
            assert path.is_symlink() or path.is_file() or path.is_dir()
            if is_loop(path):
                continue
            real = Path(os.path.realpath(path))
            assert root.resolve() in (real, *real.parents), f"{path} leads to {real}"


@pytest.mark.parametrize(
    "parts",
    [
        [member(tarfile.REGTYPE, "/tmp/evil")],
        [member(tarfile.REGTYPE, "../evil")],
        [member(tarfile.REGTYPE, "a/../../evil")],
        [member(tarfile.SYMTYPE, "evil", "/etc/passwd")],
        [member(tarfile.SYMTYPE, "evil", "..")],
        [member(tarfile.SYMTYPE, "evil", ".")],
        [member(tarfile.SYMTYPE, "a", "b"), member(tarfile.REGTYPE, "a/evil")],
        [member(tarfile.REGTYPE, "a/evil"), member(tarfile.SYMTYPE, "a", "b")],
        [member(tarfile.SYMTYPE, "a", "b"), member(tarfile.REGTYPE, "./a")],
        [member(tarfile.SYMTYPE, "d/e/b", "../.."), member(tarfile.SYMTYPE, "a", "d/e/b/../evil")],
        [member(tarfile.SYMTYPE, "a", "b"), member(tarfile.LNKTYPE, "evil", "a")],
        [member(tarfile.LNKTYPE, "evil", "../../evil")],
        [member(tarfile.FIFOTYPE, "evil")],
        [member(tarfile.CHRTYPE, "evil")],
    ],
    ids=lambda parts: " ".join(f"{part.name}>{part.linkname}" for part in parts),
)
def test_a_hostile_archive_writes_nothing(parts: list[tarfile.TarInfo], tmp_path: Path) -> None:
    job_dir = JobDirectory(tmp_path)
    tar_of(tmp_path / "s.tgz", member(tarfile.DIRTYPE, "good"), *parts)
    code, said = job_dir.run("runGen-00-00-02", '-p "ls;touch%20ran" -l s.tgz')
    assert (code, "s.tgz is refused" in said) == (143, True), said
    assert {path.name for path in tmp_path.rglob("*")} == {"s.tgz", "workDir", "runGen-00-00-02"}


@pytest.mark.parametrize("content", [b"", b"not a tar", b"\x1f\x8b\x08\x00garbage"])
def test_a_broken_archive_is_said_so(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "s.tgz").write_bytes(content)
    with pytest.raises(TransformError, match=r"s\.tgz cannot be unpacked"):
        unpack(tmp_path / "s.tgz", tmp_path)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.sampled_from(["file", "folder", "link"]), PATHS, PATHS), max_size=8))
def test_what_is_packed_can_be_unpacked(things: list[tuple[str, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch, "source"), Path(scratch, "target")
        source.mkdir()
        target.mkdir()
        for kind, name, other in things:
            path = source / name.replace("..", "d").strip("/")
            try:
                if kind == "folder":
                    path.mkdir(parents=True)
                elif kind == "link":
                    path.symlink_to(other or ".")
                else:
                    path.write_text(name)
            except OSError:
                continue
        pack([source], Path(scratch, "t.tgz"))
        unpack(Path(scratch, "t.tgz"), target)
        files = {name for name in names_below(source) if not (source / name).is_symlink()}
        assert files <= set(names_below(target))
