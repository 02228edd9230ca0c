"""Every named query keeps the rules that one set of SQL needs to run on PostgreSQL 16, 18 and Citus alike.

The rules are those of docs/decisions (Citus): each statement on a data table names its buckets, in one of two shapes;
locks only in one bucket; by-id statements on partitioned tables say which ids; times and jitter are parameters.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from postback.db import embedded, migrate
from postback.db.queries import rooms, statements
from postback.secret import Secret

DATA = {
    "config_version", "dedup", "visitor", "link", "event", "delivery", "attempt", "usage", "ledger_hour", "lease",
    "worker", "lane", "orders", "conversion", "rate_window", "key_usage", "oauth_token", "job", "touch", "erasure",
    "tombstone", "upkeep", "session", "sign_in", "rollup", "hourly", "daily", "dirty_hour", "dirty_total",
    "rollup_clock", "refused_origin",
}  # fmt: skip
PARTITIONED_BY_ID = {"event", "delivery", "attempt", "conversion", "touch"}
ALL = [(room, name, sql.decode()) for room in rooms() for name, sql in statements(room).items()]
EACH = pytest.mark.parametrize("sql", [pytest.param(sql, id=f"{room}.{name}") for room, name, sql in ALL])


def plain(sql: str) -> str:
    """Without comments and literals, white space folded."""
    return re.sub(r"\s+", " ", re.sub(r"'[^']*'", "''", re.sub(r"--[^\n]*", "", sql))).strip()


def tables(sql: str) -> list[tuple[str, str]]:
    """(table, alias) of every data table that a statement names."""
    found = re.findall(r"\b(?:FROM|JOIN|INTO|UPDATE|,)\s+(\w+)(?:\s+(?:AS\s+)?(\w+))?", plain(sql))
    words = {"SET", "WHERE", "ON", "JOIN", "SELECT", "USING", "LEFT", "CROSS", "ORDER", "GROUP", "LIMIT"}
    return [(table, table if alias in words or not alias else alias) for table, alias in found if table in DATA]


@EACH
def test_a_statement_on_a_data_table_names_its_buckets(sql: str) -> None:
    text = plain(sql)
    for table, alias in tables(sql):
        if text.startswith(f"INSERT INTO {table}"):
            # By way of the table bucket, or moved inside one bucket.
            one = re.search(r"SELECT \w\.bucket,.*\w\.bucket = %\(bucket\)s", text)
            assert one or re.search(r"\bFROM bucket k\b.*\bk\.bucket = (ANY \(%\(|%\()", text)
        else:
            named = rf"\b{alias}\.bucket = (ANY \(%\(\w+\)s|%\(\w+\)s|\w+\.bucket)|\bbucket = (ANY \(%\(|%\()"
            assert re.search(named, text), f"{table} is read or written without naming its buckets"
    lists_all_buckets = text.startswith("SELECT") and re.search(r"\bFROM bucket k CROSS JOIN LATERAL", text)
    if tables(sql) and not lists_all_buckets:
        assert "%(bucket)s" in text or re.search(r"bucket = ANY \(%\(\w+\)s", text), "no bucket is a parameter"


@EACH
def test_rows_are_locked_in_one_bucket_of_a_data_table_only(sql: str) -> None:
    text = plain(sql)
    if re.search(r"\bFOR (UPDATE|SHARE|NO KEY)", text):
        assert "bucket = %(bucket)s" in text
        assert tables(sql), "reference tables are never locked"


@EACH
def test_nothing_volatile_stands_in_what_is_written(sql: str) -> None:
    text = plain(sql)
    if written := re.search(r"\bSET (.*?)(\bWHERE\b|\bRETURNING\b|$)", text):
        assert not re.search(r"\b(random|clock_timestamp|gen_random_uuid|uuidv7)\(", written[1])
    if upsert := re.search(r"DO UPDATE SET (.*)", text):
        assert "now()" not in upsert[1]


@EACH
def test_the_target_of_a_write_has_an_alias_and_returning_uses_it(sql: str) -> None:
    text = plain(sql)
    if match := re.match(r"(?:INSERT INTO|UPDATE|DELETE FROM) (\w+)(?: (?:AS )?(\w+))?", text):
        if match[1] not in DATA:
            return
        alias = match[2]
        assert alias, "the target has an alias"
        if "RETURNING" in text:
            returned = text.split("RETURNING")[1]
            assert all(part.strip().startswith(f"{alias}.") or "(" in part for part in returned.split(","))


@EACH
def test_statements_by_id_say_which_partitions(sql: str) -> None:
    text = plain(sql)
    if text.startswith("INSERT"):
        return
    for table, alias in tables(sql):
        column = "id" if table in ("event", "conversion", "touch") else "event_id"
        if table in PARTITIONED_BY_ID:
            bound = rf"\b{alias}\.{column} (BETWEEN|>=|<)|\b{column} (BETWEEN|>=|<)|{alias}\.{column} = \w+\.event_id"
            assert re.search(bound, text), f"{table} is scanned in all its partitions"


@EACH
def test_no_statement_uses_what_citus_lacks(sql: str) -> None:
    assert not re.search(r"\b(MERGE INTO|GROUPING SETS|LISTEN|NOTIFY|NEXTVAL|TRUNCATE)\b", plain(sql).upper())


@pytest.fixture(scope="module", params=[16, 18])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    import asyncio
    import tempfile

    with tempfile.TemporaryDirectory(prefix="postback-sql-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o711)
        started = asyncio.run(
            embedded.start(
                Path(folder) / "data", major=request.param, settings={"fsync": "off", "shared_buffers": "16MB"}
            )
        )
        migrate.migrate(Secret(started.dsn))
        yield started.dsn
        asyncio.run(started.stop())


def test_both_servers_that_come_along_take_every_statement(server: str) -> None:
    with psycopg.connect(server, autocommit=True) as conn:
        preparable = [sql for _, _, sql in ALL if not plain(sql).startswith("SET")]
        for number, sql in enumerate(preparable):
            for place, name in enumerate(dict.fromkeys(re.findall(r"%\((\w+)\)s", sql)), 1):
                sql = sql.replace(f"%({name})s", f"${place}")  # noqa: PLW2901
            conn.execute(f"PREPARE s{number} AS {sql.replace('%%', '%')}".encode())
