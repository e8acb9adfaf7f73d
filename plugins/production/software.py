"""Whether a queue has the software of a task: releases, caches, nightlies and containers (manual ch. 12.1.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ANY, AUTO, CVMFS = "any", "auto", "/cvmfs"
STANDARD, NIGHTLIES = "atlas", "nightlies"
#: A nightly is named by the moment when it was built, such as 2021-05-12T2101, or by its weekday.
_NIGHTLY = re.compile(r"\d{4}-\d{2}-\d{2}T\d{4}|rel_\d$")


@dataclass(frozen=True)
class Release:
    """The software that a task was made for: project `Athena` in version `21.0.38`."""

    project: str
    version: str

    @classmethod
    def parse(cls, trans_home: str, trans_uses: str) -> Release | None:
        """Read PanDA's parameters `transHome` (`AthDerivation-21.2.2.0`) or, if empty, `transUses`; None: no release.

        Only what has a version after the first `-` names a release.
        """
        for text in (trans_home, trans_uses):
            project, dash, version = text.partition("-")
            if dash and version and (version[0].isdigit() or _NIGHTLY.search(version)):
                return cls(project, version)
        return None

    @property
    def cvmfs_tag(self) -> str:
        return NIGHTLIES if _NIGHTLY.search(self.version) else STANDARD

    def __str__(self) -> str:
        return f"{self.project}-{self.version}"


def words(listed: Any) -> tuple[str, ...]:
    """A queue's list, which may be given as text with commas between."""
    if listed is None:
        return ()
    items = listed.split(",") if isinstance(listed, str) else listed
    return tuple(str(item).strip() for item in items if str(item).strip())


def has_release(document: Mapping[str, Any], release: Release, platform: str) -> bool:
    """Whether a queue with releases=AUTO has a release for a software platform, by what it publishes."""
    containers, cvmfs = words(document.get("containers")), words(document.get("cvmfs"))
    if {ANY, release.cvmfs_tag} & set(cvmfs) and (
        {ANY, CVMFS} & set(containers) or platform in words(document.get("cmtconfigs"))
    ):
        return True
    tags = document.get("tags") or ()
    return ANY in containers and any(
        (tag.get("cmtconfig"), tag.get("project"), tag.get("release")) == (platform, release.project, release.version)
        for tag in tags
    )


def has_container(document: Mapping[str, Any], container: str, only_tags: bool, everywhere: Mapping[str, Any]) -> bool:
    """Whether a queue can run a container, by what it publishes; `everywhere` is that of `EVERYWHERE`."""
    tags = document.get("tags") or ()
    if only_tags:
        return any(container == tag.get("container_name") or container in (tag.get("sources") or ()) for tag in tags)
    places = words(document.get("containers"))
    if {ANY, CVMFS} & set(places):
        return True
    names = [container, *_sources(container, everywhere)]
    return any(name.startswith(place) for name in names for place in places)


def _sources(container: str, everywhere: Mapping[str, Any]) -> Sequence[str]:
    """The paths of images that a container's name stands for."""
    tags = everywhere.get("tags") or ()
    return [str(path) for tag in tags if tag.get("container_name") == container for path in tag.get("sources") or ()]
