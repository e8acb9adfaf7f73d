"""What the configuration names as sources of queues, sites and storages, read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import BambooError
from ..core.fetching import Limits, fetch_json
from ..core.grid_documents import Grid, GridKind, read_grid
from ..core.settings import ConfiguratorSection

#: The setting that names the source of each kind (manual ch. 17; the last two as PanDA calls them).
SETTING_OF: Mapping[GridKind, str] = {
    GridKind.QUEUES: "CRIC_URL_SCHEDCONFIG",
    GridKind.SITES: "CRIC_URL_SITES",
    GridKind.STORAGES: "CRIC_URL_DDMENDPOINTS",
    GridKind.BLACKLIST: "CRIC_URL_DDMBLACKLIST",
    GridKind.CLOSENESS: "CRIC_URL_CM",
    GridKind.SOFTWARE: "CRIC_URL_TAGS",
    GridKind.NETWORK: "NWS_URL",
}


def configured(section: ConfiguratorSection, kinds: Sequence[GridKind] = tuple(GridKind)) -> dict[GridKind, str]:
    """The sources that are configured for some kinds, in their order."""
    named = {kind: getattr(section, SETTING_OF[kind]) for kind in kinds}
    return {kind: source for kind, source in named.items() if source}


def limits_of(section: ConfiguratorSection) -> Limits:
    """How long to wait for a source and how much to take."""
    return Limits(section.connect_seconds, section.total_seconds, section.max_bytes, "[configurator]")


@dataclass
class Found:
    """Documents that are there, and the errors of those that are not: each kind is in one of them."""

    documents: dict[GridKind, Any] = field(default_factory=dict)
    errors: dict[GridKind, BambooError] = field(default_factory=dict)


def fetch_all(sources: Mapping[GridKind, str], limits: Limits) -> Found:
    """Fetch documents; each is checked by itself, so that one that is wrong does not stop the others."""
    found = Found()
    for kind, source in sources.items():
        try:
            document = fetch_json(source, limits)
            read_grid({kind: document})
        except BambooError as error:
            found.errors[kind] = error
        else:
            found.documents[kind] = document
    return found


def read_all(sources: Mapping[GridKind, str], limits: Limits) -> Grid:
    """Fetch and check documents that are to be imported together; raises what is wrong with any."""
    return read_grid({kind: fetch_json(source, limits) for kind, source in sources.items()})
