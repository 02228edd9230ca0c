"""ROASproof's field reference, user data, limits and errors over HTTP, each test named after its row."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.contracts.clients import cap, made, newest

PATH = "/api/v1/events"
FULL: dict[str, Any] = {
    "event": "purchase",
    "event_id": "purchase_77",
    "value": 99.00,
    "currency": "EUR",
    "url": "https://shop.example/thanks",
    "occurred_at": "2026-06-01T12:00:00Z",
    "action_source": "website",
    "user_data": {
        "email": "ann@example.com", "phone": "+359887654321", "external_id": "crm-7", "visitor_id": "v-1",
        "client_ip_address": "203.0.113.7", "client_user_agent": "Mozilla/5.0", "fbc": "fb.1.1717243200000.abc",
        "fbp": "fb.1.1717243200000.123", "fbclid": "abc", "gclid": "g", "wbraid": "w", "gbraid": "b", "ttclid": "t",
    },
    "custom_data": {"order_number": "77", "gift": True},
}  # fmt: skip
STANDARD = "page_view view_content add_to_cart initiate_checkout lead signup purchase subscribe".split()


async def post(served: Any, body: object) -> tuple[int, Any]:
    return await served.call("POST", PATH, body, key=served.keys.api_key)


async def refused(served: Any, field: str, value: object) -> None:
    outer, _, inner = field.partition(".")
    status, answer = await post(served, FULL | {outer: {inner: value} if inner else value})
    assert (status, answer["error"]["code"], answer["error"]["field"]) == (422, "validation_failed", field), answer
    assert field in answer["error"]["message"]


async def test_field_event_is_required_and_one_of_the_eight(served: Any) -> None:
    for name in STANDARD:
        status, answer = await post(served, {"event": name, "event_id": name})
        assert (status, answer["status"], answer["duplicate"]) == (202, "accepted", False)
    for wrong in ("order_completed", "Purchase", "", 5, None):
        await refused(served, "event", wrong)
    status, answer = await post(served, {"event_id": "x"})
    assert (status, answer["error"]["field"]) == (422, "event")


async def test_field_event_id_is_made_where_it_is_absent_and_else_tells_a_repeat(served: Any) -> None:
    _, first = await post(served, {"event": "lead"})
    _, second = await post(served, {"event": "lead"})
    assert first["event_id"] != second["event_id"]
    await post(served, FULL)
    status, again = await post(served, FULL)
    assert (status, again["event_id"], again["duplicate"]) == (202, "purchase_77", True)
    _, other = await post(served, FULL | {"event": "lead"})
    assert not other["duplicate"]
    for wrong in ("", "x" * 257, 77):
        await refused(served, "event_id", wrong)


async def test_field_value_and_currency(served: Any) -> None:
    await post(served, FULL)
    event = await newest(served)
    assert (event["value"], event["currency"]) == (99, "EUR")
    for wrong in ("99.00", "", -1, True, {}):
        await refused(served, "value", wrong)
    for wrong in ("EURO", "", 978):
        await refused(served, "currency", wrong)


async def test_field_occurred_at_defaults_to_arrival(served: Any) -> None:
    await post(served, {"event": "lead"})
    event = await newest(served)
    assert datetime.now(UTC) - datetime.fromisoformat(event["occurred_at"]) < timedelta(minutes=1)
    await post(served, FULL)
    assert (await newest(served))["occurred_at"] == "2026-06-01T12:00:00Z"
    for wrong in ("yesterday", 1717243200, "1999-01-01", "2999-01-01"):
        await refused(served, "occurred_at", wrong)


async def test_field_url_and_action_source(served: Any) -> None:
    for source, kept in (("website", "website"), ("phone_call", "phone_call"), ("physical_store", "physical_store"),
                         ("carrier pigeon", "other")):  # fmt: skip
        await post(served, FULL | {"event_id": source, "action_source": source})
        event = await newest(served)
        assert (event["url"], event["action_source"]) == ("https://shop.example/thanks", kept)
    await refused(served, "url", 5)
    await refused(served, "action_source", 5)


async def test_field_site_key_ties_the_event_to_a_site_of_the_workspace(served: Any) -> None:
    status, _ = await post(served, FULL | {"site_key": served.keys.site_key})
    assert status == 202
    assert (await newest(served))["site"] == served.keys.site
    status, answer = await post(served, FULL | {"site_key": "site_of_nobody"})
    assert (status, answer["error"]["field"]) == (403, "site_key")


async def test_field_custom_data_is_forwarded_and_names_the_order(served: Any) -> None:
    await post(served, FULL)
    event = await newest(served)
    assert (event["order_id"], event["properties"]) == ("77", {"order_number": "77", "gift": True})
    await refused(served, "custom_data", [1])
    await refused(served, "custom_data.order_number", {"a": 1})


async def test_user_data_each_key_of_a_wrong_type_is_422_and_named_with_dots(served: Any) -> None:
    for field in FULL["user_data"]:
        await refused(served, f"user_data.{field}", 5)


async def test_user_data_each_key_is_taken(served: Any) -> None:
    await post(served, FULL)
    event = await newest(served)
    assert event["visitor_id"] == "v-1"
    assert {
        "email_sha256", "phone_sha256", "external_id_sha256", "fbc", "fbp", "fbclid", "gclid", "wbraid", "gbraid",
        "ttclid",
    } <= event["identifiers"].keys()  # fmt: skip


async def test_user_data_may_be_hashed_already(served: Any) -> None:
    status, _ = await post(served, {"event": "lead", "user_data": {"email": "A" * 64, "phone": "b" * 64}})
    assert status == 202
    assert {"email_sha256", "phone_sha256"} <= (await newest(served))["identifiers"].keys()


async def test_the_visitor_id_join_fills_gaps_and_what_you_submit_wins(served: Any) -> None:
    seen = {"event": "page_view", "user_data": {"visitor_id": "v-1", "gclid": "theirs", "fbp": "fb.1.2.3"}}
    await post(served, seen)
    await post(served, {"event": "lead", "user_data": {"visitor_id": "v-1", "gclid": "ours"}})
    assert (await newest(served))["identifiers"] == {"gclid": "sent", "fbp": "visitor"}


async def test_limit_202_names_one_entry_per_active_destination(served: Any) -> None:
    assert (await post(served, {"event": "lead"}))[1]["destinations"] == []
    body = {"name": "Hook", "config": {"url": "http://127.0.0.1:9/x"}}
    _, made = await served.call("POST", "/v1/admin/integration-catalog/webhook/install", body)
    _, answer = await post(served, {"event": "lead"})
    assert answer["destinations"] == [{"id": made["id"], "connector": "webhook", "name": "Hook", "status": "queued"}]


async def test_limit_422_validation_failed_names_the_offending_field(served: Any) -> None:
    await refused(served, "user_data.email", ["ann@example.com"])
    status, answer = await post(served, [FULL])
    assert (status, answer["error"]["code"]) == (422, "validation_failed")


async def test_a_key_is_401_once_it_is_revoked(served: Any) -> None:
    _, made = await served.call("POST", "/v1/admin/keys", {"label": "Shop webhook", "scopes": ["ingest"]})
    assert (await served.call("POST", PATH, FULL, key=made["key"]))[0] == 202
    await served.call("DELETE", f"/v1/admin/keys/{made['id']}")
    status, answer = await served.call("POST", PATH, FULL, key=made["key"])
    assert (status, answer["error"]["code"]) == (401, "unauthenticated")


async def test_field_event_may_be_a_key_of_the_workspaces_own(served: Any) -> None:
    await refused(served, "event", "quiz_done")
    await made(served, "event-types", {"name": "quiz_done", "required": ["value"]})
    status, answer = await post(served, {"event": "quiz_done", "value": 3, "currency": "EUR"})
    assert (status, answer["status"]) == (202, "accepted")
    status, answer = await post(served, {"event": "quiz_done"})
    assert (status, answer["error"]["field"]) == (422, "value")
    assert "value" in answer["error"]["message"]


async def test_limit_429_past_the_plans_cap_counts_billable_events_once_however_many_destinations(served: Any) -> None:
    for name in ("One", "Two"):
        body = {"name": name, "config": {"url": "http://127.0.0.1:9/x"}}
        assert (await served.call("POST", "/v1/admin/integration-catalog/webhook/install", body))[0] == 201
    await made(served, "event-types", {"name": "quiz_done", "billable": True})
    await made(served, "event-types", {"name": "quiz_begun"})
    await cap(served, 3)
    for name, expected in (
        ("purchase", 202), ("page_view", 202), ("quiz_done", 202), ("quiz_begun", 202), ("subscribe", 202),
        ("lead", 429), ("signup", 429), ("quiz_done", 429), ("quiz_begun", 202), ("add_to_cart", 202),
    ):  # fmt: skip
        status, answer = await post(served, {"event": name})
        assert status == expected, (name, answer)
        if status == 429:
            assert answer["error"].keys() == {"code", "message"}
            assert (answer["error"]["code"], "plan" in answer["error"]["message"]) == ("too_many_requests", True)


async def test_limit_past_the_cap_overage_is_accepted_and_metered_up_to_three_times_it(served: Any) -> None:
    await cap(served, 2, overage=True)
    assert [(await post(served, {"event": "lead"}))[0] for _ in range(8)] == [202] * 6 + [429] * 2
    await cap(served, 3, overage=True)
    assert (await post(served, {"event": "lead"}))[0] == 202
