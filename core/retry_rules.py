"""Rules of the job retry module (manual ch. 20): what one is, and how it is read from files, tables and commands."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from .bounded_match import slow_message
from .errors import Fault, Invalid
from .nearby import guess

#: Who can be at fault for a failed job: the words of the columns of jobs, and `trans`, the payload's exit code.
SOURCES = ("pilot", "exe", "sup", "ddm", "brokerage", "job_dispatcher", "task_buffer", "trans")
#: Other words for them: those of the manual (20.2) and, without `ErrorCode`, those of PanDA's table.
_ALIASES = {
    "payload": "exe",
    "transformation": "trans",
    "transexitcode": "trans",
    "supervisor": "sup",
    "datamanagement": "ddm",
    "dispatcher": "job_dispatcher",
    "jobdispatcher": "job_dispatcher",
    "taskbuffer": "task_buffer",
}


#: The largest numbers that make sense: beyond them a rule would raise what jobs ask for without end, or never let go of
#: an input. The manual (ch. 20) has no figures. Attempts and seconds (a year) are the most that a task may ask for; no
#: machine has as much memory for a core (256 GB).
MOST_ATTEMPTS = 50
MOST_SECONDS = 365 * 24 * 3600
MOST_MB_PER_CORE = 256 * 1024
MOST_FACTOR = 10
MOST_FREE_ATTEMPTS = 100
MOST_DIVISOR = 1000


@dataclass(frozen=True)
class Parameter:
    """A number that an action takes, with its bounds, which are allowed."""

    kind: type[int] | type[float]
    least: float
    most: float
    unit: str = ""

    def __str__(self) -> str:
        word = "number" if self.kind is float else "whole number"
        return f"{word} from {self.least:g} to {self.most:.15g}" + (f" {self.unit}" if self.unit else "")


@dataclass(frozen=True)
class Action:
    """What a rule can do (manual 20.1), and the parameters that it takes, by name."""

    name: str
    help: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    needed: tuple[str, ...] = ()


ACTIONS = {
    action.name: action
    for action in (
        Action("no_retry", "Do not try the inputs again."),
        Action(
            "limit_retry",
            "Try the inputs no more than `maxAttempt` times in all.",
            {"maxAttempt": Parameter(int, 1, MOST_ATTEMPTS)},
            needed=("maxAttempt",),
        ),
        Action(
            "free_attempt",
            "Try the inputs again without counting the attempt, up to `most` times for each input.",
            {"most": Parameter(int, 1, MOST_FREE_ATTEMPTS)},
        ),
        Action(
            "increase_memory",
            "Ask for `factor` times the memory in the next attempts, up to `max` MB for each core.",
            {"factor": Parameter(float, 1, MOST_FACTOR), "max": Parameter(int, 1, MOST_MB_PER_CORE, "MB per core")},
        ),
        Action(
            "increase_cputime",
            "Ask for `factor` times the wall time in the next attempts, up to `max` seconds.",
            {"factor": Parameter(float, 1, MOST_FACTOR), "max": Parameter(int, 1, MOST_SECONDS, "s")},
        ),
        Action(
            "reduce_input",
            "Give the next jobs the `divisor`th part of the input files of the failed one.",
            {"divisor": Parameter(int, 2, MOST_DIVISOR)},
        ),
    )
}
#: Other words for them: those of the manual and of PanDA's table.
_ACTION_ALIASES = {"increase_cpu_time": "increase_cputime", "reduce_input_per_job": "reduce_input"}

#: The keys of a rule in a file; all but the first three may be left out.
KEYS = (
    "name",
    "action",
    "source",
    "code",
    "message",
    "parameters",
    "active",
    "architecture",
    "release",
    "work_queue",
    "description",
)
_LENGTHS = {"name": 64, "message": 500, "architecture": 255, "release": 64, "work_queue": 64, "description": 512}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
#: How long a pattern may take over one message when it is entered; what is let in later is in `retry` settings.
ENTRY_SECONDS = 0.1
#: The version of the form of rule files.
FILE_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule: for errors of `source` with `code` (any if None) and `message` in their text (any if None).

    The scope (`architecture`, `release`, `work_queue`) may have wildcards; None is any. A rule that is not `active` is
    passive: that it would have fired is written down, and nothing follows.
    """

    name: str
    action: str
    source: str
    code: int | None = None
    message: re.Pattern[str] | None = None
    parameters: Mapping[str, int | float] = field(default_factory=dict)
    active: bool = True
    architecture: str | None = None
    release: str | None = None
    work_queue: str | None = None
    description: str = ""
    origin: str = field(default="", compare=False)

    def covers(self, *, architecture: str | None, release: str | None, work_queues: Sequence[str]) -> bool:
        """Whether a task is in the scope of the rule. A work queue goes by its number and by its name."""
        given = ((self.architecture, [architecture]), (self.release, [release]), (self.work_queue, work_queues))
        return all(wanted is None or any(fnmatchcase(word or "", wanted) for word in words) for wanted, words in given)

    def as_row(self) -> dict[str, Any]:
        """The rule as it is shown and written: the keys of a file, and where it comes from."""
        row = {key: getattr(self, key) for key in KEYS}
        message = self.message.pattern if self.message else None
        return {**row, "message": message, "parameters": dict(self.parameters), "origin": self.origin}


