"""Since when a platform cannot be reached."""

from postback.db.migrate import run_sql

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    run_sql("0009_down.sql")
