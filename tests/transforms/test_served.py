"""The transforms as a real server hands them out: complete, equal to what is tested, and fit for old machines."""

from __future__ import annotations

import ast
import subprocess
import sys
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from patience import PATIENCE_SECONDS, eventually

from bamboo.server.job_wire import TRANSFORMS
from bamboo.server.transforms import one_file

SERVER = Path(__file__).parents[1] / "server" / "serving.py"


def get(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:  # noqa: S310 - our own http:// address
            return bytes(answer.read())
    except OSError:
        return b""


def test_the_server_has_them_all(sqlite_url: str, tmp_path: Path) -> None:
    command = [sys.executable, str(SERVER), sqlite_url, str(tmp_path / "cache")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            eventually(lambda: get(f"{address}/readyz"), "the server")
            for name, file in TRANSFORMS.items():
                assert get(f"{address}/trf/user/{name}") == one_file(file)
        finally:
            server.kill()
    assert set(TRANSFORMS) == {"runGen-00-00-02", "buildGen-00-00-01", "runMerge-00-00-02", "runcontainer"}


@pytest.mark.parametrize("file", TRANSFORMS.values())
def test_one_file_is_enough(file: str, tmp_path: Path) -> None:
    """No relative import is left, no name is taken twice, and it runs where only the standard library is."""
    text = one_file(file).decode()
    assert text.startswith("#!/usr/bin/env python3\n")
    body = ast.parse(text).body
    assert not [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom) and node.level]
    names = Counter(node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef))
    for node in body:
        if isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    assert [name for name, n in names.items() if n > 1] == []
    (tmp_path / "alone").write_text(text)
    done = subprocess.run([sys.executable, "-I", "-S", "alone", "-h"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, "usage: " in done.stdout) == (0, True), done.stderr


def test_old_interpreters_are_enough(tmp_path: Path) -> None:
    for file in TRANSFORMS.values():
        (tmp_path / file).write_bytes(one_file(file))
    vermin = Path(sys.executable).with_name("vermin")
    done = subprocess.run(
        [vermin, "--no-tips", "-t=3.6-", "--violations", *tmp_path.iterdir()], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
