"""The ingest paths over real sockets: what is refused, how it is said, and that nothing of it is written."""

import asyncio
import contextlib
import gzip
import json
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

NATIVE = {"event": "purchase", "event_id": "e1", "value": 10, "currency": "USD"}
PATHS = {
    "/v1/events": NATIVE,
    "/v1/track": {"event_type": "purchase", "properties": {"order_id": "o1", "value": 10}},
    "/v1/track/batch": {"events": [{"event_type": "purchase"}]},
    "/api/v1/events": {"event": "purchase", "value": 10, "currency": "USD"},
}
EACH_PATH = pytest.mark.parametrize("path", PATHS)


def stored(served: Any) -> int:
    with psycopg.connect(served.dsn.reveal()) as conn:
        row = conn.execute("SELECT count(*) FROM event").fetchone()
        assert row is not None
        return row[0]


def message_of(body: Any) -> str:
    error = body["error"]
    return error if isinstance(error, str) else error["message"]


@EACH_PATH
async def test_each_dialect_takes_its_event(served: Any, path: str) -> None:
    status, body = await served.call("POST", path, PATHS[path])
    assert status in (200, 202), body
    assert stored(served) == 1


@EACH_PATH
async def test_a_request_without_a_key_is_401_and_says_how(served: Any, path: str) -> None:
    async with served.http.post(served.url + path, json=PATHS[path]) as answer:
        assert answer.status == 401
        assert "Authorization: Bearer" in message_of(await answer.json())
        assert answer.headers["X-Request-Id"]


UNREADABLE = {
    b"": (400,),
    b"{": (400,),
    b"[1]": (400, 422),
    b'"text"': (400, 422),
    b"7": (400, 422),
    b"null": (400, 422),
    b"NaN": (400,),
    b"\xff\xfe": (400,),
    b"[" * 10_000 + b"]" * 10_000: (400, 422),
    b'{"x":' * 10_000 + b"1" + b"}" * 10_000: (400,),
    b'{"event": "a\\u0000b"}': (400, 422),
}


@EACH_PATH
async def test_a_body_that_cannot_be_read_is_a_4xx_and_changes_nothing(served: Any, path: str) -> None:
    for body, expected in UNREADABLE.items():
        status, answer = await served.call("POST", path, body, headers={"Content-Type": "application/json"})
        assert status in expected, (body[:30], answer)
        assert "error" in answer
    assert stored(served) == 0


WRONG = [
    ("event", ""), ("event", 7), ("event", None), ("event", "x" * 101),
    ("event_id", ""), ("event_id", "x" * 257), ("event_id", 7), ("event_id", "nul\x00"),
    ("value", "10"), ("value", -1), ("value", True), ("value", [1]),
    ("currency", "XYZ"), ("currency", 7),
    ("occurred_at", "yesterday"), ("occurred_at", 1700000000), ("occurred_at", "0000-01-01T00:00:00Z"),
    ("occurred_at", "9999-12-31T23:59:59Z"), ("occurred_at", "1999-12-31T23:59:59Z"),
    ("user_data.email", 7), ("user_data.phone", ["+15550100"]), ("items", "none"), ("order_id", "x" * 257),
    ("properties", [1]), ("visitor_id", ""), ("consent", "yes"),
]  # fmt: skip


async def test_a_purpose_of_unknown_name_is_refused_and_the_known_ones_are_listed(served: Any) -> None:
    status, answer = await served.call("POST", "/v1/events", NATIVE | {"consent": {"ad_userdata": False}})
    assert (status, answer["error"]["field"]) == (422, "consent.ad_userdata")
    assert "analytics, ad_user_data, ad_personalization" in answer["error"]["message"]
    assert stored(served) == 0


async def test_a_wrong_field_is_named(served: Any) -> None:
    for field, value in WRONG:
        body: dict[str, Any] = dict(NATIVE)
        if "." in field:
            outer, inner = field.split(".")
            body[outer] = {inner: value}
        else:
            body[field] = value
        status, answer = await served.call("POST", "/v1/events", body)
        assert status == 422, (field, value, answer)
        assert answer["error"]["field"] == field, (field, value, answer)
        assert answer["status"] == "invalid"
    assert stored(served) == 0


