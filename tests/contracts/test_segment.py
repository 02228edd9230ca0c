"""Segment's calls over HTTP: keys, bodies, what becomes of each; and that world's own Python library."""

import asyncio
import contextlib
import gzip
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from segment.analytics import request
from segment.analytics.client import Client

from tests.contracts.clients import newest

TRACK = {"event": "Signed Up", "userId": "u-1", "messageId": "m-1"}
MESSAGES = {
    "/v1/track": TRACK,
    "/v1/page": {"anonymousId": "a-1", "name": "Home"},
    "/v1/screen": {"anonymousId": "a-1", "name": "Cart"},
    "/v1/identify": {"userId": "u-1", "traits": {"email": "ann@example.com"}},
    "/v1/group": {"userId": "u-1", "groupId": "g-1"},
    "/v1/alias": {"previousId": "a-1", "userId": "u-1"},
    "/v1/batch": {"batch": [{"type": "track", **TRACK}]},
}


async def send(served: Any, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with served.http.post(served.url + path, data=data, headers=sent) as answer:
        return answer.status, await answer.json()


def basic(key: str) -> str:
    return "Basic " + b64encode(f"{key}:".encode()).decode()


async def names(served: Any) -> list[str]:
    """The names of all events, oldest first."""
    _, listed = await served.call("GET", "/v1/admin/events")
    return [event["name"] for event in reversed(listed["items"])]


async def test_each_call_is_taken_with_the_key_as_user_name_in_the_body_or_as_bearer(served: Any) -> None:
    key = served.keys.api_key
    for path, body in MESSAGES.items():
        assert await send(served, path, body, Authorization=basic(key)) == (200, {"success": True}), path
        assert await send(served, path, body, Authorization=f"Bearer {key}") == (200, {"success": True}), path
        assert await send(served, path, body | {"writeKey": key}) == (200, {"success": True}), path
        assert await send(served, path, body | {"writeKey": key}, Authorization=basic("")) == (200, {"success": True})


async def test_a_wrong_key_is_401_wherever_it_stands_and_a_missing_one_says_how(served: Any) -> None:
    wrong = served.keys.api_key + "x"
    for path, body in MESSAGES.items():
        for sent, headers in (
            (body, {"Authorization": basic(wrong)}), (body, {"Authorization": f"Bearer {wrong}"}),
            (body | {"writeKey": wrong}, {}), (body, {}), (body | {"writeKey": 5}, {}), (body | {"writeKey": ""}, {}),
            (body, {"Authorization": "Basic \xff"}), (body, {"Authorization": "Basic Og=="}),
        ):  # fmt: skip
            status, answer = await send(served, path, sent, **headers)
            assert (status, answer["code"]) == (401, "unauthenticated"), (path, headers)
        assert "writeKey" in answer["message"]
        _, answer = await send(served, path, body | {"writeKey": served.keys.api_key + "\n"})
        assert "white space" in answer["message"]


async def test_track_is_segments_or_convultras_by_its_body(served: Any) -> None:
    key = f"Bearer {served.keys.api_key}"
    _, answer = await send(served, "/v1/track", {"event_type": "lead"}, Authorization=key)
    assert answer["event_id"].startswith("evt_")
    assert await send(served, "/v1/track", TRACK, Authorization=key) == (200, {"success": True})
    status, answer = await send(served, "/v1/track", {"properties": {}}, Authorization=key)
    assert (status, answer) == (400, {"success": False, "error": "event_type is required."})
    status, answer = await send(served, "/v1/track", {"properties": {}}, Authorization=basic(served.keys.api_key))
    assert (status, answer["field"]) == (400, "event")


async def test_a_body_may_be_gzipped_and_the_limit_holds_for_what_it_unpacks_to(served: Any) -> None:
    headers = {"Authorization": basic(served.keys.api_key), "Content_Encoding": "gzip"}
    for path, body in MESSAGES.items():
        assert (await send(served, path, gzip.compress(json.dumps(body).encode()), **headers))[0] == 200, path
    with_key = gzip.compress(json.dumps(TRACK | {"writeKey": served.keys.api_key}).encode())
    assert (await send(served, "/v1/track", with_key, Content_Encoding="gzip"))[0] == 200
    for size, path, expected in (
        (499_000, "/v1/batch", 200),
        (501_000, "/v1/batch", 413),
        (1_000_001, "/v1/page", 413),
    ):
        body = MESSAGES[path] | {"padding": "x" * size}
        status, answer = await send(served, path, gzip.compress(json.dumps(body).encode()), **headers)
        assert status == expected, (path, size)
    assert "bytes" in answer["message"]
    status, answer = await send(served, "/v1/batch", b"not gzip", **headers)
    assert (status, answer["success"]) == (400, False)


async def test_a_revoked_key_learns_nothing_of_a_body_that_is_looked_into_first(served: Any) -> None:
    _, made = await served.call("POST", "/v1/admin/keys", {"label": "shop", "scopes": ["ingest"]})
    bodies = {b"not gzip": 400, gzip.compress(b"[" + b" " * 1_000_001 + b"]"): 413}
    for kind, key in (("Bearer", made["key"]), ("Basic", basic(made["key"]).removeprefix("Basic "))):
        for body, expected in bodies.items():
            headers = {"Authorization": f"{kind} {key}", "Content_Encoding": "gzip"}
            assert (await send(served, "/v1/track", body, **headers))[0] == expected
    await served.call("DELETE", f"/v1/admin/keys/{made['id']}")
    for kind, key in (("Bearer", made["key"]), ("Basic", basic(made["key"]).removeprefix("Basic "))):
        for body in bodies:
            headers = {"Authorization": f"{kind} {key}", "Content_Encoding": "gzip"}
            assert (await send(served, "/v1/track", body, **headers))[0] == 401


async def test_a_message_of_a_batch_that_cannot_be_used_is_rejected_alone(served: Any) -> None:
    batch = [
        TRACK | {"type": "track"}, {"type": "track"}, 5, TRACK | {"type": "track", "messageId": "x" * 257},
        TRACK | {"type": "track", "messageId": "m-2", "properties": {"currency": "EURO", "revenue": 1}},
        {"type": "page", "anonymousId": "a-1"},
    ]  # fmt: skip
    status, answer = await send(served, "/v1/batch", {"batch": batch}, Authorization=basic(served.keys.api_key))
    assert (status, answer["success"]) == (200, True)
    told = [(one["index"], one.get("field")) for one in answer["rejected"]]
    assert told == [(1, "event"), (2, None), (3, "messageId"), (4, "properties.currency")]
    assert await names(served) == ["signup", "page_view"]


async def test_a_single_message_or_a_body_that_cannot_be_used_is_400(served: Any) -> None:
    auth = basic(served.keys.api_key)
    for path in MESSAGES:
        for body in (b"", b"{", b"[1]", b'"text"', b"null", b"\xff", b"[" * 10_000, b'{"batch": 5}'):
            status, answer = await send(served, path, body, Authorization=auth)
            assert (status, answer["success"]) == (400, False), (path, body)
    status, answer = await send(served, "/v1/track", TRACK | {"timestamp": "soon"}, Authorization=auth)
    assert (status, answer["field"]) == (400, "timestamp")
    assert await names(served) == []


async def test_a_repeat_of_a_message_id_is_not_counted_twice(served: Any) -> None:
    for _ in range(2):
        await send(served, "/v1/track", TRACK, Authorization=basic(served.keys.api_key))
        await send(served, "/v1/batch", MESSAGES["/v1/batch"], Authorization=basic(served.keys.api_key))
    status, _ = await served.call("POST", "/v1/events", {"event": "signup", "event_id": "m-1"})
    assert status == 202
    assert await names(served) == ["signup"]


async def test_an_order_is_the_standard_event_with_its_money_and_lines(served: Any) -> None:
    properties = {
        "order_id": "O-1", "revenue": "27.50", "currency": "EUR", "coupon": "SPRING",
        "products": [{"product_id": "lamp", "price": 13.75, "quantity": 2}],
    }  # fmt: skip
    body = {
        "event": "Order Completed", "userId": "u-1", "properties": properties,
        "context": {"page": {"url": "https://shop.example/thanks"}, "experiments": {"100012": "200034"}},
    }  # fmt: skip
    assert (await send(served, "/v1/track", body, Authorization=basic(served.keys.api_key)))[0] == 200
    event = await newest(served)
    assert (event["name"], event["source_name"], event["order_id"]) == ("purchase", "Order Completed", "O-1")
    assert (event["value"], event["currency"], event["properties"]) == (27.5, "EUR", {"coupon": "SPRING"})
    assert (event["url"], event["experiments"]) == ("https://shop.example/thanks", {"100012": "200034"})
    assert [(item["product_id"], item["quantity"]) for item in event["items"]] == [("lamp", 2)]


async def test_identify_joins_the_person_to_the_visitor_and_keeps_no_plaintext(served: Any) -> None:
    body = {
        "userId": "u-1", "anonymousId": "a-1",
        "traits": {"email": "ann@example.com", "name": "Ann Lee", "address": {"city": "Rome"}, "plan": "pro"},
    }  # fmt: skip
    await send(served, "/v1/identify", body, Authorization=basic(served.keys.api_key))
    event = await newest(served)
    assert (event["name"], event["visitor_id"], event["properties"]) == ("identify", "a-1", {"plan": "pro"})
    assert {"email_sha256", "first_name_sha256", "city_sha256", "external_id_sha256"} <= event["identifiers"].keys()
    await send(served, "/v1/track", TRACK, Authorization=basic(served.keys.api_key))
    assert (await newest(served))["identifiers"]["email_sha256"] == "link"


@pytest.fixture
def closed() -> Iterator[None]:
    """The library's session is one for the process; its sockets are closed here."""
    yield
    request._session.close()


def client_of(host: str, served: Any, **more: Any) -> Client:
    return Client(served.keys.api_key, host=host, upload_interval=0.01, on_error=_raise, **more)


def _raise(error: Exception, items: object) -> None:
    raise error


async def finish(client: Client) -> None:
    await asyncio.to_thread(client.flush)
    await asyncio.to_thread(client.shutdown)


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize("gzipped", [False, True])
async def test_the_python_library_delivers_track_page_identify_and_alias(served: Any, gzipped: bool) -> None:
    client = client_of(served.url, served, gzip=gzipped)
    at = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
    client.identify("u-1", {"email": "ann@example.com", "plan": "pro"}, anonymous_id="a-1")
    client.page("u-1", "Shop", "Home", {"url": "https://shop.example/"}, anonymous_id="a-1")
    client.alias("a-1", "u-1")
    client.group("u-1", "g-1", {"name": "Acme"})
    client.screen("u-1", None, "Cart")
    client.track("u-1", "Order Completed", {"order_id": "O-1", "revenue": 27.5, "currency": "EUR"}, timestamp=at)
    await finish(client)
    assert await names(served) == ["identify", "page_view", "alias", "group", "screen", "purchase"]
    event = await newest(served)
    assert (event["value"], event["order_id"], event["occurred_at"]) == (27.5, "O-1", "2026-06-01T12:00:00Z")
    assert event["identifiers"]["email_sha256"] == "link"


@contextlib.asynccontextmanager
async def cutting(served: Any, cuts: int) -> AsyncIterator[tuple[str, list[int]]]:
    """A way to the hub that cuts the first connections when the answer has come, before anything of it is passed on.
    Gives its address, and the statuses that the hub answered."""
    port = int(served.url.rpartition(":")[2])
    statuses: list[int] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(_length(head))
        there, back = await asyncio.open_connection("127.0.0.1", port)
        back.write(head + body)
        answer = await there.readuntil(b"\r\n\r\n")
        answer += await there.readexactly(_length(answer))
        statuses.append(int(answer.split()[1]))
        if len(statuses) > cuts:
            writer.write(answer)
        for end in (back, writer):
            end.close()
            await end.wait_closed()

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", statuses


def _length(head: bytes) -> int:
    lines = [line.partition(b":") for line in head.lower().split(b"\r\n")]
    return next((int(value) for name, _, value in lines if name == b"content-length"), 0)


@pytest.mark.usefixtures("closed")
async def test_a_retry_of_the_python_library_after_a_cut_connection_counts_once(served: Any) -> None:
    async with cutting(served, cuts=1) as (host, statuses):
        client = client_of(host, served)
        client.track("u-1", "Order Completed", {"order_id": "O-1", "revenue": 27.5, "currency": "EUR"})
        client.track("u-1", "Signed Up")
        await finish(client)
    assert len(statuses) > 1  # more where the library sent the two apart
    assert set(statuses) == {200}
    assert sorted(await names(served)) == ["purchase", "signup"]
