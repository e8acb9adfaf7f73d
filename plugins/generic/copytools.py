"""Further copy tools for the pilot, beyond those it has in itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..hookspecs import hookimpl


class BuiltInCopyTools:
    """Adds `gfal`, for storages that only grid tools can reach, to pilots that are built with `bamboo pilot build`."""

    @hookimpl
    def pilot_copytools(self) -> Sequence[Path]:
        return [Path(__file__).parent.parent / "pilot_copytools" / "gfal.py"]
