"""HTML that stands alone: no scripts, nothing from elsewhere, everything escaped, readable on dark and light."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .evidence import value_text
from .text import bytes_text, count_text, duration_text, printable


@cache
def environment() -> Environment:
    """Where templates are rendered: whatever is put into them is escaped."""
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"shown": shown, "bytes_text": bytes_text, "duration_text": duration_text}
    made.filters |= {"value_text": value_text}
    made.globals |= {"count_text": count_text}
    return made


def render(template: str, **data: Any) -> str:
    """A template with its data as HTML."""
    return environment().get_template(template).render(**data)


def shown(value: object) -> str:
    """A value as people read it: times in UTC to the second, nothing for nothing, no marks that reorder text."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    return printable(value, lines=True)
