"""Migrations: numbered SQL files, forward only, run by Alembic one transaction each."""

from pathlib import Path

import sqlalchemy
from alembic import command, op
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from postback.secret import Secret

_FOLDER = Path(__file__).parent / "migrations"


def migrate(dsn: Secret) -> list[str]:
    """Bring the database up to date and give the revisions that were run. Two at once wait for each other."""
    engine = _engine(dsn)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(7046028)"))
        connection.commit()
        before = _revision(connection)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
    engine.dispose()
    script = ScriptDirectory.from_config(config)
    pending = [r.revision for r in script.iterate_revisions("head", before or "base")]
    return list(reversed(pending))


def is_current(dsn: Secret) -> bool:
    engine = _engine(dsn)
    with engine.connect() as connection:
        current = _revision(connection)
    engine.dispose()
    return current == ScriptDirectory.from_config(_config()).get_current_head()


def run_sql(file: str) -> None:
    """Run one file of `versions/`, as it stands; called by the migrations."""
    raw = op.get_bind().connection.dbapi_connection
    assert raw is not None
    raw.cursor().execute((_FOLDER / "versions" / file).read_bytes())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    return config


def _engine(dsn: Secret) -> sqlalchemy.Engine:
    import psycopg

    return sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(dsn.reveal()), poolclass=sqlalchemy.NullPool
    )


def _revision(connection: sqlalchemy.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
