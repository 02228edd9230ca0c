"""`/v1/admin/event-types`: the workspace's own events, taken by ROASproof's path, and what they must bear anywhere."""

from typing import Any

import pytest

TYPES = "/v1/admin/event-types"
ROASPROOF = "/api/v1/events"


async def made(served: Any, **fields: Any) -> Any:
    status, one = await served.call("POST", TYPES, {"name": "quiz_completed", **fields})
    assert status == 201, one
    return one


async def test_an_own_event_is_taken_by_roasproof_from_its_making_to_its_removal(served: Any) -> None:
    key, event = served.keys.api_key, {"event": "quiz_completed"}
    status, body = await served.call("POST", ROASPROOF, event, key=key)
    assert (status, body["error"]["field"]) == (422, "event")
    one = await made(served)
    assert one | {"id": ""} == {"id": "", "name": "quiz_completed", "billable": False, "required": []}
    assert (await served.call("POST", ROASPROOF, event, key=key))[0] == 202
    assert await served.call("DELETE", f"{TYPES}/{one['id']}") == (204, None)
    status, body = await served.call("POST", ROASPROOF, event, key=key)
    assert (status, body["error"]["field"]) == (422, "event")


async def test_what_roasproof_would_have_taken_is_said(served: Any) -> None:
    await made(served)
    _, body = await served.call("POST", ROASPROOF, {"event": "quiz"}, key=served.keys.api_key)
    assert "purchase, quiz_completed, signup" in body["error"]["message"]


@pytest.mark.parametrize(
    ("field", "without", "with_it"),
    [
        ("order_id", {"order_status": "completed"}, {"order_id": "1"}),
        ("value", {"value": None}, {"value": 0, "currency": "USD"}),
        ("user_data.email", {"user_data": {"phone": "+4915112345678"}}, {"user_data": {"email": "a@b.example"}}),
        ("user_id", {"user_data": {"email": "a@b.example"}}, {"user_id": "u1"}),
        ("click_ids.gclid", {"click_ids": {"fbclid": "x"}}, {"click_ids": {"gclid": "x"}}),
        ("consent.analytics", {"consent": {}}, {"consent": {"analytics": False}}),
        ("items", {"items": []}, {"items": [{"product_id": "p"}]}),
        ("properties.score", {"properties": {"scores": 1}}, {"properties": {"score": 0}}),
        ("properties.quiz.score", {"properties": {"quiz": 7}}, {"properties": {"quiz": {"score": 7}}}),
    ],
)
async def test_a_required_field_is_demanded_by_name(served: Any, field: str, without: Any, with_it: Any) -> None:
    await made(served, required=[field])
    for lacking in ({}, without):
        status, body = await served.call("POST", "/v1/events", {"event": "quiz_completed", **lacking})
        assert (status, body["error"]["field"]) == (422, field)
    status, body = await served.call("POST", "/v1/events", {"event": "quiz_completed", **with_it})
    assert (status, body.get("error")) == (202, None)
    assert (await served.call("POST", "/v1/events", {"event": "lead", **without}))[0] == 202


async def test_a_required_field_is_named_as_the_dialect_names_it(served: Any) -> None:
    await made(served, required=["properties.score"])
    _, body = await served.call("POST", ROASPROOF, {"event": "quiz_completed"}, key=served.keys.api_key)
    assert body["error"]["field"] == "custom_data.score"


async def test_a_change_leaves_what_it_does_not_name(served: Any) -> None:
    one = await made(served, required=["order_id", "order_id"])
    assert one["required"] == ["order_id"]
    status, changed = await served.call("PATCH", f"{TYPES}/{one['id']}", {"billable": True})
    assert (status, changed) == (200, one | {"billable": True})
    assert (await served.call("GET", f"{TYPES}/{one['id']}"))[1] == changed
    assert (await served.call("GET", TYPES))[1]["items"] == [changed]


@pytest.mark.parametrize("name", ["purchase", "Order Completed", "refund", " Lead "])
async def test_a_standard_event_needs_no_type(served: Any, name: str) -> None:
    status, body = await served.call("POST", TYPES, {"name": name})
    assert (status, body["error"]["field"]) == (422, "name")


async def test_a_name_is_taken_once(served: Any) -> None:
    await made(served)
    status, body = await served.call("POST", TYPES, {"name": "quiz_completed"})
    assert (status, body["error"]["field"]) == (409, "name")


@pytest.mark.parametrize("field", ["", "email", "user_data.mail", "user_data.", "order_id.x", "properties.", "amount"])
async def test_what_is_no_field_of_an_event_cannot_be_required(served: Any, field: str) -> None:
    status, body = await served.call("POST", TYPES, {"name": "quiz", "required": ["order_id", field]})
    assert (status, body["error"]["field"]) == (422, "required[1]")
