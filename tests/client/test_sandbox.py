"""What travels with a task, and that equal files make equal bytes."""

from __future__ import annotations

import os
import tarfile
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bamboo.client.errors import SandboxTooLarge
from bamboo.client.sandbox import SandboxRules, collect, pack, packing
from bamboo.core.errors import Invalid

NAMES = st.text("abcXYZ019_-", min_size=1, max_size=8)
TREES = st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map(tuple), st.binary(max_size=200), max_size=6)


def fill(folder: Path, files: dict[tuple[str, ...], bytes]) -> dict[str, bytes]:
    """Write files; a path whose parent is a file, or that is a folder, is passed over."""
    written = {}
    for parts, content in files.items():
        path = folder.joinpath(*parts)
        if path.exists() or any(parent.is_file() for parent in path.parents):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (1_700_000_000, 1_700_000_000))
        written["/".join(parts)] = content
    return written


@settings(max_examples=40, deadline=None)
@given(TREES)
def test_everything_travels_and_equal_files_make_equal_bytes(files: dict[tuple[str, ...], bytes]) -> None:
    with TemporaryDirectory() as first, TemporaryDirectory() as second, TemporaryDirectory() as third:
        written = fill(Path(first), files)
        fill(Path(second), dict(reversed(files.items())) if len(written) == len(files) else files)
        one = pack(collect(SandboxRules(work_dir=Path(first))), Path(third) / "one")
        two = pack(collect(SandboxRules(work_dir=Path(second))), Path(third) / "two")
        assert one.path.read_bytes() == two.path.read_bytes()
        assert one.path.read_bytes()[4:8] == bytes(4)  # the date in gzip's header
        assert one.n_files == len(written)
        with tarfile.open(one.path) as archive:
            packed = {m.name: stream.read() for m in archive if m.isfile() and (stream := archive.extractfile(m))}
            assert {(m.uid, m.gid, m.uname) for m in archive} <= {(0, 0, "")}
        assert packed == written
        unpacked = zlib.decompress(one.path.read_bytes(), 31)
        assert (one.size_bytes, one.checksum) == (one.path.stat().st_size, zlib.crc32(unpacked))


def names(rules: SandboxRules) -> list[str]:
    return list(collect(rules).names)


def test_what_stays_behind(tmp_path: Path) -> None:
    for name in ("run.sh", "lib.so", "x.o", "tree.root", "tree.root.3", ".hidden", ".9", "notes.root.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("c")
    (tmp_path / "big").write_bytes(b"x" * ((1 << 20) + 1))
    (tmp_path / "dead").symlink_to("nowhere")
    (tmp_path / "linked").symlink_to("run.sh")
    (tmp_path / "empty").mkdir()
    (tmp_path / "elsewhere").symlink_to("empty")
    os.mkfifo(tmp_path / "pipe")
    chosen = collect(SandboxRules(work_dir=tmp_path))
    assert list(chosen.names) == [".9", "empty", "linked", "notes.root.txt", "run.sh"]
    assert [left.name for left in chosen.left_out] == ["big", "lib.so", "pipe", "tree.root", "tree.root.3", "x.o"]
    assert "1.0 MB, over the limit" in chosen.left_out[0].why
    assert "big" in names(SandboxRules(work_dir=tmp_path, always=("big",)))
    assert "lib.so" in names(SandboxRules(work_dir=tmp_path, always=("*.so",)))
    assert names(SandboxRules(work_dir=tmp_path, never=("*",))) == []


def test_outputs_of_the_user_root_are_no_root_files(tmp_path: Path) -> None:
    """In a container users are often called root: `.root.10000000.` in the middle of a name says nothing."""
    theirs = ["steps.root.2d.py", "user.root.10000000._000001.hello.txt"]
    for name in (*theirs, "tree.root", "user.root.10000000._000001.tree.root.1.2"):
        (tmp_path / name).write_text(name)
    assert names(SandboxRules(work_dir=tmp_path)) == theirs
    assert names(SandboxRules(work_dir=tmp_path, with_products=True)) == theirs


def test_patterns_match_names_and_paths(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.txt").write_text("c")
    (tmp_path / "c.txt").write_text("c")
    assert names(SandboxRules(work_dir=tmp_path, never=("a/b",))) == ["a", "c.txt"]
    assert names(SandboxRules(work_dir=tmp_path, never=("c.txt",))) == ["a", "a/b"]
    assert names(SandboxRules(work_dir=tmp_path, never=("a/*/c.txt",))) == ["a", "a/b", "c.txt"]


def test_inputs_do_not_travel_twice(tmp_path: Path) -> None:
    for name in ("run.sh", "in.csv", "both.csv"):
        (tmp_path / name).write_text(name)
    inputs = frozenset({(tmp_path / "in.csv").resolve(), (tmp_path / "both.csv").resolve()})
    assert names(SandboxRules(work_dir=tmp_path, inputs=inputs, always=("both.csv",))) == ["both.csv", "run.sh"]


def test_folders_tagged_as_caches_do_not_travel(tmp_path: Path) -> None:
    """Such as the state folder of a system that runs where the user works."""
    fill(tmp_path, {("mine.py",): b"x", ("bamboo-state", "CACHEDIR.TAG"): b"", ("bamboo-state", "bamboo.db"): b"y"})
    assert collect(SandboxRules(work_dir=tmp_path)).names == ("mine.py",)


def test_modes_are_kept_and_links_become_files(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "run.sh").write_text("#!/bin/sh\n")
    (work / "run.sh").chmod(0o755)
    (work / "link").symlink_to("run.sh")
    os.link(work / "run.sh", work / "same")
    with packing(collect(SandboxRules(work_dir=work))) as archive, tarfile.open(archive.path) as packed:
        assert [(m.name, m.isreg(), m.mode) for m in packed] == [
            ("link", True, 0o755),
            ("run.sh", True, 0o755),
            ("same", True, 0o755),
        ]
    assert not archive.path.exists()


def test_an_empty_directory_makes_a_valid_archive(tmp_path: Path) -> None:
    with packing(collect(SandboxRules(work_dir=tmp_path))) as archive, tarfile.open(archive.path) as packed:
        assert packed.getmembers() == []
        assert archive.n_files == 0


def test_a_sandbox_that_the_server_would_refuse_is_refused_here(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"noise{number}").write_bytes(os.urandom(1 << 20))
    with pytest.raises(SandboxTooLarge, match="noise"), packing(collect(SandboxRules(work_dir=tmp_path))):
        pass


def test_a_work_directory_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="not a directory"):
        collect(SandboxRules(work_dir=tmp_path / "nowhere"))
