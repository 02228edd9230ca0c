"""`/v1/admin/integration-catalog` and `/v1/admin/destinations`: forms, installing, changing, secrets that stay secret."""

from typing import Any

import psycopg
import pytest

CATALOG = "/v1/admin/integration-catalog"
DESTINATIONS = "/v1/admin/destinations"
META = {"dataset_id": "1234567890", "access_token": "EAABsecrettoken"}
MASK = "[secret]"


async def install(served: Any, connector: str, config: dict[str, Any], **more: Any) -> Any:
    body = {"name": "mine", "variant": "default", "config": config, "delivery_mode": "server_side", **more}
    status, destination = await served.call("POST", f"{CATALOG}/{connector}/install", body)
    assert status == 201, destination
    return destination


async def test_the_catalog_says_what_each_form_needs(served: Any) -> None:
    _, entry = await served.call("GET", f"{CATALOG}/meta")
    fields = {field["name"]: field for field in entry["fields"]}
    assert fields["dataset_id"]["required"]
    assert fields["access_token"] == fields["access_token"] | {
        "secret": True,
        "required": True,
        "title": "Access token",
    }
    assert not fields["test_event_code"]["required"]
    assert fields["endpoint"]["advanced"]
    assert {"connector", "name", "category", "variants", "fields", "blueprint"} <= set(entry)
    assert "default" in entry["variants"]


async def test_every_connector_is_listed_and_every_field_is_described(served: Any) -> None:
    _, body = await served.call("GET", CATALOG)
    assert {"meta", "ga4", "webhook"} <= {entry["connector"] for entry in body["items"]}
    for entry in body["items"]:
        assert (await served.call("GET", f"{CATALOG}/{entry['connector']}"))[1] == entry
        for field in entry["fields"]:
            assert field["title"], (entry["connector"], field["name"])
            assert field["description"], (entry["connector"], field["name"])
            assert field["type"] in ("string", "boolean", "integer", "number", "object", "array")


async def test_the_catalog_is_filtered_and_searched(served: Any) -> None:
    for query, expected in (("category=analytics", {"ga4"}), ("q=META", {"meta"}), ("q=nothing+like+it", set())):
        _, body = await served.call("GET", f"{CATALOG}?{query}")
        assert {entry["connector"] for entry in body["items"]} >= expected
        assert "webhook" not in {entry["connector"] for entry in body["items"]}


async def test_a_variant_has_its_own_form_and_a_word_on_when_to_take_it(served: Any) -> None:
    _, entry = await served.call("GET", f"{CATALOG}/convert")
    assert [rule["event"] for rule in entry["blueprint"]["rules"]] == ["page_view", "purchase", "lead", "*"]
    assert all(rule["note"] for rule in entry["blueprint"]["rules"])
    assert entry["variants"] == ["default", "tracking"]
    tracking = {field["name"]: field for field in entry["variant_fields"]["tracking"]}
    assert tracking["goal_map"]["required"]
    assert (tracking["goal_map"]["type"], tracking["sdk_key_secret"]["secret"]) == ("object", True)
    assert entry["advice"]["tracking"].startswith("Recommended")


async def test_a_variant_is_kept_with_its_own_fields(served: Any) -> None:
    config = {"account_id": "1", "project_id": "2", "api_key": "k", "goal_map": {"lead": 7}, "sdk_key_secret": "s"}
    destination = await install(served, "convert", config, variant="tracking")
    path = f"{DESTINATIONS}/{destination['id']}"
    _, changed = await served.call("PATCH", path, {"config": {"sdk_key": "a/b"}})
    assert (changed["variant"], changed["config"]["sdk_key"], changed["config"]["goal_map"]) == (
        "tracking", "a/b", {"lead": 7},
    )  # fmt: skip
    status, body = await served.call("PATCH", path, {"config": {"goal_map": {"lead": "Lead"}}})
    assert (status, body["error"]["field"]) == (422, "config.goal_map")


async def test_an_installed_destination_takes_events(served: Any) -> None:
    destination = await install(served, "meta", META)
    assert destination["status"] == "active"
    _, receipt = await served.call("POST", "/v1/events", {"event": "purchase", "value": 1, "currency": "USD"})
    assert [one["id"] for one in receipt["destinations"]] == [destination["id"]]


