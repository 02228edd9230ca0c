"""The spine: control plane, events, deliveries."""

from postback.db.migrate import run_sql

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_sql("0001_spine.sql")
