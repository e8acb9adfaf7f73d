"""Runs migrations on the connection that `sql.migrate` hands over."""

from __future__ import annotations

from alembic import context

from bamboo.sql.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("run migrations with `bamboo db upgrade`, which knows the database")

context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
