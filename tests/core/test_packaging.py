"""Every room is shipped: a folder that setup.py does not list would be missing from an installation."""

from __future__ import annotations

import ast
from pathlib import Path

import bamboo

ROOT = Path(bamboo.__file__).parent
NOT_SHIPPED = {"tests", "benchmarks", "docs", "build"}


def test_setup_lists_all_packages() -> None:
    source = ast.parse((ROOT / "setup.py").read_text())
    (rooms,) = [
        ast.literal_eval(node.value)
        for node in source.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ROOMS"
    ]
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in ROOT.rglob("__init__.py")
        if not NOT_SHIPPED.intersection(parts := path.relative_to(ROOT).parts) and not parts[0].startswith(".")
    }
    assert sorted(rooms) == sorted(found - {""})
