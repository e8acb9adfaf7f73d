"""Whoever opens the database has limits: a transaction that stays open keeps dead entries in the index of claims.

After 300 000 claims beside such a transaction each costs a hundred times as much. The parts of the system have shorter
limits of their own; these are for people and reports, who may set others for themselves. What somebody has set for
the database already stays, and a role that may not set anything goes without.
"""

from __future__ import annotations

from alembic import op

revision = "0014_pre_time_limits"
down_revision = "0013_pre_settings_reasons"
branch_labels = None
depends_on = None

LIMITS = {"idle_in_transaction_session_timeout": "60s", "statement_timeout": "300s"}
_SET = """
DO $$
BEGIN
  IF NOT EXISTS (
    SELECT FROM pg_db_role_setting, unnest(setconfig) AS given
    WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND setrole = 0 AND given LIKE '{name}=%'
  ) THEN
    EXECUTE format('ALTER DATABASE %I SET {name} = %L', current_database(), '{limit}');
  END IF;
EXCEPTION WHEN insufficient_privilege THEN
  RAISE NOTICE '{name} is not set for the database: its owner may do so';
END $$
"""
_RESET = """
DO $$
BEGIN
  EXECUTE format('ALTER DATABASE %I RESET {name}', current_database());
EXCEPTION WHEN insufficient_privilege THEN
  NULL;
END $$
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        for name, limit in LIMITS.items():
            op.get_bind().exec_driver_sql(_SET.replace("{name}", name).replace("{limit}", limit).replace("%", "%%"))


def downgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        for name in LIMITS:
            op.get_bind().exec_driver_sql(_RESET.replace("{name}", name).replace("%", "%%"))
