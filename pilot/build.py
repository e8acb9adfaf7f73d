"""Builds `pilot.pyz`, the pilot in one file: `python -m bamboo.pilot.build TARGET [COPYTOOL.py ...]`."""

from __future__ import annotations

import shutil
import sys
import tempfile
import zipapp
from collections.abc import Iterable
from pathlib import Path

PILOT = Path(__file__).resolve().parent
PACKAGE = PILOT.parent
CORE_MODULES = (
    *("__init__.py", "backoff.py", "checksums.py", "containers.py", "event_stream.py"),
    *("flight_records.py", "process.py"),
)
START = "import sys\nfrom bamboo.pilot.main import main\nsys.exit(main(sys.argv[1:]))\n"


def build(target: Path, extra_copytools: Iterable[Path] = ()) -> Path:
    """Write the archive to `target`, complete or not at all; gives `target`.

    `extra_copytools` are Python files; each becomes a copy tool under its file name.
    """
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch, "bamboo")
        (root / "core").mkdir(parents=True)
        shutil.copyfile(PACKAGE / "__init__.py", root / "__init__.py")
        for name in CORE_MODULES:
            shutil.copyfile(PACKAGE / "core" / name, root / "core" / name)
        shutil.copytree(PILOT, root / "pilot", ignore=shutil.ignore_patterns("__pycache__", "*.pyz", "build.py"))
        for tool in extra_copytools:
            shutil.copyfile(tool, root / "pilot" / "copytools" / tool.name)
        Path(scratch, "__main__.py").write_text(START)
        partial = target.with_name(f".{target.name}.part")
        zipapp.create_archive(scratch, partial, interpreter="/usr/bin/env python3", compressed=True)
        partial.replace(target)
    return target


if __name__ == "__main__":
    build(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
