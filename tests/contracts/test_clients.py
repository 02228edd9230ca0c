"""The calls that the five documents show, made by each of the clients they show: only base URL and key are ours."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from postback.dialects.convultra import from_evt_id
from tests.contracts.clients import Client


def _velaro(served: Any) -> tuple[str, dict[str, Any]]:
    return "/Conversions/record", {
        "goalId": 123,
        "visitorId": "chat-session-8",
        "amount": 59.90,
        "integrationOrderId": "INV-2051",
        "integrationSource": "billing",
    }


def _selektable_order(served: Any) -> tuple[str, dict[str, Any]]:
    return "/api/webhooks/orders", {
        "orderId": "2051",
        "storeId": served.keys.site_key,
        "organizationId": served.keys.organization_id,
        "visitorId": "v-8",
        "sessionId": "s-8",
        "totalCents": 5990,
        "currency": "EUR",
        "platform": "custom",
        "status": "completed",
        "orderCreatedAt": "2026-06-01T12:00:00.000Z",
        "items": [{"productId": "chair", "quantity": 2, "priceCents": 2995, "totalCents": 5990}],
    }


def _selektable_lead(served: Any) -> tuple[str, dict[str, Any]]:
    path, order = _selektable_order(served)
    return path, order | {"orderId": "visit-2051", "totalCents": 0, "currency": "USD", "items": []}


def _roasproof(served: Any) -> tuple[str, dict[str, Any]]:
    return "/api/v1/events", {
        "event": "purchase",
        "event_id": "purchase_2051",
        "value": 59.90,
        "currency": "EUR",
        "url": "https://shop.example/thanks",
        "occurred_at": "2026-06-01T12:00:00Z",
        "user_data": {"email": "ann@example.com", "phone": "+359887654321", "visitor_id": "v-8"},
        "custom_data": {"order_number": "2051"},
    }


def _track(served: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/track", {
        "event_type": "purchase",
        "timestamp": "2026-06-01T12:00:00Z",
        "session_id": "s-8",
        "user_id": "u-8",
        "properties": {"order_id": "2051", "value": 59.90, "currency": "EUR"},
        "user_data": {"email": "ann@example.com", "phone": "+12025550143"},
        "context": {"ip": "203.0.113.8", "user_agent": "Mozilla/5.0", "page_url": "https://shop.example/checkout"},
    }


def _track_batch(served: Any) -> tuple[str, dict[str, Any]]:
    orders = [{"order_id": "2051", "value": 59.90}, {"order_id": "2052", "value": 10}]
    return "/v1/track/batch", {"events": [{"event_type": "purchase", "properties": order} for order in orders]}


def _segment(served: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/batch", {
        "batch": [
            {"type": "page", "anonymousId": "a-8", "properties": {"url": "https://shop.example/"}},
            {"type": "track", "event": "Order Completed", "userId": "u-8", "properties": {"revenue": 59.90}},
        ]
    }


def is_velaros(body: Any) -> bool:
    return body.keys() == {"success", "conversionId", "duplicate"} and body["success"] and not body["duplicate"]


def is_tracked(body: Any) -> bool:
    return body["success"] is True and isinstance(from_evt_id(body["event_id"]), UUID)


Call = Callable[[Any], tuple[str, dict[str, Any]]]
CALLS: dict[str, tuple[Call, int, Callable[[Any], bool]]] = {
    "velaro": (_velaro, 200, is_velaros),
    "selektable order": (_selektable_order, 200, lambda body: body == {"success": True}),
    "selektable lead": (_selektable_lead, 200, lambda body: body == {"success": True}),
    "roasproof": (
        _roasproof,
        202,
        lambda body: (body["event_id"], body["status"], body["duplicate"]) == ("purchase_2051", "accepted", False),
    ),
    "convultra": (_track, 200, is_tracked),
    "convultra batch": (_track_batch, 200, lambda body: body["success"] and all(map(is_tracked, body["results"]))),
    "segment": (_segment, 200, lambda body: body == {"success": True}),
}


@pytest.mark.usefixtures("goal")
async def test_the_documented_calls_get_their_documented_answers(served: Any, client: Client) -> None:
    for name, (made, expected, is_right) in CALLS.items():
        path, body = made(served)
        status, answer = await client(served.url + path, body, {"Authorization": f"Bearer {served.keys.api_key}"})
        assert status == expected, (name, answer)
        assert is_right(answer), (name, answer)


async def test_a_call_without_a_key_that_is_known_is_401_in_its_own_shape(served: Any) -> None:
    for name, (made, _, _) in CALLS.items():
        path, body = made(served)
        for headers in ({}, {"Authorization": f"Bearer {served.keys.api_key}x"}):
            async with served.http.post(served.url + path, json=body, headers=headers) as answer:
                assert answer.status == 401, name
                said = await answer.json()
                assert said.get("success") is (None if name == "roasproof" else False), name
                assert "key" in str(said["error"]), name
