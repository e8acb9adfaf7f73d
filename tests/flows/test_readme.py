"""The README does what it shows: every `$ command` in it runs, in its order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from patience import PATIENCE_SECONDS
from systems import RunningSystem

import bamboo
from bamboo.admin.tokens import local_name

ROOT = Path(bamboo.__file__).parent
README = (ROOT / "README.md").read_text()
BLOCKS = [
    [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
]
FIRST, INSTALL, FIVE_MINUTES = BLOCKS


def test_its_first_screen_has_the_two_commands() -> None:
    assert FIRST == ["make demo", "make test"]
    assert README.index("$ make test") < 2600


def test_make_demo(tmp_path: Path) -> None:
    """With this interpreter's environment as `.venv`, where everything is installed already."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    (venv / "bin" / "bamboo").symlink_to(Path(sys.executable).parent / "bamboo")
    (venv / ".installed").touch()
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    for name in ("a", "b", "c"):
        (inputs / f"{name}.txt").write_text("some words of a text\n" * 5)
    command = f"{FIRST[0]} VENV={venv} IN={inputs} STATE={tmp_path / 'demo'}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "done: 3 files with 15 lines, each accounted for once" in done.stdout


def test_make_test_is_what_ci_runs() -> None:
    assert FIRST[1] in (ROOT / ".ci" / "run").read_text()
    planned = subprocess.run(
        ["make", "--dry-run", "--always-make", "test"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert re.search(r"bin/pytest\b", planned.stdout)


@pytest.mark.slow
def test_five_minutes_with_it(start_system: Callable[..., RunningSystem], tmp_path: Path) -> None:
    assert INSTALL == ["pip install .", "bamboo up"]
    system = start_system()
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("BAMBOO_", "PANDA_"))}
    environ = {**clean, "PATH": programs, "USER": local_name()}
    (tmp_path / "bamboo-state").symlink_to(system.folder / "state")
    script = "\n".join(["set -e", *FIVE_MINUTES])  # one shell: what `eval` sets is for those that follow
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path, env=environ, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    (task,) = system.client.tasks(user="*")
    assert task.info.name == f"user.{local_name()}.hello/"
    hellos = sorted(path.read_text() for path in (tmp_path / "outputs").iterdir())
    assert len(hellos) == 3
    assert all(text.startswith("hello from ") for text in hellos)
