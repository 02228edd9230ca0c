"""`POST /v1/admin/find`: one text, and all that it names."""

from hashlib import sha256
from typing import Any

import pytest

FIND = "/v1/admin/find"
JANE = {"email": "Jane@Secret.example", "phone": "+14155550100"}


async def find(served: Any, text: str, **more: Any) -> list[tuple[str, str, str]]:
    status, found = await served.call("POST", FIND, {"q": text}, **more)
    assert status == 200, found
    return [(one["kind"], one["by"], one["id"]) for one in found["items"]]


@pytest.fixture
async def sent(served: Any) -> dict[str, Any]:
    event = {
        "event": "purchase", "event_id": "e/1", "order_id": "o/1", "value": 5, "currency": "EUR", "visitor_id": "v/1",
        "session_id": "s1", "user_id": "u7", "user_data": JANE,
    }  # fmt: skip
    assert (await served.call("POST", "/v1/events", event))[0] == 202
    _, events = await served.call("GET", "/v1/admin/events")
    _, conversions = await served.call("GET", "/v1/admin/conversions")
    return {"event": events["items"][0]["id"], "conversion": conversions["items"][0]["id"]}


async def test_each_name_of_a_thing_leads_to_it(served: Any, sent: dict[str, Any]) -> None:
    assert await find(served, " e/1 ") == [("event", "event_id", sent["event"])]
    assert await find(served, sent["event"]) == [("event", "event_id", sent["event"])]
    assert await find(served, sent["conversion"]) == [("conversion", "conversion_id", sent["conversion"])]
    assert await find(served, "o/1") == [("order", "order_id", "o/1")]
    assert await find(served, "v/1") == [("visitor", "visitor_id", "v/1")]
    assert await find(served, "nothing of ours") == []


async def test_who_came_without_a_visitor_id_is_found_by_the_newest_events(served: Any, sent: dict[str, Any]) -> None:
    ann = {
        "event": "lead",
        "event_id": "e2",
        "user_id": "u8",
        "user_data": {"email": "Ann@x.example", "phone": "+14155550111"},
    }
    assert (await served.call("POST", "/v1/events", ann))[0] == 202
    _, events = await served.call("GET", "/v1/admin/events?name=lead")
    for text in ("ann@X.example", "+1 (415) 555-0111", "u8"):
        assert await find(served, text) == [("event", "person", events["items"][0]["id"])]
    assert await find(served, "ann@y.example") == []


async def test_another_person_is_not_found_by_a_like_address_or_a_hash_in_a_property(served: Any) -> None:
    digest = sha256(b"ab@shop.example").hexdigest()
    for n, event in enumerate(
        (
            {"user_data": {"email": "a.b@shop.example"}, "user_id": "U8"},
            {"properties": {"email_sha256": digest, "x": f'"email_sha256":"{digest}"'}},
        )
    ):
        assert (await served.call("POST", "/v1/events", {"event": "lead", "event_id": f"n{n}"} | event))[0] == 202
    for text in ("ab@shop.example", "u8"):
        assert await find(served, text) == []


async def test_a_person_is_found_by_what_is_stored_as_hashes_alone(served: Any, sent: dict[str, Any]) -> None:
    for text, by in (
        ("jane@secret.example", "email"), ("+1 (415) 555-0100", "phone"), ("u7", "external_id"), ("s1", "session_id"),
    ):  # fmt: skip
        assert await find(served, text) == [("visitor", by, "v/1")], text


async def test_what_was_looked_for_is_logged_nowhere(
    served: Any, sent: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    await find(served, "jane@secret.example")
    status, answer = await served.call("POST", FIND, {"q": "jane@secret.example", "x": 1})
    assert (status, "jane" in str(answer)) == (422, False)
    assert "jane" not in "".join(capfd.readouterr()).lower()


async def test_another_workspaces_things_are_not_found(served: Any, sent: dict[str, Any]) -> None:
    _, other = await served.call("POST", "/v1/admin/workspaces", {"name": "neighbour"})
    for text in ("e/1", "o/1", "v/1", "u7", "s1", "jane@secret.example", *sent.values()):
        assert await find(served, text, key=other["admin_key"]) == [], text
    assert (await served.call("POST", FIND, {"q": "e/1"}, key=other["api_key"]))[0] == 403


@pytest.mark.parametrize("text", ["", " ", "a\0b", "x" * 1025])
async def test_a_text_that_names_nothing_by_its_form_is_refused(served: Any, text: str) -> None:
    status, answer = await served.call("POST", FIND, {"q": text})
    assert (status, answer["error"]["field"]) == (422, "q")
