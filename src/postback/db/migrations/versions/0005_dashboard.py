"""People: members, invitations, sessions, and what slows down guessing of passwords."""

from postback.db.migrate import run_sql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run_sql("0005_dashboard.sql")
