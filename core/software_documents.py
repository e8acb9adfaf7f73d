"""The document of the software at queues: what `releases=AUTO` goes by (manual ch. 12.1.1)."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from .document_checks import kind_faults, objects
from .errors import Fault
from .queue_keys import HARDWARE, NEAR_KEY, TEXT, WORDS, Kind, name_fault

#: What it is called among the kinds of documents, and in faults.
NAME = "software"
#: The queue whose part says for all of them where the images of containers are kept.
EVERYWHERE = "ALL"
#: Keys of a queue's part. Others are kept as they are.
KINDS: Mapping[str, Kind] = {"cmtconfigs": WORDS, "containers": WORDS, "cvmfs": WORDS, "architectures": HARDWARE}
TAGS = "tags"
TAG_KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(("cmtconfig", "project", "release", "tag", "container_name"), TEXT),
    "sources": WORDS,
}


def read_software(document: Any, faults: list[Fault], warnings: list[str]) -> dict[str, dict[str, Any]]:
    """{queue: {"cmtconfigs": […], "containers": […], "cvmfs": […], "architectures": […], "tags": [{…}]}}.

    That of `EVERYWHERE` is about every queue. A value of null counts as not given.
    """
    found: dict[str, dict[str, Any]] = {}
    for queue, inside in objects(document, NAME, faults).items():
        where = f"{NAME} {queue}"
        fault = name_fault(queue, where)
        faults += [fault] if fault else []
        given = {key: value for key, value in inside.items() if value is not None}
        for key, value in given.items():
            faults += kind_faults(f"{where}.{key}", value, KINDS[key]) if key in KINDS else []
            if key not in (*KINDS, TAGS) and (near := get_close_matches(key, (*KINDS, TAGS), n=1, cutoff=NEAR_KEY)):
                warnings.append(f"{where}: {key!r} is no known key: did you mean {near[0]!r}?")
        faults += _tag_faults(f"{where}.{TAGS}", given.get(TAGS))
        found[queue] = given
    return found


def _tag_faults(where: str, tags: Any) -> list[Fault]:
    if tags is None:
        return []
    if not isinstance(tags, list) or not all(isinstance(tag, dict) for tag in tags):
        return [Fault(where, f"{tags!r:.80} is no list of objects", 'such as [{"project": "Athena", "release": "1"}]')]
    return [
        fault
        for number, tag in enumerate(tags)
        for key, kind in TAG_KINDS.items()
        for fault in kind_faults(f"{where}[{number}].{key}", tag.get(key), kind)
    ]
