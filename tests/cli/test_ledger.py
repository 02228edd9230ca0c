"""`ledger`: exit 0 while all is accounted for, 1 where something is not."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg

from postback.db import buckets
from postback.secret import Secret

Run = Callable[..., Any]


def test_an_hour_without_a_trace_does_not_balance(on_database: Run, database: Secret) -> None:
    made = on_database("destinations", "install", "webhook", "--set", "url=https://example.com/", "--json").json
    empty = on_database("ledger", "--json")
    assert (empty.code, empty.json) == (0, {"balanced": True, "items": []})

    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    row = [buckets.BUCKETS[0], UUID(int=1), hour, UUID(int=2), UUID(made["id"]), 3]
    with psycopg.connect(database.reveal()) as connection:
        connection.execute("INSERT INTO usage VALUES (%s, %s, %s, %s, %s, %s)", row)
    lost = on_database("ledger", "--json")
    assert lost.code == 1
    assert lost.json["balanced"] is False
    assert lost.json["items"][0].items() >= {"accepted": 3, "delivered": 0, "difference": 3, "name": "Webhook"}.items()
    told = on_database("ledger")
    assert told.code == 1
    assert "does not balance" in told.out
    assert on_database("ledger", "--to", "2001-01-01").code == 0
