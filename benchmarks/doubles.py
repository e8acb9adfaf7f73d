"""What may be there once only, counted when a benchmark or a test is over."""

from __future__ import annotations

import sqlalchemy as sa

from bamboo.sql import books
from bamboo.sql.engine import reading


def doubles(engine: sa.Engine) -> dict[str, int]:
    """How many things are there more often than once, by what they are; nothing of which there is none."""
    with reading(engine) as tx:
        return books.doubles(tx)
