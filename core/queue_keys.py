"""Keys of PanDA's queue documents: which there are, of what kind each is, and what is wrong with a given value.

The keys are those of CRIC's schedconfig JSON (manual ch. 17; panda-pilot.md 4.1). Keys that are not listed are kept as
they are, for information systems add some every year; one that looks like a slip of the pen is told as a warning.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from .errors import Fault

LARGEST = 2**31 - 1
#: Letters of the name of a queue, a site or a storage, as the tables have room for.
LONGEST_NAME = 128
STATUSES = ("online", "test", "brokeroff", "paused", "offline")
#: How near a word has to be to a known one to be taken for a slip (0 to 1, difflib's ratio).
NEAR_KEY = 0.85
NEAR_WORD = 0.6


@dataclass(frozen=True)
class Kind:
    """What values of a key have to be: `says` completes the sentence "… is no"."""

    says: str
    holds: Callable[[Any], bool]
    do: str


def is_count(value: Any) -> bool:
    """Whether a value is a whole number from 0 to `LARGEST`."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST


def _is_measure(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _is_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_lists(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_words(one) for one in value.values())


def _is_hardware(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(part, dict) and all(isinstance(one, str | list | None) for one in part.values()) for part in value
    )


def _word(longest: int) -> Kind:
    def _holds(value: Any) -> bool:
        return isinstance(value, str) and len(value) <= longest

    return Kind(f"word of up to {longest} letters", _holds, "give a shorter word")


COUNT = Kind("number of zero or more", is_count, f"give a whole number up to {LARGEST}")
MEASURE = Kind("number of zero or more", _is_measure, "give a number")
TEXT = Kind("text", lambda value: isinstance(value, str), "give a text")
FLAG = Kind("truth value", lambda value: isinstance(value, bool), "give true or false")
OBJECT = Kind("object", lambda value: isinstance(value, dict), 'such as {"rucio": {"setup": ""}}')
LIST = Kind("list", lambda value: isinstance(value, list), "give a list")
WORDS = Kind("text or list of texts", lambda value: isinstance(value, str) or _is_words(value), 'such as ["AUTO"]')
LISTS = Kind("object of lists of names", _is_lists, 'such as {"pw": ["DISK"]}')
HARDWARE = Kind("list of kinds of hardware", _is_hardware, 'such as [{"type": "cpu", "arch": ["x86_64"]}]')
ANY = Kind("", lambda value: True, "")
NAME = _word(LONGEST_NAME)
SHORT = _word(20)


def _each(kind: Kind, names: str) -> dict[str, Kind]:
    return dict.fromkeys(names.split(), kind)


#: All keys that are known, with units where the kind is a number: maxrss, minrss, meanrss, maxwdir and maxinputsize are
#: MB, maxtime and mintime seconds, timefloor minutes, maxdiskio kB/s for each core, coreenergy W, corepower HS06.
KINDS: Mapping[str, Kind] = {
    **_each(COUNT, "numSlots corecount maxrss minrss meanrss maxwdir maxinputsize maxtime mintime timefloor"),
    **_each(COUNT, "maxdiskio maxDiskIO transferringlimit nqueue nodes tier_level zip_time_gap queuehours"),
    **_each(MEASURE, "corepower coreenergy"),
    **_each(NAME, "nickname name panda_resource siteid panda_site atlas_site site gstat rc_site storage"),
    **_each(_word(64), "vo vo_name cloud"),
    **_each(SHORT, "status state type"),
    **_each(TEXT, "resource_type fairsharepolicy catchall wnconnectivity container_type container_options environ"),
    **_each(TEXT, "appdir jobseed gshare country countrygroup region capability workflow pilot_manager comment"),
    **_each(FLAG, "is_cvmfs allow_lan allow_wan direct_access_lan direct_access_wan is_default is_virtual use_pcache"),
    **_each(OBJECT, "copytools params uconfig aprotocols"),
    **_each(LISTS, "astorages acopytools"),
    **_each(WORDS, "releases architecture"),
    **_each(LIST, "queues hc_suite"),
    **_each(HARDWARE, "architectures"),  # read by the production broker
    **_each(ANY, "id tier rc rc_country rc_site_state site_state state_comment state_update special_par parent probe"),
    **_each(
        ANY, "availablecpu pledgedcpu depthboost cachedse description gocname harvester harvester_template hc_param"
    ),
    **_each(ANY, "last_modified localqueue pilot_version python_version validatedreleases memory jdl system queue"),
    **_each(ANY, "corepower_data coreenergy_data maxdiskio_data allowedgroups jobs origins"),
}


def key_faults(document: Mapping[str, Any], where: str = "") -> list[Fault]:
    """What is wrong with the values of known keys; `where` goes before the key's name."""
    faults = []
    for key, value in document.items():
        kind = KINDS.get(key, ANY)
        if not kind.holds(value):
            faults.append(Fault(where + key, f"{shown(value)} is no {kind.says}", kind.do))
    status = document.get("status", "online")
    if isinstance(status, str) and status not in STATUSES and SHORT.holds(status):
        faults.append(Fault(f"{where}status", f"{status!r} is no queue status", _guess(status)))
    return faults


def _guess(status: str) -> str:
    near = get_close_matches(status.lower(), STATUSES, n=1, cutoff=NEAR_WORD)
    return (f"did you mean {near[0]!r}? " if near else "") + f"one of {', '.join(STATUSES)}"


#: What stands between the words of `catchall`.
_BETWEEN_WORDS = re.compile(r"[,;\s]+")


@lru_cache(maxsize=4096)  # a grid has a thousand queues with a few texts
def catchall_words(text: str) -> Mapping[str, str]:
    """The words of a queue's `catchall` with what they are set to: {"nSimEvents": "1000", "unifiedPandaQueue": ""}."""
    pairs = (word.partition("=") for word in _BETWEEN_WORDS.split(text) if word)
    return {word: value for word, _, value in pairs}


def slips(document: Mapping[str, Any]) -> dict[str, str]:
    """Keys that are not known and look like a known one: {key: the known one}."""
    return {key: near for key in document if key not in KINDS and (near := _nearest(key))}


@lru_cache(maxsize=4096)  # a grid has a thousand queues with the same keys
def _nearest(key: str) -> str:
    """The known key that a word is near to, or nothing."""
    return next(iter(get_close_matches(key, KINDS, n=1, cutoff=NEAR_KEY)), "")


def name_fault(name: str, where: str, what: str = "queue") -> Fault | None:
    """What keeps a name from being a queue's."""
    if 0 < len(name) <= LONGEST_NAME and all(letter.isalnum() or letter in "-_." for letter in name):
        return None
    return Fault(where, f"{shown(name)} is no {what} name", "use letters, digits, '-', '_' and '.'")


def shown(value: Any) -> str:
    """A value as it is told in a fault, cut if it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
