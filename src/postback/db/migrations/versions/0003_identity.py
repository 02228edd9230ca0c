"""Who was seen: identifiers with their times, links and all the visitors they lead to, touches."""

from postback.db.migrate import run_sql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run_sql("0003_identity.sql")
