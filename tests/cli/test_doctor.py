"""`doctor`: says what is wrong and what to do; exit 1 where something is."""

from collections.abc import Callable
from typing import Any

import psycopg

from postback.secret import Secret

Run = Callable[..., Any]


def verdicts(ran: Any) -> dict[str, str]:
    """The worst that is said about each."""
    found = [(item["about"], item["verdict"]) for item in ran.json["items"]]
    return dict(sorted(found, key=lambda one: ("ok", "advice", "wrong").index(one[1])))


def test_a_server_that_may_lose_data_and_a_held_destination_are_wrong(on_database: Run, database: Secret) -> None:
    made = on_database("destinations", "install", "webhook", "--set", "url=https://example.com/", "--json").json
    with psycopg.connect(database.reveal()) as connection:
        connection.execute("UPDATE lane SET state = 'held', reason = 'answered 401', fix = 'Check the token.'")
    ran = on_database("doctor", "--json")
    assert ran.code == 1
    found = verdicts(ran)
    assert found["database"] == found["migrations"] == found["clocks"] == found["seal key"] == "ok"
    assert found["settings"] == "wrong"  # the tests' server has fsync off
    assert found["destination Webhook"] == "wrong"
    told = on_database("doctor").out
    assert "fsync is off" in told
    assert f"Check the token. Then `postback destinations resume {made['id']}`" in told


def test_a_destination_that_only_retries_is_wrong_and_one_that_also_delivers_is_told(
    on_database: Run, database: Secret
) -> None:
    made = on_database("destinations", "install", "webhook", "--set", "url=https://example.com/", "--json").json
    site = on_database("init", "--json").json
    assert site["held"] == []
    row = "(60, '01a1fdd0-30cc-7296-8652-30b60aea5840', %s, %s, now(), 'answered 500', '2026-11-20T10:00Z')"
    columns = "(bucket, event_id, destination_id, status, due_at, reason, tried_at)"
    with psycopg.connect(database.reveal()) as connection:
        connection.execute(f"INSERT INTO delivery {columns} VALUES {row}", (made["id"], "retrying"))
    ran = on_database("doctor", "--json")
    assert verdicts(ran)["destination Webhook"] == "wrong"
    assert "delivers nothing and retries 1 deliveries, the first since 2026-11-20 10:00 UTC: answered 500" in ran.out
    with psycopg.connect(database.reveal()) as connection:
        connection.execute(
            f"INSERT INTO delivery {columns} VALUES {row.replace('5840', '5841')}", (made["id"], "delivered")
        )
    ran = on_database("doctor", "--json")
    assert verdicts(ran)["destination Webhook"] == "advice"
    assert "sends, and retries 1 deliveries" in ran.out


def test_a_fresh_installation_is_well_and_delivers_nothing_yet(postback: Run, folder: Any) -> None:
    assert postback("init", "--data-dir", str(folder / "data")).code == 0
    ran = postback("doctor", "--data-dir", str(folder / "data"), "--json")
    assert ran.code == 0, ran.out
    found = verdicts(ran)
    assert found.pop("workers") == "advice"
    assert set(found.values()) == {"ok"}


def test_tables_that_are_missing_are_wrong(postback: Run, empty_database: Secret) -> None:
    ran = postback("doctor", "--json", POSTBACK_DATABASE_URL=empty_database.reveal())
    assert ran.code == 1
    assert verdicts(ran)["migrations"] == "wrong"
    assert "postback db migrate" in ran.out


def test_a_wrong_seal_key_is_wrong(on_database: Run) -> None:
    ran = on_database("doctor", "--json", POSTBACK_SEAL_KEYS="A" * 43)
    assert ran.code == 1
    assert verdicts(ran)["seal key"] == "wrong"
