"""What the server says about a job: the job dictionary of the wire, checked and typed.

Rules (pilot protocol, job definition): `NULL` and empty mean unset, numbers may be text, lists are
comma-separated and parallel by position, unknown keys are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import Code, PilotError

#: The user's secrets as the job gets them, and what a transform makes of them for a later step.
SECRET_FILES = ("panda_secrets.json", "__run_main_env.sh")
RESERVED_NAMES = (*SECRET_FILES, "__run_main_exec.sh", "jobReport.json", "workDir", ".failed_step")


def text(value: Any) -> str:
    """Give the value as text, with `NULL`, null and blanks as the empty text."""
    words = "" if value is None else str(value).strip()
    return "" if words.upper() == "NULL" else words


def number(value: Any) -> int:
    """Give the value as a whole number, 0 when unset or not a number."""
    try:
        return int(float(text(value) or 0))
    except (ValueError, OverflowError):
        return 0


def pieces(value: Any) -> list[str]:
    """Split a comma list of the wire; unset entries become empty text."""
    whole = text(value)
    return [text(piece) for piece in whole.split(",")] if whole else []


@dataclass(frozen=True)
class InputFile:
    """A file that must be in the job directory before the payload starts."""

    lfn: str
    scope: str
    guid: str
    size_bytes: int | None
    checksum: str  #: `ad:<8 hex>`, `md:<32 hex>` or empty
    endpoint: str  #: storage it is read from, used when there is no url
    url: str


@dataclass(frozen=True)
class OutputFile:
    """A file that the payload (or, for the log, the pilot) makes and that goes to a storage."""

    lfn: str
    scope: str
    endpoint: str
    guid: str = ""
    may_be_missing: bool = False


@dataclass(frozen=True)
class Step:
    """A program that runs before or after the payload."""

    command: str
    arguments: str


@dataclass(frozen=True)
class JobSpec:
    """One job as the server handed it out; nothing in it changes while the job runs."""

    pandaid: int
    task_id: int
    attempt_nr: int
    transformation: str
    parameters: str
    inputs: tuple[InputFile, ...]
    outputs: tuple[OutputFile, ...]
    log: OutputFile | None
    core_count: int
    ram_count_mb: int
    disk_count_mb: int
    wall_time_seconds: int
    looping_check: bool
    secrets: str  #: JSON text
    preprocess: Step | None
    postprocess: Step | None
    container_image: str
    event_service: bool  #: the payload runs once for each event range that the server hands out
    container_exec: str  #: what runs in the image in place of the transformation
    lease_seconds: float
    heartbeat_seconds: float
    token: str = field(repr=False)  #: opens the server for reports on this attempt; empty: the pilot's own has to do
    raw: Mapping[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, wire: Mapping[str, Any]) -> JobSpec:
        """Read the job dictionary; raises PilotError when it contradicts itself."""
        container = _object(wire, "containerOptions")
        return cls(
            pandaid=number(wire.get("PandaID")),
            task_id=number(wire.get("taskID")),
            attempt_nr=number(wire.get("attemptNr")),
            transformation=text(wire.get("transformation")),
            parameters="" if wire.get("jobPars") is None else str(wire["jobPars"]),
            inputs=_inputs(wire),
            outputs=_outputs(wire),
            log=_log(wire),
            core_count=number(wire.get("coreCount")) or 1,
            ram_count_mb=number(wire.get("minRamCount")),
            disk_count_mb=number(wire.get("maxDiskCount")),
            wall_time_seconds=number(wire.get("maxWalltime")),
            looping_check=text(wire.get("loopingCheck")).lower() != "false",
            secrets=_json_text(wire.get("secrets")),
            preprocess=_step(wire, "preprocess"),
            postprocess=_step(wire, "postprocess"),
            container_image=text(container.get("containerImage")) or text(wire.get("container_name")),
            event_service=text(wire.get("eventService")).lower() == "true",
            container_exec=text(container.get("containerExec")),
            lease_seconds=float(number(wire.get("leaseSeconds"))),
            heartbeat_seconds=float(number(wire.get("heartbeatSeconds"))),
            token=text(wire.get("attemptToken")),
            raw=wire,
        )

    def problems(self) -> list[str]:
        """List all reasons why this pilot cannot run the job; empty when it can."""
        found = []
        if not self.transformation:
            found.append("it has no transformation")
        if text(self.raw.get("coprocess")):
            found.append("it wants coprocess, which this pilot does not offer")
        return found


def _object(wire: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Give an object of the job definition, which may come as JSON text; empty when unset."""
    value = wire.get(key)
    if not isinstance(value, Mapping):
        try:
            value = json.loads(text(value) or "{}")
        except ValueError:
            value = None
    if not isinstance(value, Mapping):
        raise PilotError(Code.NOT_IMPLEMENTED, f"job definition: {key} is not a JSON object")
    return value


