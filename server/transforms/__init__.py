"""The programs that pilots start on worker nodes; docs/transforms.md says what each does.

They need Python 3.6 and its standard library only. Each is served as one file: what several of them use is written
once, in modules they import relatively, and `one_file` puts the text of such a module in the place of its import.
"""

import ast
from functools import cache
from pathlib import Path
from typing import Set

_FOLDER = Path(__file__).parent


@cache
def one_file(name: str) -> bytes:
    """Give a transform by the name of its module's file, complete, as pilots download it."""
    return _with_imports(_FOLDER / name, set()).encode()


def _with_imports(path: Path, known: Set[Path]) -> str:
    """Give the text of a module, each relative import replaced by the text of the module it names, once."""
    known.add(path)
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    for statement in ast.parse(text).body:
        if not isinstance(statement, ast.ImportFrom) or not statement.level:
            continue
        folder = path.parents[statement.level - 1]
        module = folder.joinpath(*str(statement.module).split(".")).with_suffix(".py")
        first, last = statement.lineno - 1, statement.end_lineno or statement.lineno
        lines[first:last] = [""] * (last - first)  # the numbers of the lines that follow stay
        if module not in known:
            lines[first] = _with_imports(module, known)
    return "".join(lines)