@pytest.mark.parametrize("token", ["1e400", "-1e400", "1" * 60, "1e-400"])
async def test_a_number_that_no_decimal_holds_is_refused_by_name(served: Any, token: str) -> None:
    body = b'{"event": "purchase", "currency": "USD", "value": ' + token.encode() + b"}"
    status, answer = await served.call("POST", "/v1/events", body, headers={"Content-Type": "application/json"})
    assert (status, answer["error"]["field"]) == (422, "value")


async def test_half_a_surrogate_pair_is_refused_by_name(served: Any) -> None:
    body = b'{"event": "purchase", "order_id": "\\ud83d"}'
    status, answer = await served.call("POST", "/v1/events", body, headers={"Content-Type": "application/json"})
    assert (status, answer["error"]["field"]) == (422, "order_id")


async def test_a_wrong_item_of_a_list_harms_no_other(served: Any) -> None:
    events = [NATIVE | {"event_id": "a"}, NATIVE | {"value": "x"}, NATIVE | {"event_id": "b"}]
    status, answer = await served.call("POST", "/v1/events", {"events": events})
    assert status == 202
    assert [r["status"] for r in answer["results"]] == ["accepted", "invalid", "accepted"]
    assert answer["results"][1]["error"]["field"] == "value"
    assert stored(served) == 2


async def test_a_request_without_events_is_answered_from_a_known_key_too(served: Any) -> None:
    for _ in range(2):  # the key is looked up for the first, and known for the second
        assert await served.call("POST", "/v1/batch", {"batch": []}) == (200, {"success": True})


async def test_ndjson_is_a_list(served: Any) -> None:
    body = "\n".join(json.dumps(NATIVE | {"event_id": f"n{n}"}) for n in range(5)).encode()
    status, answer = await served.call("POST", "/v1/events", body, headers={"Content-Type": "application/x-ndjson"})
    assert status == 202
    assert len(answer["results"]) == 5
    assert stored(served) == 5


async def test_a_gzipped_body_is_unpacked_to_the_limit_and_no_further(served: Any) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    status, _ = await served.call("POST", "/v1/events", gzip.compress(json.dumps(NATIVE).encode()), headers=headers)
    assert status == 202
    bomb = gzip.compress(b'{"x": "' + b"a" * 50_000_000 + b'"}')
    status, _ = await served.call("POST", "/v1/events", bomb, headers=headers)
    assert status == 413
    status, _ = await served.call("POST", "/v1/events", b"not gzip", headers=headers)
    assert status == 400
    status, _ = await served.call("POST", "/v1/events", gzip.compress(b"{}")[:-4], headers=headers)
    assert status == 400
    assert stored(served) == 1


@EACH_PATH
async def test_a_body_over_the_limit_is_413_in_the_dialects_shape(served: Any, path: str) -> None:
    status, answer = await served.call(
        "POST", path, b'{"x": "' + b"a" * 5_000_000 + b'"}', headers={"Content-Type": "application/json"}
    )
    assert status == 413
    assert "bytes" in message_of(answer)


