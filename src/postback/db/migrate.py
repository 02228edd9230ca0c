"""Migrations: numbered SQL files, forward only, run by Alembic one transaction each.

Alembic is loaded only where one is to be run: loading it takes as long as all else that a command does.
"""

from functools import cache
from pathlib import Path

import psycopg

from postback.secret import Secret

_FOLDER = Path(__file__).parent / "migrations"
_LOCK = 7046028


def migrate(dsn: Secret) -> list[str]:
    """Bring the database up to date and give the revisions that were run. Two at once wait for each other."""
    with psycopg.connect(dsn.reveal()) as connection:
        if _revision(connection) == newest():
            return []
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        before = _revision(connection) or ""
        connection.commit()
        if before != newest():
            _upgrade(connection)
    return [revision for revision in _revisions() if revision > before]


def is_current(dsn: Secret) -> bool:
    with psycopg.connect(dsn.reveal()) as connection:
        return _revision(connection) == newest()


def run_sql(file: str) -> None:
    """Run one file of `versions/`, as it stands; called by the migrations."""
    from alembic import op

    raw = op.get_bind().connection.dbapi_connection
    assert raw is not None
    raw.cursor().execute((_FOLDER / "versions" / file).read_bytes())


def _revisions() -> list[str]:
    """A revision is its file's number."""
    return sorted(file.name.partition("_")[0] for file in (_FOLDER / "versions").glob("*.sql"))


@cache
def newest() -> str:
    """The revision that this program goes with."""
    return _revisions()[-1]


def _revision(connection: psycopg.Connection) -> str | None:
    """Where the database stands, None where nothing was ever run."""
    (table,) = connection.execute("SELECT to_regclass('alembic_version')").fetchone() or (None,)
    if table is None:
        return None
    (number,) = connection.execute("SELECT version_num FROM alembic_version").fetchone() or (None,)
    return number


def _upgrade(connection: psycopg.Connection) -> None:
    import sqlalchemy
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: connection, poolclass=sqlalchemy.StaticPool
    )
    with engine.connect() as shared:
        config.attributes["connection"] = shared
        command.upgrade(config, "head")
        shared.commit()
