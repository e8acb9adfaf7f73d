"""A signal ends a program in the foreground, wherever it comes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from patience import PATIENCE_SECONDS

PROGRAM = """
import os, signal, time
from bamboo.admin.interrupt import interruptible

class Doomed:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})
        for _ in range(1000):  # the interpreter handles signals between two steps
            pass

with interruptible():
    print("working", flush=True)
    {moment}
    time.sleep(60)
    print("not stopped")
"""
MOMENTS = {"at work": "os.kill(os.getpid(), signal.{name})", "in a destructor": "Doomed()"}


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130)])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_ends_the_work_and_nothing_is_said_of_it(moment: str, name: str, status: int) -> None:
    program = PROGRAM.replace("{moment}", MOMENTS[moment]).replace("{name}", name)
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (status, "working\n", "")
