"""The copy tool that comes as a plugin: built into the pilot, found there, and honest about what its programs do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bamboo.core.checksums import adler32
from bamboo.pilot.build import build
from bamboo.pilot.copytools import Guard, Stamp
from bamboo.plugins.generic.copytools import BuiltInCopyTools
from bamboo.plugins.pilot_copytools import gfal

#: Stand-ins for the grid's programs: `davs://storage/x` is the file x in a folder.
COPY = """#!/usr/bin/env python3
import pathlib, shutil, sys
places = [url.replace("file://", "").replace("davs://storage", {folder!r}) for url in sys.argv[-2:]]
source, target = map(pathlib.Path, places)
if not source.exists():
    sys.exit("no such file: " + str(source))
target.parent.mkdir(parents=True, exist_ok=True)
shutil.copyfile(source, target)
if "bad" in target.name:
    target.write_text("damaged")
"""
SUM = """#!/usr/bin/env python3
import pathlib, sys, zlib
path = pathlib.Path(sys.argv[1].replace("davs://storage", {folder!r}))
print(sys.argv[1], "%x" % zlib.adler32(path.read_bytes()))
"""


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder, programs = tmp_path / "storage", tmp_path / "bin"
    programs.mkdir()
    for name, text in (("gfal-copy", COPY), ("gfal-sum", SUM)):
        (programs / name).write_text(text.format(folder=str(folder)))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    return folder


def guard() -> Guard:
    return Guard(check=lambda: None, confirm=lambda: None, mark="1.1")


def stamp(path: Path) -> Stamp:
    return Stamp(path.stat().st_size, adler32(path))


def test_a_file_goes_there_and_comes_back(storage: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "out.txt", tmp_path / "in.txt"
    source.write_text("results")
    gfal.store(source, "davs://storage/a/out.txt", stamp(source), guard())
    assert (storage / "a" / "out.txt").read_text() == "results"
    gfal.fetch("davs://storage/a/out.txt", target, guard())
    assert target.read_text() == "results"


def test_damage_and_absence_are_errors(storage: Path, tmp_path: Path) -> None:
    source = tmp_path / "out.txt"
    source.write_text("results")
    with pytest.raises(OSError, match="after the copy instead of"):
        gfal.store(source, "davs://storage/bad.txt", stamp(source), guard())
    with pytest.raises(OSError, match="gfal-copy failed with 1: no such file"):
        gfal.fetch("davs://storage/none.txt", tmp_path / "x", guard())


def test_the_plugin_puts_it_into_the_pilot(tmp_path: Path) -> None:
    archive = build(tmp_path / "pilot.pyz", BuiltInCopyTools().pilot_copytools())
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from bamboo.pilot.copytools import choose; print(choose(['gfal', 'mv'], 'davs://storage/x').__name__)"
    )
    found = subprocess.run(
        [sys.executable, "-S", "-c", program, str(archive)], capture_output=True, text=True, cwd=tmp_path
    )
    assert found.stdout.strip() == "bamboo.pilot.copytools.gfal", found.stderr
