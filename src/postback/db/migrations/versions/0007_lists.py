"""What the dashboard lists: events by the key that sent them; orders, newest first; origins that were refused."""

from postback.db.migrate import run_sql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run_sql("0007_lists.sql")
