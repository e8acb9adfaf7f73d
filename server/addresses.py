"""What may stand in the variable parts of addresses: what a database can hold; anything else is no address (404)."""

from __future__ import annotations

from typing import Any

from flask import Flask
from werkzeug.routing import IntegerConverter, Map, PathConverter, UnicodeConverter

from .bodies import clean

LARGEST = 2**63 - 1


class _Number(IntegerConverter):
    def __init__(self, map: Map) -> None:
        super().__init__(map, max=LARGEST)


class _Word(UnicodeConverter):
    def to_python(self, value: str) -> Any:
        return clean(value)


class _Path(PathConverter):
    def to_python(self, value: str) -> Any:
        return clean(value)


def install(app: Flask) -> None:
    """Check the parts of all addresses that are added to an application from now on."""
    app.url_map.converters.update(default=_Word, int=_Number, path=_Path)
