"""A job directory for each way of quoting, and a server that keeps sandboxes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bamboo.tests.pilot.conftest import run_pilot, server, start_pilot
from bamboo.tests.transforms.job_directory import QUOTINGS, JobDirectory

__all__ = ["run_pilot", "server", "start_pilot"]


@pytest.fixture(params=list(QUOTINGS))
def job_dir(request: pytest.FixtureRequest, tmp_path: Path) -> JobDirectory:
    return JobDirectory(tmp_path / "job", QUOTINGS[request.param])


FAKE_APPTAINER = """#!/usr/bin/env python3
# Notes its arguments, and runs the command where apptainer would: in the directory bound to --pwd.
import json, os, sys
words = sys.argv[1:]
binds = [words[at + 1].split(":") for at, word in enumerate(words) if word == "--bind"]
inside = words[words.index("--pwd") + 1]
with open(os.environ["RECORD"], "w") as record:
    json.dump(words, record)
os.chdir({bind[1]: bind[0] for bind in binds}[inside])
os.execv("/bin/sh", words[words.index("/bin/sh"):])
"""


@pytest.fixture
def fake_apptainer(tmp_path: Path) -> dict[str, str]:
    """The environment in which `apptainer` is a program that notes its arguments as JSON in the file RECORD."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "apptainer").write_text(FAKE_APPTAINER)
    (programs / "apptainer").chmod(0o755)
    return {"PATH": f"{programs}:{os.environ['PATH']}", "RECORD": str(tmp_path / "record.json")}


@pytest.fixture
def no_runtime(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine on which there is Python and a shell, and nothing that runs containers."""
    programs = tmp_path / "few_programs"
    programs.mkdir()
    for name, target in {
        "python3": os.path.realpath("/proc/self/exe"),
        "bash": "/bin/bash",
        "env": "/usr/bin/env",
    }.items():
        (programs / name).symlink_to(target)
    return {"PATH": str(programs)}
