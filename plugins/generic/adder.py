"""Registers outputs in the built-in catalogue."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from ...sql import catalogue
from ...sql.accounting import MadeFile
from ..hookspecs import hookimpl


class CatalogueAdder:
    """Enters the files in the transaction that finishes their jobs: both are there, or neither is."""

    @hookimpl
    def register_outputs(
        self, tx: sa.Connection, made: Sequence[MadeFile], user_name: str, now: datetime
    ) -> int | None:
        by_dataset: dict[str, list[dict[str, object]]] = defaultdict(list)
        for file in made:
            by_dataset[file.dataset_name].append(_entry(file))
        return catalogue.add_files_of_many(tx, by_dataset, user_name=user_name, now=now)


def _entry(file: MadeFile) -> dict[str, object]:
    return {
        "lfn": file.lfn,
        "scope": file.scope,
        "guid": file.guid or None,
        "url": file.url,
        "size_bytes": file.size_bytes,
        "adler32": file.checksum.removeprefix("ad:"),
        "pandaid": file.pandaid,
    }
