"""The demo's payload: counts lines and identifiers of text files, and merges such counts.

identifiers.py count <output.json> <file,file,…>
identifiers.py merge <output.json> <counts.json,counts.json,…>
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

IDENTIFIER = re.compile(r"[^\W\d]\w{3,}")
KEPT = 20


def count(paths: Sequence[Path]) -> dict[str, Any]:
    """Lines and the most common identifiers of each file: {name: {"lines": n, "identifiers": {word: n}}}."""
    counted = {}
    for path in paths:
        text = path.read_text(encoding="utf-8", errors="replace")
        words = Counter(IDENTIFIER.findall(text))
        counted[path.name] = {"lines": text.count("\n"), "identifiers": dict(words.most_common(KEPT))}
    return counted


def merge(paths: Sequence[Path]) -> dict[str, Any]:
    """All files of all counts in one; a file that was counted twice is an error."""
    merged: dict[str, Any] = {}
    for path in paths:
        part = json.loads(path.read_text())
        twice = merged.keys() & part.keys()
        if twice:
            sys.exit(f"counted twice: {', '.join(sorted(twice))}")
        merged.update(part)
    return merged


def main() -> None:
    verb, output, names = sys.argv[1:]
    paths = [Path(name) for name in names.split(",")]
    Path(output).write_text(json.dumps({"count": count, "merge": merge}[verb](paths)))


if __name__ == "__main__":
    main()
