"""What every path of the admin API does alike: errors, limits, cursors, ids of answers, walls between workspaces."""

import gzip
from typing import Any

import pytest

ADMIN = "/v1/admin"
NOBODY = "01a1fbf7-086b-7ab2-9996-26a150972041"
WEBHOOK = {"name": "hook", "variant": "default", "config": {"url": "http://127.0.0.1:9/hook"}}
LISTS = (
    "keys", "integration-catalog", "destinations", "events", "deliveries", "sites", "goals", "event-types", "plans", "audit",
    "workspaces",
)  # fmt: skip
BAD_JSON = [b"{", b"\xff\xfe", b"NaN", b'{"label": "a", "scopes": ["read"]} x', b'{"x": ' + b"[" * 10_000]
EACH_LIST = pytest.mark.parametrize("name", LISTS)


async def test_every_answer_bears_an_id(served: Any) -> None:
    seen = set()
    for path in ("/healthz", f"{ADMIN}/keys", "/nowhere", f"{ADMIN}/keys/{NOBODY}"):
        async with served.http.get(served.url + path) as answer:
            seen.add(answer.headers["X-Request-Id"])
    assert len(seen) == 4


async def test_no_browser_keeps_an_answer(served: Any) -> None:
    """Who is signed in may call by the cookie; what the answers hold of people must be gone with the session."""
    for path in ("keys", "events", "sites"):
        headers = {"Authorization": f"Bearer {served.keys.admin_key}"}
        async with served.http.get(f"{served.url}/v1/admin/{path}", headers=headers) as answer:
            assert (answer.status, answer.headers.get("Cache-Control")) == (200, "no-store")


@pytest.mark.parametrize("path", ["/nowhere", "/v1/admin", "/v1/admin/nothing", "/v1/admin/events/x", "/v1", "//"])
async def test_an_unknown_path_is_404_in_json(served: Any, path: str) -> None:
    status, body = await served.call("GET", path)
    assert (status, body["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"])
async def test_another_method_is_405_and_says_which(served: Any, method: str) -> None:
    headers = {"Authorization": f"Bearer {served.keys.admin_key}"}
    async with served.http.request(method, f"{served.url}{ADMIN}/keys", headers=headers) as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET, POST"


