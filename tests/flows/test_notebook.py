"""The example notebook, run as its reader would: in a kernel, against a whole system."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from patience import PATIENCE_SECONDS
from systems import RunningSystem

import bamboo

NOTEBOOK = Path(str(bamboo.__file__)).parent / "docs" / "examples" / "first_task.ipynb"


def test_the_example_runs(start_system: Callable[..., RunningSystem], tmp_path: Path) -> None:
    system = start_system("--pilots", "3")
    executed = tmp_path / "executed.ipynb"
    command = [Path(sys.executable).with_name("jupyter-execute"), "--output", executed, NOTEBOOK]
    environ = {**os.environ, "BAMBOO_URL": system.url, "BAMBOO_USER": "alice", "IPYTHONDIR": str(tmp_path / "ipython")}
    environ |= {"TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    ended = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=2 * PATIENCE_SECONDS)
    assert ended.returncode == 0, ended.stderr
    cells = [cell for cell in json.loads(executed.read_text())["cells"] if cell["cell_type"] == "code"]
    queues, _, followed, outputs, causes, compared, report = (cell["outputs"] for cell in cells)
    assert "LOCAL" in html(queues[-1])
    progress, task = followed
    assert progress["output_type"] == "display_data"  # drawn once, and again in the same place
    for drawn in (html(progress), html(task)):
        assert re.search(r"<progress value=.15. max=.15.", drawn)
        assert "finished (partial: 14 of 15 inputs)" in drawn
    assert printed(outputs[-1]) == "105 lines with words, in 14 files\n"
    assert printed(causes[0]).startswith("100 % of failures read bad.txt, 0 % of successes")
    assert html(causes[1]).count("failed") >= 3
    assert "bad.txt" in html(compared[-1])
    assert printed(report[-1]) == "True\n"


def html(output: dict[str, Any]) -> str:
    return "".join(output["data"]["text/html"])


def printed(output: dict[str, Any]) -> str:
    return "".join(output["text"])


def test_the_example_holds_no_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []
