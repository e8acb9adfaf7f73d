"""Names that users choose for datasets and files: PanDA's rules, checked before anything is sent."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from ..core.errors import Fault

FORBIDDEN = frozenset("%|;><?'\"()$@:=&^#\\[]{}`*")
LONGEST_DATASET_NAME = 132  #: with the trailing slash of a container
MOST_OUTPUTS = 10
#: How PanDA marks secrets that jobs find as files.
FILE_PREFIX = "___file___:"


def default_out_ds(nickname: str) -> str:
    """A name nobody else has, for a user who does not care."""
    return f"user.{nickname}.{secrets.token_hex(4)}"


def in_ds_name(out_ds: str) -> str:
    """The dataset made of the local files that a task is given."""
    return f"{out_ds}.in"


def out_ds_faults(out_ds: str, nickname: str, *, official: bool = False) -> list[Fault]:
    """What is wrong with the name of an output dataset, by the rules of PanDA's client."""
    faults = []
    if official:
        if not re.fullmatch(r"group(\d\d)?\.[^.]+\..+", out_ds):
            what = f"'{out_ds}' is not in the name space of a group"
            faults.append(Fault("outDS", what, "begin it with group.GROUP., or leave --official out"))
    elif not out_ds.startswith(f"user.{nickname}.") or out_ds == f"user.{nickname}.":
        what = f"'{out_ds}' is not in your name space"
        faults.append(Fault("outDS", what, f"begin it with user.{nickname}."))
    if bad := sorted({char for char in out_ds if char in FORBIDDEN or char.isspace()}):
        faults.append(Fault("outDS", f"it contains {' '.join(map(repr, bad))}", "use letters, digits, and . _ - +"))
    if not out_ds.isascii():
        faults.append(Fault("outDS", "it is not plain ASCII", "use letters, digits, and . _ - +"))
    if len(out_ds) + 1 > LONGEST_DATASET_NAME:
        what = f"it has {len(out_ds)} characters"
        faults.append(Fault("outDS", what, f"use at most {LONGEST_DATASET_NAME - 1}"))
    return faults


@dataclass(frozen=True)
class Output:
    """One output of every job: the name the payload gives it, and the dataset and name template it is kept under.

    `lfn_template` holds PanDA's placeholders: $JEDITASKID for the task, ${SN/P} for the serial number of the job.
    """

    local: str
    dataset: str
    lfn_template: str


def name_space(out_ds: str) -> str:
    """The part of a name that says whose it is: `user.alice`."""
    return ".".join(out_ds.split(".")[:2])


def parse_outputs(outputs: Sequence[str], out_ds: str, *, middle: str = "") -> list[Output]:
    """Read `--outputs`: `x.txt`, `LABEL:x.txt`, `*.log` (the job tars what matches) or `regex|pattern`.

    `middle` is a placeholder that comes after the name space in the names of files.
    """
    head = name_space(out_ds) + middle
    parsed, patterns = [], count()
    for given in outputs:
        label, local = split_label(given)
        if local.startswith("regex|"):
            name, template = str(next(patterns)), local
        else:
            name = local.replace("*", "XYZ") + (".tgz" if "*" in local else "")
            template = f"{head}.$JEDITASKID._${{SN/P}}.{name}"
        parsed.append(Output(local, f"{out_ds}_{label or name}/", template))
    return parsed


def split_label(given: str) -> tuple[str, str]:
    """(`LABEL`, name) of one output; a regular expression has no label, its colons are its own."""
    if given.startswith("regex|"):
        return "", given
    label, colon, local = given.partition(":")
    return (label, local) if colon else ("", given)


def output_faults(outputs: Sequence[str], out_ds: str) -> list[Fault]:
    """What is wrong with `--outputs`."""
    faults = []
    if len(outputs) > MOST_OUTPUTS:
        faults.append(Fault("outputs", f"there are {len(outputs)}", f"give at most {MOST_OUTPUTS}"))
    for given in outputs:
        label, local = split_label(given)
        plain = local.replace("\\", "") if local.startswith("regex|") else local
        if not plain or re.search(r"[\s'\"\\/${}]", plain) or not plain.isascii():
            faults.append(
                Fault("outputs", f"'{given}' is no name of a file in the job's directory", "give a plain name")
            )
        if ":" in given and not given.startswith("regex|") and not re.fullmatch(r"[A-Za-z0-9_.-]+", label):
            faults.append(Fault("outputs", f"'{label}' is no label", "use letters, digits, and . _ -"))
    parsed = parse_outputs(outputs, out_ds)
    for repeated in repeats(output.local for output in parsed):
        faults.append(Fault("outputs", f"'{repeated}' is given twice", "give it once"))
    for repeated in repeats(output.dataset for output in parsed):
        faults.append(Fault("outputs", f"two outputs would go to dataset {repeated}", "label one: LABEL:name"))
    for output in parsed:
        if len(output.dataset) > LONGEST_DATASET_NAME:
            what = f"the dataset name {output.dataset} has {len(output.dataset)} characters"
            faults.append(Fault("outputs", what, "shorten --outDS, or label the output: LABEL:name"))
    return faults


def repeats(names: Iterable[str]) -> list[str]:
    """The names that come more than once, in order."""
    seen: set[str] = set()
    found: dict[str, None] = {}
    for name in names:
        if name in seen:
            found[name] = None
        seen.add(name)
    return list(found)


def lfn_fault(lfn: str) -> str:
    """Why `lfn` cannot name a file of a dataset, or nothing. Commas separate names in a pilot's job."""
    if not lfn or lfn in (".", ".."):
        return "an empty name"
    if bad := sorted({char for char in lfn if char in ",'\"\\/$`" or char.isspace() or not char.isprintable()}):
        return f"the name contains {' '.join(map(repr, bad))}"
    return ""
