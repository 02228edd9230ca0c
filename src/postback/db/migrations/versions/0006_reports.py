"""Reports: what the worker counts of each hour, and which hours it has to count again."""

from postback.db.migrate import run_sql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run_sql("0006_reports.sql")
