"""Files of scenarios: lists of entries in YAML whose every word is known, with all faults of a file told at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bamboo.core.errors import Fault, Invalid
from bamboo.core.tunables import Numbers, known
from bamboo.core.validation import guess

#: What may stand where: the place, what was written there, and the words that are known.
Words = tuple[str, Any, Iterable[str]]


@dataclass(frozen=True)
class Entry:
    """A scenario as it was read."""

    name: str
    file: str
    data: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.file.rpartition('.')[0]}: {self.name}"

    @property
    def expect(self) -> Mapping[str, Any]:
        expected: Mapping[str, Any] = self.data["expect"]
        return expected


def read_entries(path: Path, faults_of: Callable[[Any, str], list[Fault]]) -> list[Entry]:
    """The scenarios of a file; raises `Invalid` with every fault in it."""
    return _entries(yaml.safe_load(path.read_text()) or [], path, faults_of)


def on_page(path: Path, faults_of: Callable[[Any, str], list[Fault]]) -> list[Entry]:
    """The scenarios that a page of the documentation shows; raises `Invalid` likewise."""
    shown = re.findall(r"```yaml\n(.+?)```", path.read_text(), re.DOTALL)
    return _entries([data for text in shown for data in yaml.safe_load(text)], path, faults_of)


def _entries(documents: list[Any], path: Path, faults_of: Callable[[Any, str], list[Fault]]) -> list[Entry]:
    faults = [fault for number, data in enumerate(documents) for fault in faults_of(data, f"{path.name}[{number}]")]
    if faults:
        raise Invalid(f"the scenarios of {path.name} cannot be read", faults)
    return [Entry(data["scenario"], path.name, data) for data in documents]


def is_scenario(data: Any) -> bool:
    return isinstance(data, dict) and bool(data.get("scenario")) and isinstance(data.get("expect"), dict)


def unknown_words(where: str, tables: Iterable[Words]) -> list[Fault]:
    """Every word that is not known at its place, with the one that may have been meant."""
    return [
        Fault(f"{where} {place}".rstrip(), f"{word!r} is not known here", guess(str(word), tuple(known_words)))
        for place, part, known_words in tables
        for word in part or {}
        if word not in known_words
    ]


def setting_keys(*components: str) -> list[str]:
    """The settings of components by their keys; a key that ends in `_` is a family of settings."""
    return [one.key for one in known() if one.component in components]


def unknown_settings(where: str, given: Any, *components: str) -> list[Fault]:
    """Settings that are not known; a family is asked with a name behind it, such as an activity."""
    keys = setting_keys(*components)
    families = tuple(key for key in keys if key.endswith("_"))
    named = {key: key if key in keys or key.startswith(families) else None for key in given or ()}
    return unknown_words(where, [("settings", [key for key, found in named.items() if not found], keys)])


def numbers(given: Mapping[str, Any], *components: str) -> Numbers:
    """The values that a scenario gives to settings, by key."""
    by_key = {one.key: one for one in known() if one.component in components}
    values = Numbers()
    for key, value in given.items():
        family = next((one for one in by_key if one.endswith("_") and key.startswith(one)), "")
        one, suffix = (by_key[key], "") if key in by_key else (by_key[family], key.removeprefix(family))
        values = values.having(one, value, suffix)
    return values
