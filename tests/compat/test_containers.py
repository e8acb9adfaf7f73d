"""Container tasks of both clients, run by our pilots: with a stand-in for apptainer, and in a real one where one is."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from corners import CLIENTS, USERS
from scenarios import Scenario, Site

IMAGE = "docker://alpine:3"
SCENARIO = Scenario(
    "container",
    (
        *("--exec", "sh work.sh %IN > n.txt", "--inDS", "user.alice.numbers", "--nFilesPerJob", "5"),
        *("--outputs", "n.txt", "--containerImage", IMAGE),
    ),
    {"_n.txt": ["number1.txt,number2.txt,number3.txt,number4.txt,number5.txt 15\n"]},
    {"work.sh": "echo $1 $(cat $(echo $1 | tr , ' ') | wc -l)\n"},
)
#: Notes what it is asked for, and runs the command in no image at all.
STAND_IN = '#!/bin/sh\necho "$@" >> {}\nwhile [ "$1" != /bin/sh ]; do shift; done\nexec "$@"\n'


def run(site: Site, client: str, folder: Path) -> None:
    user = USERS[client](site, folder / client)
    SCENARIO.lay_out(user.folder, site.storage)
    out_ds = f"user.alice.container.{client}"
    task = user.submit(*SCENARIO.options, "--outDS", out_ds)
    assert site.end_of(task) == "done"
    site.check(SCENARIO, task, out_ds, client)


def test_the_payload_and_nothing_else_is_run_in_the_image(
    start_site: Callable[..., Site],
    sqlite_module_url: str,
    tmp_path: Path,
) -> None:
    asked = tmp_path / "asked"
    program = tmp_path / "bin" / "apptainer"
    program.parent.mkdir()
    program.write_text(STAND_IN.format(asked))
    program.chmod(0o755)
    site = start_site(sqlite_module_url, "--pilots", "1", PATH=f"{program.parent}:{os.environ['PATH']}")
    for client in CLIENTS:
        run(site, client, tmp_path)
    words = asked.read_text().split()
    assert words[0] == "exec"
    assert IMAGE in words
    assert asked.read_text().count("/bin/sh __run_main_exec.sh") == len(CLIENTS)
    assert asked.read_text().count("exec --pwd") == len(CLIENTS)


def test_with_a_real_runtime(start_site: Callable[..., Site], sqlite_module_url: str, tmp_path: Path) -> None:
    if not any(has_image(name) for name in ("podman", "docker")):
        pytest.skip("no podman or docker here that has the image alpine:3: pull it to run this")
    site = start_site(sqlite_module_url, "--pilots", "1")
    for client in CLIENTS:
        run(site, client, tmp_path)


def has_image(runtime: str) -> bool:
    return (
        bool(shutil.which(runtime))
        and not subprocess.run([runtime, "image", "inspect", "alpine:3"], capture_output=True, timeout=20).returncode
    )
