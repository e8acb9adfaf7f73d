"""Statements that the driver runs itself: they take, give and fail as those that SQLAlchemy runs."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from bamboo.core.states import JobState
from bamboo.sql.engine import looking, single
from bamboo.sql.ready import Ready
from bamboo.sql.tables import sandboxes, settings
from bamboo.sql.types import Json, UtcDateTime

MOMENT = datetime(2026, 5, 1, 12, 30, tzinfo=UTC)


def parameters() -> list[sa.BindParameter[object]]:
    return [
        sa.bindparam("moment", type_=UtcDateTime),
        sa.bindparam("document", type_=Json),
        sa.bindparam("state", type_=sa.String),
        sa.bindparam("number", type_=sa.BigInteger),
    ]


def test_values_go_there_and_back(engine: sa.Engine) -> None:
    """Moments with their zone, JSON, states and nothing; a value of the statement's own; a name with a percent sign."""
    statement = sa.select(
        *(one.label(f"the_{one.key}") for one in parameters()), sa.literal(JobState.SENT).label("own")
    )
    ready = Ready(statement.where(sa.literal("50 %", sa.String) != sa.bindparam("state", type_=sa.String)))
    given = {"moment": MOMENT, "document": {"a": [1, "x%s"]}, "state": JobState.RUNNING, "number": 2**40}
    with looking(engine) as tx:
        for _ in range(7):  # the driver prepares what it has run some times
            row = ready.first(tx, given)
            assert (row.the_moment, row.the_document, row.the_state, row.the_number, row.own) == (
                *given.values(),
                "sent",
            )
        row = ready.first(tx, {**dict.fromkeys(given), "state": "x"})
        assert (row.the_moment, row.the_document, row.the_number) == (None, None, None)
        assert ready.all(tx, {**given, "state": "50 %"}) == []


def test_it_belongs_to_the_transaction_that_it_is_run_in(engine: sa.Engine) -> None:
    entered = Ready(
        sa.insert(settings)
        .values(app="a", component="c", key=sa.bindparam("key"), vo="v", value="1", type="int", modified_at=MOMENT)
        .returning(settings.c.key)
    )
    seen = Ready(sa.select(settings.c.key).where(settings.c.key == sa.bindparam("key")))
    with pytest.raises(LookupError), engine.begin() as tx:
        assert entered.first(tx, {"key": "undone"}).key == "undone"
        raise LookupError
    with single(engine) as tx:
        assert entered.first(tx, {"key": "done"}).key == "done"
    with looking(engine) as tx:
        assert [bool(seen.all(tx, {"key": key})) for key in ("undone", "done")] == [False, True]


def test_errors_are_the_ones_that_callers_know(engine: sa.Engine) -> None:
    twice = Ready(
        sa.insert(sandboxes)
        .values(name=sa.bindparam("name"), user_name="u", size_bytes=1, checksum="c", created_at=MOMENT)
        .returning(sandboxes.c.name)
    )
    with pytest.raises(sa.exc.IntegrityError), engine.begin() as tx:
        twice.first(tx, {"name": None})
    with looking(engine) as tx:
        assert tx.scalar(sa.select(sa.func.count()).select_from(sandboxes)) == 0


def test_a_lost_connection_is_replaced(postgres_url: str, open_database: object) -> None:
    """The database ends it from its side, as it does when it restarts."""
    engine = open_database(postgres_url)  # type: ignore[operator]
    alive = Ready(sa.select(sa.func.pg_backend_pid().label("pid")))
    with looking(engine) as tx:
        first = alive.first(tx, {}).pid
        with engine.connect() as other:
            other.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": first})
        with pytest.raises(sa.exc.DBAPIError) as caught:
            alive.first(tx, {})
        assert caught.value.connection_invalidated
    with looking(engine) as tx:
        assert alive.first(tx, {}).pid != first


def test_whoever_watches_statements_sees_these_too(engine: sa.Engine) -> None:
    seen: list[str] = []
    with looking(engine) as tx:
        sa.event.listen(tx, "before_cursor_execute", lambda c, cursor, statement, *rest: seen.append(statement))
        Ready(sa.select(settings.c.key).prefix_with("/* a mark */")).all(tx, {})
    assert ["/* a mark */" in statement for statement in seen] == [True]