def parse_rule(raw: Mapping[str, Any], where: str = "the rule", *, origin: str = "", probe: bool = False) -> Rule:
    """A rule from its keys; raises `Invalid` with all faults. With `probe`, patterns that are slow are refused too."""
    faults: list[Fault] = []
    rule = _read(raw, where, origin, faults, probe)
    if faults or rule is None:
        raise Invalid("a retry rule cannot be used", faults)
    return rule


def read_rules(path: Path, *, probe: bool = False) -> list[Rule]:
    """The rules of a file (its form: docs/retry_rules.md); raises `Invalid` with the faults of all of them.

    With `probe`, patterns that are slow are refused too.
    """
    what = f"the retry rules of {path} cannot be used"
    try:
        document = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Invalid(what, [Fault(str(path), str(error), "correct the file")]) from error
    faults = [
        Fault(str(path), f"unknown key {key!r}", guess(key, ("version", "rule")))
        for key in document
        if key not in ("version", "rule")
    ]
    if document.get("version") != FILE_VERSION:
        faults.append(Fault(f"{path} version", f"{document.get('version')!r} is no form known here", "version = 1"))
    entries = document.get("rule", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        faults.append(Fault(f"{path} rule", "is no list of tables", "begin each rule with [[rule]]"))
        entries = []
    rules = [
        _read(raw, f"{path} rule {number} ({raw.get('name', 'no name')})", str(path), faults, probe)
        for number, raw in enumerate(entries, 1)
    ]
    names = [raw.get("name") for raw in entries]
    faults += [
        Fault(f"{path} rule {number}", f"{name!r} is there before", "choose another name")
        for number, name in enumerate(names, 1)
        if name is not None and name in names[: number - 1]
    ]
    if faults:
        raise Invalid(what, faults)
    return [rule for rule in rules if rule is not None]


def overlaid(below: Iterable[Rule], above: Iterable[Rule]) -> list[Rule]:
    """The rules in force, by name: of two with one name, that from `above`, which is the database over the file."""
    by_name = {rule.name: rule for rule in (*below, *above)}
    return [by_name[name] for name in sorted(by_name)]


def _read(raw: Mapping[str, Any], where: str, origin: str, faults: list[Fault], probe: bool) -> Rule | None:
    before = len(faults)
    for key in raw:
        if key not in KEYS:
            faults.append(Fault(where, f"unknown key {key!r}", guess(key, KEYS)))
    for key, most in _LENGTHS.items():
        value = raw.get(key)
        if value is not None and not isinstance(value, str):
            faults.append(Fault(f"{where} {key}", f"{value!r} is no text", "put it in quotes"))
        elif value is not None and len(value) > most:
            faults.append(Fault(f"{where} {key}", "is too long", f"at most {most} characters"))
    if len(faults) > before:
        return None
    name, active = raw.get("name", ""), raw.get("active", True)
    if not _NAME.fullmatch(name):
        faults.append(Fault(f"{where} name", f"{name!r} is no name", "letters, digits, dots, dashes, underscores"))
    if not isinstance(active, bool):
        faults.append(Fault(f"{where} active", f"{active!r} is neither true nor false", "leave it out for true"))
    action = _action(raw.get("action"), where, faults)
    source, code = _source(raw.get("source"), where, faults), _code(raw.get("code"), where, faults)
    parameters = _parameters(action, raw.get("parameters") or {}, where, faults)
    message = _message(raw.get("message"), where, faults, probe)
    if len(faults) > before or action is None:
        return None
    scope = {key: raw.get(key) or None for key in ("architecture", "release", "work_queue")}
    return Rule(
        name=name,
        action=action.name,
        source=source,
        code=code,
        message=message,
        parameters=parameters,
        active=active,
        description=raw.get("description") or "",
        origin=origin,
        **scope,
    )


def _action(given: object, where: str, faults: list[Fault]) -> Action | None:
    word = str(given or "").strip().lower().replace(" ", "_")
    action = ACTIONS.get(_ACTION_ALIASES.get(word, word))
    if action is None:
        faults.append(Fault(f"{where} action", f"{given!r} is no action", guess(word, ACTIONS)))
    return action


def _source(given: object, where: str, faults: list[Fault]) -> str:
    word = str(given or "").strip().lower()
    plain = word.removesuffix("errorcode").replace(" ", "").replace("_", "")
    source = next((name for name in SOURCES if plain == name.replace("_", "")), _ALIASES.get(plain, ""))
    if not source:
        faults.append(Fault(f"{where} source", f"{given!r} is no source of errors", guess(word, SOURCES)))
    return source


def _code(given: object, where: str, faults: list[Fault]) -> int | None:
    if given is None or (isinstance(given, int) and not isinstance(given, bool)):
        return given
    faults.append(Fault(f"{where} code", f"{given!r} is no number", "leave it out for any code"))
    return None


def _message(given: str | None, where: str, faults: list[Fault], probe: bool) -> re.Pattern[str] | None:
    if not given:
        return None
    try:
        pattern = re.compile(given, re.DOTALL)
    except (re.error, OverflowError, RecursionError) as error:
        faults.append(Fault(f"{where} message", f"is no regular expression: {error}", "Python's syntax of `re`"))
        return None
    if probe and slow_message(pattern, ENTRY_SECONDS) is not None:
        do = "avoid repetitions of repetitions, such as (a+)+, and many .* in a row"
        faults.append(Fault(f"{where} message", f"takes more than {ENTRY_SECONDS:g} s over one message", do))
    return pattern


def _parameters(action: Action | None, given: object, where: str, faults: list[Fault]) -> dict[str, int | float]:
    if action is None:
        return {}
    if not isinstance(given, Mapping):
        faults.append(Fault(f"{where} parameters", f"{given!r} is no table", "such as { maxAttempt = 2 }"))
        return {}
    for key in action.needed:
        if key not in given:
            faults.append(Fault(f"{where} parameters", f"{action.name} needs {key}", f"such as {{ {key} = 2 }}"))
    read: dict[str, int | float] = {}
    for key, value in given.items():
        if key not in action.parameters:
            do = guess(key, action.parameters) if action.parameters else "it has no parameters"
            faults.append(Fault(f"{where} parameters", f"{action.name} has no {key!r}", do))
            continue
        wanted = action.parameters[key]
        if not _is_number(value, wanted.kind) or not wanted.least <= value <= wanted.most:
            do = f"such as {{ {key} = 2 }}" if key in action.needed else "without it the setting holds"
            faults.append(Fault(f"{where} parameters {key}", f"{value!r} is no {wanted}", do))
        else:
            read[key] = wanted.kind(value)
    return read


def _is_number(value: object, kind: type) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return False
    return kind is float or value == int(value)