@EACH_PATH
async def test_another_method_is_405_and_another_type_415(served: Any, path: str) -> None:
    async with served.http.put(served.url + path, headers={"Authorization": "Bearer x"}) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    status, _ = await served.call("POST", path, b"a=b", headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert status == 415


async def test_an_unknown_path_is_404_in_json(served: Any) -> None:
    status, answer = await served.call("GET", "/nowhere")
    assert (status, answer["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("pb_live_unknown", "Invalid API key"),
        ("pb_test_unknown", "test key on a live deployment"),
        (" pb_live_x", "white space"),
    ],
)
async def test_a_wrong_key_is_told_what_is_wrong_with_it(served: Any, key: str, words: str) -> None:
    status, answer = await served.call("POST", "/v1/events", NATIVE, key=key)
    assert status == 401
    assert words in answer["error"]["message"]


async def test_a_key_of_a_convultra_call_may_stand_in_the_query_and_white_space_is_seen(served: Any) -> None:
    path = f"/v1/track?api_key={served.keys.api_key}"
    async with served.http.post(served.url + path, json=PATHS["/v1/track"]) as answer:
        assert answer.status == 200
    async with served.http.post(served.url + path + "%0A", json=PATHS["/v1/track"]) as answer:
        assert answer.status == 401
        assert "white space" in message_of(await answer.json())


async def test_a_key_in_the_query_opens_no_other_path(served: Any) -> None:
    path = f"/v1/events?api_key={served.keys.api_key}"
    async with served.http.post(served.url + path, json=NATIVE) as answer:
        assert answer.status == 401


async def test_a_site_key_of_nobody_is_403_by_name(served: Any) -> None:
    status, answer = await served.call("POST", "/v1/events", NATIVE | {"site_key": "site_other"})
    assert status == 403
    assert answer["error"]["field"] == "site_key"
    status, _ = await served.call("POST", "/v1/events", NATIVE | {"site_key": served.keys.site_key})
    assert status == 202


async def test_a_dry_run_shows_the_request_and_writes_nothing(served: Any) -> None:
    config = {"dataset_id": "12345", "access_token": "planted-token"}
    install = "/v1/admin/integration-catalog/meta/install"
    status, _ = await served.call("POST", install, {"name": "Meta", "variant": "default", "config": config})
    assert status == 201
    event = NATIVE | {"user_data": {"email": "jane@example.com"}}
    status, answer = await served.call("POST", "/v1/events?dry_run=1", event)
    assert status == 202
    [destination] = answer["destinations"]
    request = destination["request"]
    assert request["method"] == "POST"
    assert "/12345/events" in request["url"]
    assert "planted-token" not in str(answer)
    assert "em" in str(request["body"])
    assert stored(served) == 0


@pytest.mark.parametrize(("said", "status", "rows"), [("True", 202, 0), ("yes", 202, 0), ("0", 202, 1), ("No", 202, 1)])
async def test_a_dry_run_is_asked_for_or_not_in_any_case(served: Any, said: str, status: int, rows: int) -> None:
    assert (await served.call("POST", f"/v1/events?dry_run={said}", NATIVE))[0] == status
    assert stored(served) == rows


@pytest.mark.parametrize("said", ["dry_run", "dry_run=", "dry_run=2", "dry_run=maybe", "dry_run=%00", "x=1&dry_run=on"])
async def test_what_may_be_a_dry_run_is_refused_and_writes_nothing(served: Any, said: str) -> None:
    status, answer = await served.call("POST", f"/v1/events?{said}", NATIVE)
    assert (status, answer["error"]["field"]) == (422, "dry_run")
    assert stored(served) == 0


async def test_the_status_of_an_event_is_told_by_every_id_it_has(served: Any) -> None:
    await served.call("POST", "/v1/events", NATIVE | {"event_id": "with/slash é"})
    for id_ in ("with%2Fslash%20%C3%A9",):
        async with served.http.get(
            f"{served.url}/v1/events/{id_}", headers={"Authorization": f"Bearer {served.keys.api_key}"}
        ) as answer:
            assert answer.status == 200
    _, tracked = await served.call("POST", "/v1/track", PATHS["/v1/track"])
    status, shown = await served.call("GET", f"/v1/events/{tracked['event_id']}")
    assert (status, shown["event"]) == (200, "purchase")
    status, _ = await served.call("GET", "/v1/events/unknown")
    assert status == 404


async def test_a_slow_body_is_given_up_and_disturbs_nobody(served: Any) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.keys.api_key}\r\n"
        "Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{"
    )
    writer.write(head.encode())
    status, _ = await served.call("POST", "/v1/events", NATIVE)
    assert status == 202
    answer = await asyncio.wait_for(reader.read(), 40)
    assert answer.startswith(b"HTTP/1.1 408")
    writer.close()


async def test_a_wrong_content_length_is_refused_or_the_connection_closed(served: Any) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    for length in ("-1", "abc", "5, 6"):
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nContent-Length: {length}\r\n\r\n{{}}"
        writer.write(head.encode())
        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
        writer.close()
    status, _ = await served.call("POST", "/v1/events", NATIVE)
    assert status == 202


async def test_a_repeat_shows_the_first_events_destinations(served: Any) -> None:
    install = "/v1/admin/integration-catalog/webhook/install"
    await served.call("POST", install, {"name": "Hook", "variant": "default", "config": {"url": "http://127.0.0.1:9/"}})
    _, first = await served.call("POST", "/v1/events", NATIVE)
    status, again = await served.call("POST", "/v1/events", NATIVE)
    assert (status, again["status"], again["event_id"]) == (202, "duplicate", "e1")
    assert [d["id"] for d in again["destinations"]] == [d["id"] for d in first["destinations"]]


