"""docs/api.md has every route, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from flask import Flask

import bamboo


def test_the_page_has_every_route(app: Flask) -> None:
    page = (Path(str(bamboo.__file__)).parent / "docs" / "api.md").read_text()
    documented = set(re.findall(r"^\| `((?:GET|POST) /[^`]*)` \|", page, re.MULTILINE))
    served = {
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) & {"GET", "POST"}
    }
    assert documented == served