@pytest.mark.parametrize("body", BAD_JSON)
async def test_what_is_no_json_is_400(served: Any, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    status, answer = await served.call("POST", f"{ADMIN}/keys", body, headers=headers)
    assert (status, answer["error"]["code"]) == (400, "bad_request")


@pytest.mark.parametrize("body", [b"[]", b"7", b'"x"', b"null"])
async def test_json_that_is_no_object_is_422(served: Any, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    assert (await served.call("POST", f"{ADMIN}/keys", body, headers=headers))[0] == 422


@pytest.mark.parametrize("text", [rb"\u0000", rb"\ud800", rb"\udc00\ud800"])
async def test_text_that_cannot_be_stored_is_refused_by_name(served: Any, text: bytes) -> None:
    body = b'{"scopes": ["ingest"], "label": "a' + text + b'"}'
    status, answer = await served.call("POST", f"{ADMIN}/keys", body, headers={"Content-Type": "application/json"})
    assert (status, answer["error"]["field"]) == (422, "label")


async def test_a_body_over_one_megabyte_is_413_plain_or_gzipped(served: Any) -> None:
    body = b'{"label": "' + b"x" * 1_000_000 + b'"}'
    headers = {"Content-Type": "application/json"}
    assert (await served.call("POST", f"{ADMIN}/keys", body, headers=headers))[0] == 413
    packed = headers | {"Content-Encoding": "gzip"}
    assert (await served.call("POST", f"{ADMIN}/keys", gzip.compress(body), headers=packed))[0] == 413


@pytest.mark.parametrize("header", [{"Content-Type": "text/plain"}, {"Content-Encoding": "br"}])
async def test_another_kind_of_body_is_415(served: Any, header: dict[str, str]) -> None:
    headers = {"Content-Type": "application/json"} | header
    assert (await served.call("POST", f"{ADMIN}/keys", b"{}", headers=headers))[0] == 415


async def test_unknown_fields_are_ignored(served: Any) -> None:
    body = {"label": "x", "scopes": ["ingest"], "colour": "blue"}
    assert (await served.call("POST", f"{ADMIN}/keys", body))[0] == 201


@EACH_LIST
@pytest.mark.parametrize("limit", ["0", "-1", "501", "ten", "", "1.5", "99999999999999999999"])
async def test_a_limit_that_cannot_be_is_refused_by_name(served: Any, name: str, limit: str) -> None:
    status, body = await served.call("GET", f"{ADMIN}/{name}?limit={limit}")
    assert (status, body["error"]["field"]) == (422, "limit")


@EACH_LIST
@pytest.mark.parametrize("cursor", ["%00", "%C3%A9", "A", "x" * 101])
async def test_a_cursor_that_no_list_gave_is_refused_by_name(served: Any, name: str, cursor: str) -> None:
    status, body = await served.call("GET", f"{ADMIN}/{name}?cursor={cursor}")
    assert (status, body["error"]["field"]) == (422, "cursor")


async def test_lists_are_walked_by_cursor_each_item_once(served: Any) -> None:
    for number in range(5):
        await served.call("POST", f"{ADMIN}/keys", {"label": f"key {number}", "scopes": ["ingest"]})
        hook = WEBHOOK | {"name": f"hook {number}"}
        await served.call("POST", f"{ADMIN}/integration-catalog/webhook/install", hook)
        await served.call("POST", "/v1/events", {"event": "purchase", "event_id": f"e{number}"})
    for name, expected in (("keys", 7), ("destinations", 5), ("events", 5), ("deliveries", 15)):
        _, everything = await served.call("GET", f"{ADMIN}/{name}")
        assert everything["next_cursor"] is None
        assert len(everything["items"]) == expected
        walked, cursor = [], ""
        while cursor is not None:
            _, page = await served.call("GET", f"{ADMIN}/{name}?limit=2{cursor and '&cursor=' + cursor}")
            assert len(page["items"]) <= 2
            walked += page["items"]
            cursor = page["next_cursor"]
        assert [item["id"] for item in walked] == [item["id"] for item in everything["items"]]


@pytest.fixture
async def neighbour(served: Any) -> Any:
    """The keys of another workspace."""
    status, workspace = await served.call("POST", f"{ADMIN}/workspaces", {"name": "neighbour"})
    assert status == 201
    return workspace


async def test_a_new_workspace_has_keys_that_work(served: Any, neighbour: Any) -> None:
    assert neighbour["name"] == "neighbour"
    assert (await served.call("POST", "/v1/events", {"event": "lead"}, key=neighbour["api_key"]))[0] == 202
    _, sites = await served.call("GET", f"{ADMIN}/sites", key=neighbour["admin_key"])
    assert [(site["id"], site["site_key"]) for site in sites["items"]] == [(neighbour["site"], neighbour["site_key"])]


async def test_only_the_installation_makes_workspaces(served: Any, neighbour: Any) -> None:
    assert (await served.call("POST", f"{ADMIN}/workspaces", {"name": "x"}, key=neighbour["admin_key"]))[0] == 403


async def test_workspaces_are_walls(served: Any, neighbour: Any) -> None:
    _, key = await served.call("POST", f"{ADMIN}/keys", {"label": "x", "scopes": ["ingest"]})
    _, destination = await served.call("POST", f"{ADMIN}/integration-catalog/webhook/install", WEBHOOK)
    await served.call("POST", "/v1/events", {"event": "purchase", "event_id": "e1", "order_id": "o1"})
    _, events = await served.call("GET", f"{ADMIN}/events")
    _, deliveries = await served.call("GET", f"{ADMIN}/deliveries")
    event, delivery = events["items"][0], deliveries["items"][0]
    theirs = neighbour["admin_key"]
    for method, path in (
        ("DELETE", f"keys/{key['id']}"),
        ("POST", f"keys/{key['id']}/rotate"),
        ("GET", f"destinations/{destination['id']}"),
        ("PATCH", f"destinations/{destination['id']}"),
        ("DELETE", f"destinations/{destination['id']}"),
        ("POST", f"destinations/{destination['id']}/pause"),
        ("POST", f"destinations/{destination['id']}/resume"),
        ("POST", f"destinations/{destination['id']}/probe"),
        ("GET", f"events/{event['id']}"),
        ("GET", f"deliveries/{delivery['id']}"),
    ):
        status, body = await served.call(method, f"{ADMIN}/{path}", {} if method == "PATCH" else None, key=theirs)
        assert (status, body["error"]["code"]) == (404, "not_found"), path
    for path in (
        "events",
        "events?event_id=e1",
        f"events?event_id={event['id']}",
        "events?order_id=o1",
        f"events?site={served.keys.site}",
        "deliveries",
        f"deliveries?destination={destination['id']}",
        "destinations",
        "ledger",
    ):
        _, body = await served.call("GET", f"{ADMIN}/{path}", key=theirs)
        assert body["items"] == [], path
    assert (await served.call("GET", "/v1/events/e1", key=neighbour["api_key"]))[0] == 404
    status, body = await served.call(
        "POST", f"{ADMIN}/keys", {"label": "x", "scopes": ["ingest"], "site": served.keys.site}, key=theirs
    )
    assert (status, body["error"]["field"]) == (422, "site")
    assert (await served.call("GET", f"{ADMIN}/destinations/{destination['id']}"))[1]["status"] == "active"
    assert (await served.call("POST", "/v1/events", {"event": "lead"}, key=key["key"]))[0] == 202


@pytest.mark.parametrize(
    "path",
    [
        f"events/{NOBODY}",
        f"destinations/{NOBODY}",
        f"deliveries/{NOBODY}",
        "deliveries/x-y",
        "integration-catalog/none",
    ],
)
async def test_what_is_not_there_is_404(served: Any, path: str) -> None:
    assert (await served.call("GET", f"{ADMIN}/{path}"))[0] == 404
