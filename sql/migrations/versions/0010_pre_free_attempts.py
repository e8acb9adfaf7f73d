"""Failed attempts that are not charged to inputs: how many an input had, and the action of retry rules for them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010_pre_free_attempts"
down_revision = "0009_pre_event_ranges"
branch_labels = None
depends_on = None

ACTION = "free_attempt"
HELP = "Try the inputs again without counting the attempt, up to `most` times for each input."


def upgrade() -> None:
    op.add_column("files", sa.Column("free_attempts", sa.Integer(), server_default="0", nullable=False))
    actions = sa.table("retry_actions", sa.column("name"), sa.column("description"))
    op.execute(sa.insert(actions).values(name=ACTION, description=HELP))


def downgrade() -> None:
    errors = sa.table("retry_errors", sa.column("retryaction_id"))
    actions = sa.table("retry_actions", sa.column("retryaction_id"), sa.column("name"))
    ids = sa.select(actions.c.retryaction_id).where(actions.c.name == ACTION)
    op.execute(sa.delete(errors).where(errors.c.retryaction_id.in_(ids)))
    op.execute(sa.delete(actions).where(actions.c.name == ACTION))
    op.drop_column("files", "free_attempts")