async def test_secrets_are_masked_wherever_a_destination_is_shown(served: Any) -> None:
    destination = await install(served, "meta", META)
    path = f"{DESTINATIONS}/{destination['id']}"
    shown = [
        destination,
        (await served.call("GET", path))[1],
        (await served.call("GET", DESTINATIONS))[1]["items"][0],
        (await served.call("PATCH", path, {"name": "other"}))[1],
        (await served.call("POST", f"{path}/pause"))[1],
        (await served.call("POST", f"{path}/resume"))[1],
    ]
    for one in shown:
        assert one["config"]["access_token"] == MASK
        assert one["config"]["dataset_id"] == META["dataset_id"]
        assert META["access_token"] not in str(one)


async def test_a_secret_is_not_in_the_database_in_clear(served: Any) -> None:
    await install(served, "meta", META)
    with psycopg.connect(served.dsn.reveal()) as conn:
        row = conn.execute("SELECT config FROM destination").fetchone()
    assert row is not None
    assert b"EAAB" not in row[0]


async def test_a_webhook_secret_is_made_and_shown_this_once(served: Any) -> None:
    destination = await install(served, "webhook", {"url": "http://127.0.0.1:9/x"})
    assert destination["config"]["secret"].startswith("whsec_")
    _, again = await served.call("GET", f"{DESTINATIONS}/{destination['id']}")
    assert again["config"]["secret"] == MASK


async def test_a_webhook_secret_that_was_sent_is_masked(served: Any) -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    destination = await install(served, "webhook", {"url": "http://127.0.0.1:9/x", "secret": secret})
    assert destination["config"]["secret"] == MASK


@pytest.mark.parametrize(
    ("connector", "sent", "field"),
    [
        ("meta", {"config": {"dataset_id": "1"}}, "config.access_token"),
        ("meta", {"config": {**META, "access_token": 7}}, "config.access_token"),
        ("meta", {"config": {**META, "access_token": ""}}, "config.access_token"),
        ("meta", {"config": {**META, "access_token": None}}, "config.access_token"),
        ("meta", {"config": {**META, "dataset_id": 1}}, "config.dataset_id"),
        ("meta", {"config": {**META, "dataset_id": "one"}}, "config.dataset_id"),
        ("meta", {"config": {**META, "color": "blue"}}, "config.color"),
        ("meta", {"config": {**META, "dataset_id": "1\x00"}}, "config.dataset_id"),
        ("meta", {"config": {**META, "endpoint": "ftp://x.example"}}, "config.endpoint"),
        ("meta", {"config": {**META, "endpoint": "nonsense"}}, "config.endpoint"),
        ("meta", {"config": {**META, "endpoint": "http://x.example:99999"}}, "config.endpoint"),
        ("webhook", {"config": {}}, "config.url"),
        ("webhook", {"config": {"url": ""}}, "config.url"),
        ("webhook", {"config": {"url": "http://"}}, "config.url"),
        ("webhook", {"config": {"url": "http://127.0.0.1/x", "secret": "short"}}, "config.secret"),
        ("webhook", {"config": {"url": "http://127.0.0.1/x", "headers": {"Host": "x"}}}, "config.headers"),
        ("webhook", {"config": "text"}, "config"),
        ("meta", {"config": META, "variant": "tracking"}, "variant"),
        ("convert", {"config": {"account_id": "1", "project_id": "2"}}, "config.api_key"),
        (
            "convert",
            {"config": {"account_id": "1", "project_id": "2", "api_key": "k"}, "variant": "tracking"},
            "config.goal_map",
        ),
        ("convert", {"config": {"account_id": "1", "project_id": "a.b/", "api_key": "k"}}, "config.project_id"),
        ("tiktok", {"config": {"pixel_code": "C3Q"}}, "config.access_token"),
        ("meta", {"config": META, "delivery_mode": "client_side"}, "delivery_mode"),
        ("meta", {"config": META, "name": ""}, "name"),
        ("meta", {"config": META, "name": "x" * 101}, "name"),
    ],
)
async def test_a_bad_install_is_422_and_names_the_field(
    served: Any, connector: str, sent: dict[str, Any], field: str
) -> None:
    status, body = await served.call(
        "POST", f"{CATALOG}/{connector}/install", {"name": "x", "variant": "default", **sent}
    )
    assert (status, body["error"]["field"]) == (422, field), body
    assert "EAAB" not in str(body)
    assert (await served.call("GET", DESTINATIONS))[1]["items"] == []


async def test_a_connector_that_there_is_not_is_404(served: Any) -> None:
    assert (await served.call("POST", f"{CATALOG}/none/install", {"config": {}}))[0] == 404