async def test_a_revoked_key_learns_nothing_not_even_what_is_wrong_with_its_body(served: Any) -> None:
    _, made = await served.call("POST", "/v1/admin/keys", {"label": "gone", "scopes": ["ingest"]})
    assert (await served.call("POST", "/v1/events", NATIVE, key=made["key"]))[0] == 202
    status, _ = await served.call("DELETE", f"/v1/admin/keys/{made['id']}")
    assert status == 204
    for body in (NATIVE, {"event": 7}, {"events": []}):
        assert (await served.call("POST", "/v1/events", body, key=made["key"]))[0] == 401
    assert (await served.call("POST", "/v1/events?dry_run=1", NATIVE, key=made["key"]))[0] == 401
    assert (await served.call("GET", "/v1/events/e1", key=made["key"]))[0] == 401


async def test_a_gzipped_body_of_two_parts_is_refused_not_half_read(served: Any) -> None:
    headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
    parts = b"".join(gzip.compress(json.dumps(NATIVE | {"event_id": f"g{n}"}).encode() + b"\n") for n in range(2))
    status, _ = await served.call("POST", "/v1/events", parts, headers=headers)
    assert status == 400
    assert stored(served) == 0


async def test_a_purchase_that_is_not_completed_is_kept_and_not_delivered(served: Any) -> None:
    install = "/v1/admin/integration-catalog/webhook/install"
    await served.call("POST", install, {"name": "Hook", "variant": "default", "config": {"url": "http://127.0.0.1:9/"}})
    for status, expected in (("pending", "skipped"), ("completed", "queued"), ("processing", "skipped")):
        event = NATIVE | {"event_id": status, "order_id": "o1", "order_status": status}
        _, answer = await served.call("POST", "/v1/events", event)
        assert answer["destinations"][0]["status"] == expected, status
    assert stored(served) == 3


async def test_a_key_of_one_site_does_not_see_the_events_of_another(served: Any) -> None:
    with psycopg.connect(served.dsn.reveal()) as conn:
        row = conn.execute("SELECT workspace_id FROM site").fetchone()
        assert row is not None
        conn.execute(
            "INSERT INTO site (id, workspace_id, name, site_key, created_at) VALUES (gen_random_uuid(), %s, 'b', 'b', now())",
            row,
        )
        other = conn.execute("SELECT id FROM site WHERE name = 'b'").fetchone()
        assert other is not None
    _, made = await served.call("POST", "/v1/admin/keys", {"label": "first", "scopes": ["ingest"]})
    await served.call("POST", "/v1/events", NATIVE, key=made["key"])
    with psycopg.connect(served.dsn.reveal()) as conn:
        conn.execute("UPDATE api_key SET site_id = %s WHERE id = %s", [other[0], made["id"]])
        conn.execute("UPDATE config_version SET version = version + 1")
    assert (await served.call("GET", "/v1/events/e1", key=made["key"]))[0] == 404
    assert (await served.call("GET", "/v1/events/e1"))[0] == 200


async def test_a_head_without_end_is_given_up(served: Any) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/events HTTP/1.1\r\nHost: x\r\n")
    for _ in range(2000):
        writer.write(b"x-more: " + b"a" * 100 + b"\r\n")
        try:
            await writer.drain()
        except ConnectionError:
            break
    answer = b""
    with contextlib.suppress(ConnectionError):
        answer = await asyncio.wait_for(reader.read(), 10)
    assert answer == b"" or b"431" in answer
    writer.close()


async def test_an_answer_that_cannot_be_given_is_500_and_told_to_the_log(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served.call("POST", "/v1/events", NATIVE)  # so that its key is known, and the next goes the direct way
    monkeypatch.setattr("postback.web.ingest._finish", lambda *_: 1 // 0)
    with capture_logs() as told:
        status, _ = await served.call("POST", "/v1/events", NATIVE | {"event_id": "e2"})
    assert (status, stored(served)) == (500, 2)
    assert [line["event"] for line in told] == ["request failed"]
