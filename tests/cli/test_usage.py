"""`usage`: the billable events of a month, as the writers counted them."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg

from postback.db import buckets
from postback.secret import Secret

Run = Callable[..., Any]


def test_a_month_is_shown_in_all_and_by_site_dropped_partitions_too(on_database: Run, database: Secret) -> None:
    (site,) = on_database("sites", "list", "--json").json["items"]
    hour = datetime(2026, 2, 28, 23, tzinfo=UTC)
    with psycopg.connect(database.reveal()) as connection:
        (workspace,) = connection.execute("SELECT id FROM workspace").fetchone() or ()
        for bucket, at in (
            (buckets.BUCKETS[0], hour),
            (buckets.BUCKETS[5], hour),
            (buckets.BUCKETS[5], hour.replace(month=3)),
        ):
            row = [bucket, UUID(int=1), at, workspace, site["id"], 1200]
            connection.execute("INSERT INTO usage VALUES (%s, %s, %s, %s, %s, %s)", row)
        filed = [buckets.BUCKETS[0], hour.replace(month=1), site["id"]]
        connection.execute("INSERT INTO ledger_hour VALUES (%s, %s, %s, 'accepted', '', 7)", filed)
    shown = on_database("usage", "--period", "2026-02", "--json").json
    assert shown == {
        "period": "2026-02", "used": 2400, "cap": None, "overage": 0,
        "by_site": [{"site": site["id"], "name": "default", "used": 2400, "cap": None, "overage": 0}],
    }  # fmt: skip
    assert on_database("usage", "--period", "2026-01", "--json").json["used"] == 7
    told = on_database("usage", "--period", "2026-02")
    assert told.code == 0
    assert "in 2026-02 (UTC)" in told.out
    assert "2400" in told.out
    assert on_database("usage", "--json").json["period"] == f"{datetime.now(UTC):%Y-%m}"


def test_a_period_that_is_no_month_is_wrong_usage(on_database: Run) -> None:
    ran = on_database("usage", "--period", "November")
    assert (ran.code, ran.out) == (2, "")
    assert "such as 2026-11" in ran.err