def _json_text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, Mapping) else text(value)


def _step(wire: Mapping[str, Any], key: str) -> Step | None:
    step = _object(wire, key)
    if not step:
        return None
    if not text(step.get("command")):
        raise PilotError(Code.NOT_IMPLEMENTED, f"job definition: {key} has no command")
    return Step(text(step.get("command")), str(step.get("args") or ""))


def _column(wire: Mapping[str, Any], key: str, length: int, parallel_to: str) -> list[str]:
    """Give one parallel list; an unset one is all empty, another length is an error."""
    column = pieces(wire.get(key))
    if not column:
        return [""] * length
    if len(column) != length:
        raise PilotError(
            Code.LISTS_DIFFER_IN_LENGTH,
            f"job definition: {key} has {len(column)} entries, {parallel_to} has {length}",
        )
    return column


def _file_name(lfn: str) -> str:
    if "/" in lfn or lfn in (".", ".."):
        raise PilotError(Code.BAD_FILE_NAME, f"job definition: {lfn!r} is not a plain file name")
    return lfn


def _input_name(lfn: str) -> str:
    """Refuse names that the pilot itself writes: an input is a link, and writing would go through it."""
    if lfn.startswith(("payload.stdout", "payload.stderr")) or lfn in RESERVED_NAMES:
        raise PilotError(Code.BAD_FILE_NAME, f"job definition: no input may be called {lfn}, the pilot needs the name")
    return _file_name(lfn)


def _inputs(wire: Mapping[str, Any]) -> tuple[InputFile, ...]:
    names = pieces(wire.get("inFiles"))
    columns = {
        key: _column(wire, key, len(names), "inFiles")
        for key in ("scopeIn", "GUID", "fsize", "checksum", "ddmEndPointIn", "inURLs")
    }
    files: dict[str, InputFile] = {}
    for at, lfn in enumerate(names):
        if lfn and lfn not in files:
            files[lfn] = InputFile(
                lfn=_input_name(lfn),
                scope=columns["scopeIn"][at],
                guid=columns["GUID"][at],
                size_bytes=number(columns["fsize"][at]) if columns["fsize"][at] else None,
                checksum=columns["checksum"][at],
                endpoint=columns["ddmEndPointIn"][at],
                url=columns["inURLs"][at],
            )
    return tuple(files.values())


def _outputs(wire: Mapping[str, Any]) -> tuple[OutputFile, ...]:
    names = pieces(wire.get("outFiles"))
    log = text(wire.get("logFile"))
    own = [lfn for lfn in names if lfn != log]
    endpoints = _column(wire, "ddmEndPointOut", len(names), "outFiles")
    # `scopeOut` counts only the outputs; all other lists count the log too.
    scopes = pieces(wire.get("scopeOut"))
    if len(scopes) == len(names) and len(own) < len(names):
        scopes = [scope for lfn, scope in zip(names, scopes) if lfn != log]
    elif scopes and len(scopes) != len(own):
        raise PilotError(
            Code.LISTS_DIFFER_IN_LENGTH,
            f"job definition: scopeOut has {len(scopes)} entries, outFiles without the log has {len(own)}",
        )
    scope_of = dict(zip(own, scopes))
    optional = set(pieces(wire.get("allowNoOutput")))
    files: dict[str, OutputFile] = {}
    for lfn, endpoint in zip(names, endpoints):
        if lfn and lfn != log and lfn not in files:
            files[lfn] = OutputFile(_file_name(lfn), scope_of.get(lfn, ""), endpoint, "", lfn in optional)
    return tuple(files.values())


def _log(wire: Mapping[str, Any]) -> OutputFile | None:
    lfn = text(wire.get("logFile"))
    if not lfn:
        return None
    names = pieces(wire.get("outFiles"))
    endpoints = pieces(wire.get("ddmEndPointOut"))
    endpoint = endpoints[names.index(lfn)] if lfn in names and len(endpoints) == len(names) else ""
    return OutputFile(_file_name(lfn), text(wire.get("scopeLog")), endpoint, text(wire.get("logGUID")))