async def test_a_patch_merges_and_keeps_the_secrets_that_are_not_sent(served: Any) -> None:
    destination = await install(served, "meta", {**META, "test_event_code": "TEST1"})
    path = f"{DESTINATIONS}/{destination['id']}"
    for config in (
        {"dataset_id": "22"},
        {"dataset_id": "22", "access_token": MASK},
        {"test_event_code": None},
    ):
        status, changed = await served.call("PATCH", path, {"config": config})
        assert status == 200
        assert changed["config"]["dataset_id"] == "22"
    assert changed["config"]["test_event_code"] is None
    _, bad = await served.call("PATCH", path, {"config": {"access_token": ""}})
    assert bad["error"]["field"] == "config.access_token"


async def test_a_patch_of_nothing_changes_nothing(served: Any) -> None:
    destination = await install(served, "meta", META)
    assert await served.call("PATCH", f"{DESTINATIONS}/{destination['id']}", {}) == (200, destination)


async def test_paused_and_resumed_by_path_or_by_status(served: Any) -> None:
    destination = await install(served, "meta", META)
    path = f"{DESTINATIONS}/{destination['id']}"
    for _ in range(2):
        assert (await served.call("POST", f"{path}/pause"))[1]["status"] == "paused"
    _, receipt = await served.call("POST", "/v1/events", {"event": "purchase"})
    assert receipt["destinations"][0]["status"] == "queued"
    for _ in range(2):
        assert (await served.call("POST", f"{path}/resume"))[1]["status"] == "active"
    assert (await served.call("PATCH", path, {"status": "paused"}))[1]["status"] == "paused"
    assert (await served.call("PATCH", path, {"status": "active"}))[1]["status"] == "active"
    assert (await served.call("PATCH", path, {"status": "held"}))[0] == 422


def hold(served: Any) -> None:
    with psycopg.connect(served.dsn.reveal()) as conn:
        conn.execute("UPDATE lane SET state = 'held', reason = 'token expired', fix = 'Make a new one.'")


async def test_a_held_destination_says_why_and_a_new_config_frees_it(served: Any) -> None:
    destination = await install(served, "meta", META)
    path = f"{DESTINATIONS}/{destination['id']}"
    await served.call("POST", "/v1/events", {"event": "purchase", "event_id": "e1"})
    hold(served)
    _, held = await served.call("GET", path)
    assert (held["status"], held["reason"], held["fix"]) == ("held", "token expired", "Make a new one.")
    _, deliveries = await served.call("GET", "/v1/admin/deliveries?status=held")
    assert [(one["status"], one["reason"]) for one in deliveries["items"]] == [("held", "token expired")]
    assert (await served.call("GET", "/v1/admin/deliveries?status=queued"))[1]["items"] == []
    assert len((await served.call("GET", "/v1/admin/events?status=held"))[1]["items"]) == 1
    _, ledger = await served.call("GET", "/v1/admin/ledger")
    assert [(hour["held"], hour["pending"]) for hour in ledger["items"]] == [(1, 0)]
    assert (await served.call("POST", f"{path}/pause"))[0] == 409
    _, freed = await served.call("PATCH", path, {"config": {"access_token": "EAABnew"}})
    assert (freed["status"], freed["reason"]) == ("active", None)
    hold(served)
    assert (await served.call("POST", f"{path}/resume"))[1]["status"] == "active"


async def test_a_removed_destination_is_gone_and_takes_no_event(served: Any) -> None:
    destination = await install(served, "meta", META)
    path = f"{DESTINATIONS}/{destination['id']}"
    await served.call("POST", "/v1/events", {"event": "purchase", "event_id": "before"})
    assert (await served.call("DELETE", path))[0] == 204
    assert (await served.call("DELETE", path))[0] == 404
    assert (await served.call("GET", path))[0] == 404
    _, receipt = await served.call("POST", "/v1/events", {"event": "purchase", "event_id": "after"})
    assert receipt["destinations"] == []
    _, deliveries = await served.call("GET", "/v1/admin/deliveries")
    assert [one["connector"] for one in deliveries["items"]] == ["meta"]


async def test_a_delivery_to_what_does_not_open_is_shown_all_the_same(served: Any) -> None:
    destination = await install(served, "webhook", {"url": "https://x.example/"})
    with psycopg.connect(served.dsn.reveal(), autocommit=True) as conn:
        conn.execute("UPDATE destination SET config = '\\x0011'")
    await served.call("POST", "/v1/admin/sites", {"name": "second"})  # a change: all of the workspace is read anew
    await served.call("POST", "/v1/events", {"event": "purchase", "event_id": "e1", "visitor_id": "v1"})
    _, found = await served.call("GET", "/v1/admin/deliveries")
    [one] = [one for one in found["items"] if one["destination"] == destination["id"]]
    status, shown = await served.call("GET", f"/v1/admin/deliveries/{one['id']}")
    assert (status, shown["late_identifiers"]) == (200, {})
