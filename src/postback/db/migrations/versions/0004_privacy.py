"""What erasure, export and retention stand on: erasures, tombstones, how far upkeep came."""

from postback.db.migrate import run_sql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run_sql("0004_privacy.sql")
