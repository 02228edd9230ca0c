"""Sums of reports are kept in three cuts, each of which stays small."""

from postback.db.migrate import run_sql

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    run_sql("0008_cuts.sql")
