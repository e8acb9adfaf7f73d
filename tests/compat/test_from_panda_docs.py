"""docs/from_panda.md does what it shows: its commands run, in their order, but for what needs a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from panda import NEWEST_CLIENT, OLDER_CLIENTS, PILOT, ROOT, lay_out_pilot, program_folder
from patience import PATIENCE_SECONDS, eventually
from scenarios import Site

TEXT = (ROOT / "docs" / "from_panda.md").read_text()
CLIENT, PILOT_BLOCK = [
    [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
]
MAKEFILE = (ROOT / "Makefile").read_text()


def test_it_installs_what_make_installs() -> None:
    assert CLIENT[0] == "pip install panda-client"
    assert PILOT_BLOCK[0] == f"pip download --no-deps --no-binary panda-pilot panda-pilot=={PILOT}"
    assert "--no-deps --no-binary panda-pilot" in MAKEFILE
    assert f"PANDA_PILOT := {PILOT}" in MAKEFILE
    assert f"PANDA_CLIENTS := {' '.join((NEWEST_CLIENT, *reversed(OLDER_CLIENTS)))}" in MAKEFILE
    assert all(version in TEXT for version in (PILOT, NEWEST_CLIENT, *OLDER_CLIENTS))


@pytest.mark.slow
def test_an_afternoon_with_it(start_site: Callable[..., Site], sqlite_module_url: str, tmp_path: Path) -> None:
    """PanDA's client submits, PanDA's pilot runs."""
    site = start_site(sqlite_module_url, "--pilots", "0")
    client = program_folder(f"panda-client-{NEWEST_CLIENT}")
    environ = {
        "PATH": f"{client / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PANDA_SYS": str(client),  # as `pip install panda-client` beside bamboo would have it
        "PANDA_PYTHON_EXEC": str(client / "bin" / "python"),
        "HOME": str(tmp_path),
        **dict.fromkeys(("USER", "LOGNAME"), "alice"),
        "BAMBOO_STATE": str(site.system.folder / "state"),
        "BAMBOO_URL": site.system.url,
        "NO_COLOR": "1",
    }

    def run(commands: list[str]) -> str:
        script = "set -e\n" + "\n".join(commands)
        done = subprocess.run(
            ["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path, env=environ, timeout=PATIENCE_SECONDS
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    told = run([*CLIENT[1:4], CLIENT[3].replace("hello --nJobs 3", "one --noBuild"), *CLIENT[4:]])
    assert told.count("jediTaskID=") == 2
    assert told.count("user.alice.hello") >= 2, told
    lay_out_pilot(tmp_path / f"panda-pilot-{PILOT}")
    eventually(lambda: any(task.status == "running" for task in site.client.tasks()), "jobs that wait")
    run(PILOT_BLOCK[2:])
    run(PILOT_BLOCK[2:])  # one pilot, one job: the build job of the first task, and the job of the other
    eventually(lambda: any(task.status == "done" for task in site.client.tasks()), "a task to be done")
    assert site.contents("user.alice.one_x.txt") == ["hello\n"]
