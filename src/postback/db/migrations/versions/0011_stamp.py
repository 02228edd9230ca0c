"""A session ends with the password that it was opened by."""

from postback.db.migrate import run_sql

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    run_sql("0011_stamp.sql")
