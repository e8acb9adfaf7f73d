"""docs/why.md says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import bamboo
import bamboo.daemon.chores.archive
import bamboo.server.why.queue
from bamboo.core.tunables import known
from bamboo.plugins.what_if import parse

PAGE = (Path(str(bamboo.__file__)).parent / "docs" / "why.md").read_text()


def test_the_numbers_are_those_of_the_settings() -> None:
    rows = re.findall(r"^\| `(\w+)` `(\w+)` `(\w+)` \| (\S+) \|", PAGE, re.M)
    told = {(app, component, key): float(default) for app, component, key, default in rows}
    declared = {
        (one.app, one.component, one.key): one.default for one in known() if one.component in ("decisions", "why")
    }
    assert told == declared


def test_what_may_be_changed_can_be_parsed() -> None:
    table = PAGE[PAGE.index("| `--if` |") : PAGE.index("A key without a noun")]
    cells = [line.split("|")[1] for line in table.splitlines()[2:] if line.startswith("|")]
    texts = [text for cell in cells for text in re.findall(r"`([^`]+)`", cell)]
    nouns = {edit.noun for edit in parse(one for one in texts if "NQUEUED" not in one)}
    assert nouns == {"task", "queue", "jobs", "link", "storage"}
