"""What 0007 and 0009 lacked."""

from postback.db.migrate import run_sql

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    run_sql("0010_later.sql")
