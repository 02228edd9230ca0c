"""What the five contracts stand on: plans, goals, orders, blueprints, tokens, jobs."""

from postback.db.migrate import run_sql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_sql("0002_contracts.sql")
