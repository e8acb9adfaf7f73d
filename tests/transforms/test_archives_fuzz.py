"""Archives of every kind of damage: each is unpacked or refused in words, and within limits."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import tempfile
from pathlib import Path

import pytest
from fuzzing import damaged, examples
from hypothesis import given
from hypothesis import strategies as st

from bamboo.client.errors import UnsafeArchive
from bamboo.client.logs import read_archive
from bamboo.server.transforms.archives import ALWAYS_TAKEN_BYTES, MAX_MEMBERS, unpack
from bamboo.server.transforms.toolbox import TransformError


def plain_tar(form: int = tarfile.GNU_FORMAT) -> bytes:
    """An archive with members of all kinds, long names and a header of its own."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=form) as tar:
        for name in ("a", "d/b", "d/" + "long" * 40, "é"):
            member = tarfile.TarInfo(name)
            member.size, member.mode = 5, 0o755
            tar.addfile(member, io.BytesIO(b"hello"))
        others = ((tarfile.SYMTYPE, "s", "a"), (tarfile.LNKTYPE, "h", "a"), (tarfile.DIRTYPE, "e", ""))
        for kind, name, target in others:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            tar.addfile(member)
    return sink.getvalue().rstrip(b"\0") + b"\0" * 1024


PLAIN = [plain_tar(form) for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)]


def packed(content: bytes, how: str) -> bytes:
    return gzip.compress(content) if how == "gz" else lzma.compress(content) if how == "xz" else content


#: Damaged before it was packed, or after.
ARCHIVES = st.one_of(
    st.builds(packed, damaged(PLAIN), st.sampled_from(["tar", "gz"])),
    damaged([packed(content, how) for content in PLAIN for how in ("gz", "xz")]),
)


@examples(150)
@given(content=ARCHIVES)
def test_a_damaged_archive_is_unpacked_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        archive, into = Path(scratch, "s.tgz"), Path(scratch, "into")
        archive.write_bytes(content)
        into.mkdir()
        try:
            unpack(archive, into)
        except TransformError as error:
            assert error.exit_code == 143 and "s.tgz" in str(error)
        assert {path.name for path in Path(scratch).iterdir()} == {"s.tgz", "into"}


@examples(50)
@given(content=ARCHIVES)
def test_a_damaged_log_archive_is_shown_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "log.tgz")
        path.write_bytes(content)
        try:
            with read_archive(path, "log.tgz") as log:
                for member in log.members:
                    log.content(member)
        except UnsafeArchive as error:
            assert "log.tgz" in str(error)


def header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = size, kind, target
    return member.tobuf(tarfile.GNU_FORMAT)


def refusal(content: bytes, folder: Path, max_members: int = MAX_MEMBERS) -> str:
    (folder / "s.tgz").write_bytes(gzip.compress(content, 1))
    (folder / "into").mkdir()
    with pytest.raises(TransformError, match=r"s\.tgz is refused: ") as told:
        unpack(folder / "s.tgz", folder / "into", max_members)
    assert told.value.exit_code == 143
    assert not list((folder / "into").iterdir())
    return str(told.value)


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """The second header is the last that is looked at: what comes behind it need not even be there."""
    content = header("small", 512) + b"x" * 512 + header("large", ALWAYS_TAKEN_BYTES)
    assert f"more than {ALWAYS_TAKEN_BYTES} bytes" in refusal(content, tmp_path)


def test_each_hard_link_counts_as_a_copy(tmp_path: Path) -> None:
    size = 8 << 20
    links = b"".join(header(f"l{n}", 0, tarfile.LNKTYPE, "./f") for n in range(ALWAYS_TAKEN_BYTES // size))
    assert "bytes, the most" in refusal(header("f", size) + bytes(size) + links, tmp_path)


def test_an_archive_of_too_many_members_is_refused(tmp_path: Path) -> None:
    assert "more than 100 members" in refusal(header("f") * 101, tmp_path, 100)


def test_what_packs_well_and_is_small_is_taken(tmp_path: Path) -> None:
    """A million zeros in a thousand bytes are no attack."""
    content = header("zeros", 1 << 20) + bytes(1 << 20) + bytes(1024)
    (tmp_path / "s.tgz").write_bytes(gzip.compress(content))
    unpack(tmp_path / "s.tgz", tmp_path / "into")
    assert (tmp_path / "into" / "zeros").stat().st_size == 1 << 20


def test_a_size_below_zero_is_no_way_back(tmp_path: Path) -> None:
    """Some Pythons read such a member again and again."""
    number = b"\xff" * 12
    raw = bytearray(header("f"))
    raw[124:136] = number
    raw[148:156] = b"        "
    raw[148:156] = b"%06o\0 " % sum(raw)
    (tmp_path / "s.tgz").write_bytes(gzip.compress(bytes(raw) * 3))
    with pytest.raises(TransformError, match=r"s\.tgz cannot be unpacked"):
        unpack(tmp_path / "s.tgz", tmp_path)
