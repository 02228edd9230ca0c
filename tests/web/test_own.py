"""`/v1/admin/workspace`, `settings`, `checks`, `usage/history`."""

from datetime import UTC, datetime
from typing import Any

from postback.db import Tx

ADMIN = "/v1/admin"


async def test_a_workspace_reads_and_names_itself(served: Any) -> None:
    status, own = await served.call("GET", f"{ADMIN}/workspace")
    assert (status, own["id"], own["name"]) == (200, served.keys.workspace, "default")
    status, named = await served.call("PATCH", f"{ADMIN}/workspace", {"name": "Acme"})
    assert (status, named) == (200, own | {"name": "Acme"})
    assert (await served.call("GET", f"{ADMIN}/workspace"))[1]["name"] == "Acme"
    assert (await served.call("PATCH", f"{ADMIN}/workspace", {"name": ""}))[0] == 422
    _, audit = await served.call("GET", f"{ADMIN}/audit?noun=workspace")
    assert [(one["before"]["name"], one["after"]["name"]) for one in audit["items"]] == [("default", "Acme")]


async def test_settings_say_their_variable_and_no_secret(served: Any) -> None:
    status, shown = await served.call("GET", f"{ADMIN}/settings")
    assert (status, shown["environment"], shown["seal_keys"]) == (200, "live", 1)
    by_name = {one["name"]: one for one in shown["settings"]}
    assert by_name["retention_days"] | {"description": ""} == {
        "name": "retention_days", "variable": "POSTBACK_RETENTION_DAYS", "value": "400", "is_set": True,
        "is_default": True, "unit": "days", "description": "",
    }  # fmt: skip
    assert (by_name["seal_keys"]["value"], by_name["seal_keys"]["is_set"]) == (None, True)
    assert served.settings.seal_keys.reveal() not in str(shown)


async def test_checks_say_what_doctor_says(served: Any) -> None:
    status, found = await served.call("GET", f"{ADMIN}/checks")
    verdicts = {(one["about"], one["verdict"]) for one in found["items"]}
    assert (status, found["well"]) == (200, False)
    # The tests' server has fsync off, and autovacuum.
    assert {
        ("database", "ok"),
        ("clocks", "ok"),
        ("seal key", "ok"),
        ("settings", "wrong"),
        ("settings", "advice"),
    } <= verdicts


async def test_a_key_that_reads_alone_sees_no_settings(served: Any) -> None:
    _, reader = await served.call("POST", f"{ADMIN}/keys", {"label": "r", "scopes": ["read"]})
    for path, status in (("settings", 403), ("checks", 403), ("workspace", 200), ("usage/history", 200)):
        assert (await served.call("GET", f"{ADMIN}/{path}", key=reader["key"]))[0] == status, path
    assert (await served.call("PATCH", f"{ADMIN}/workspace", {"name": "x"}, key=reader["key"]))[0] == 403


async def test_the_history_of_usage_adds_up_by_utc_month(served: Any, tx: Tx) -> None:
    await served.call("POST", "/v1/events", {"event": "purchase", "value": 1, "currency": "EUR"})
    month = datetime.now(UTC).strftime("%Y-%m")
    assert await served.call("GET", f"{ADMIN}/usage/history") == (200, {"items": [{"period": month, "used": 1}]})
