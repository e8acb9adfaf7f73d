"""F24: what users and pilots say is never run by server, agents or daemon, as nothing there can run text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import bamboo

ROOT = Path(str(bamboo.__file__)).parent
#: Where the values of others come to. Transformations run on the worker node, as the payload's user.
ROOMS = ("core", "daemon", "jedi", "plugins", "server", "sql")
ELSEWHERE = ROOT / "server" / "transforms"
RUNNERS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "subprocess.getoutput", "yaml.load"}
#: Modules whose objects run what they like when they are read; old clients read what we write with them.
LOADERS = {"pickle", "marshal", "shelve"}
RUNNERS |= {f"{module}.{verb}" for module in LOADERS for verb in ("load", "loads", "open", "Unpickler")}


def faults(tree: ast.AST) -> Iterator[str]:
    """What in a module runs text, or objects that are read from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in RUNNERS:
                yield f"line {node.lineno}: {name}"
            for keyword in node.keywords:
                if keyword.arg == "shell" and ast.unparse(keyword.value) != "False":
                    yield f"line {node.lineno}: {name} with a shell"
        if isinstance(node, ast.ImportFrom) and node.module in LOADERS:
            yield f"line {node.lineno}: names out of {node.module}, which are not seen when they are called"


def test_nothing_runs_text() -> None:
    modules = [path for room in ROOMS for path in (ROOT / room).rglob("*.py") if ELSEWHERE not in path.parents]
    assert len(modules) > 200
    found = [f"{path.relative_to(ROOT)}: {fault}" for path in modules for fault in faults(ast.parse(path.read_text()))]
    assert found == []


@pytest.mark.parametrize(
    "code",
    ["eval(x)", "pickle.loads(x)", "from pickle import loads", "run(x, shell=True)", "yaml.load(x)", "os.system(x)"],
)
def test_what_would_run_text_is_seen(code: str) -> None:
    assert list(faults(ast.parse(code)))
