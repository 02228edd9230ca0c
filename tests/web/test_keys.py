"""`/v1/admin/keys`: made once, shown once, rotated, revoked; and who may."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

KEYS = "/v1/admin/keys"
EVENT = {"event": "purchase", "value": 10, "currency": "USD"}


async def made(served: Any, **more: Any) -> Any:
    status, key = await served.call("POST", KEYS, {"label": "shop", "scopes": ["ingest"], **more})
    assert status == 201, key
    return key


async def test_a_new_key_opens_at_once_and_is_shown_once(served: Any) -> None:
    key = await made(served)
    assert key["key"].endswith(key["last_four"])
    status, _ = await served.call("POST", "/v1/events", EVENT, key=key["key"])
    assert status == 202
    _, listed = await served.call("GET", KEYS)
    assert listed["items"][0]["id"] == key["id"]
    assert all("key" not in item for item in listed["items"])
    assert key["key"] not in str(listed)


async def test_prefix_site_and_expiry_are_kept(served: Any) -> None:
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    key = await made(served, prefix="vel", site=served.keys.site, expires_at=until)
    assert key["key"].startswith("vel_live_")
    assert key["site"] == served.keys.site
    assert datetime.fromisoformat(key["expires_at"]) == datetime.fromisoformat(until)


async def test_a_key_with_the_prefix_sel_names_no_environment(served: Any) -> None:
    key = await made(served, prefix="sel")
    assert key["key"].count("_") == 1
    assert key["environment"] is None


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"label": ""}, "label"),
        ({"label": 7}, "label"),
        ({"label": "x" * 101}, "label"),
        ({"label": "a\x00b"}, "label"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["all"]}, "scopes[0]"),
        ({"scopes": "ingest"}, "scopes"),
        ({"prefix": "Vel"}, "prefix"),
        ({"prefix": "a_b"}, "prefix"),
        ({"site": "01a1fbf7-086b-7ab2-9996-26a150972041"}, "site"),
        ({"site": "shop"}, "site"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"rate_limit_per_minute": -1}, "rate_limit_per_minute"),
        ({"rate_limit_per_minute": 1.5}, "rate_limit_per_minute"),
        ({"rate_limit_per_minute": 10**7}, "rate_limit_per_minute"),
    ],
)
async def test_a_field_that_cannot_be_used_is_named(served: Any, sent: dict[str, Any], field: str) -> None:
    status, body = await served.call("POST", KEYS, {"label": "shop", "scopes": ["ingest"], **sent})
    assert (status, body["error"]["field"]) == (422, field)


async def test_a_missing_field_is_named(served: Any) -> None:
    status, body = await served.call("POST", KEYS, {"scopes": ["ingest"]})
    assert (status, body["error"]["field"]) == (422, "label")


async def test_revoked_is_401_at_once_and_revoking_again_is_harmless(served: Any) -> None:
    key = await made(served)
    assert (await served.call("POST", "/v1/events", EVENT, key=key["key"]))[0] == 202
    for _ in range(2):
        assert await served.call("DELETE", f"{KEYS}/{key['id']}") == (204, None)
        assert (await served.call("POST", "/v1/events", EVENT, key=key["key"]))[0] == 401
    _, listed = await served.call("GET", KEYS)
    assert listed["items"][0]["revoked_at"] is not None


async def test_an_admin_key_that_was_revoked_changes_nothing_more(served: Any) -> None:
    key = await made(served, scopes=["admin"])
    assert (await served.call("GET", KEYS, key=key["key"]))[0] == 200
    await served.call("DELETE", f"{KEYS}/{key['id']}")
    for method, path in (("GET", KEYS), ("POST", KEYS), ("DELETE", f"{KEYS}/{key['id']}")):
        assert (await served.call(method, path, key=key["key"]))[0] == 401


async def test_rotation_replaces_a_key_at_once(served: Any) -> None:
    old = await made(served, prefix="vel")
    status, new = await served.call("POST", f"{KEYS}/{old['id']}/rotate", {})
    assert status == 201
    assert (new["label"], new["scopes"], new["prefix"]) == (old["label"], old["scopes"], "vel")
    assert (await served.call("POST", "/v1/events", EVENT, key=old["key"]))[0] == 401
    assert (await served.call("POST", "/v1/events", EVENT, key=new["key"]))[0] == 202


async def test_rotation_with_grace_keeps_the_old_key_open_until_then(served: Any) -> None:
    old = await made(served)
    status, new = await served.call("POST", f"{KEYS}/{old['id']}/rotate", {"grace_seconds": 60})
    assert status == 201
    for key in (old, new):
        assert (await served.call("POST", "/v1/events", EVENT, key=key["key"]))[0] == 202


async def test_rotation_needs_no_body(served: Any) -> None:
    old = await made(served)
    assert (await served.call("POST", f"{KEYS}/{old['id']}/rotate"))[0] == 201


async def test_a_key_that_is_revoked_is_not_rotated(served: Any) -> None:
    key = await made(served)
    await served.call("DELETE", f"{KEYS}/{key['id']}")
    assert (await served.call("POST", f"{KEYS}/{key['id']}/rotate", {}))[0] == 404


async def test_a_reading_key_reads_and_changes_nothing(served: Any) -> None:
    key = await made(served, scopes=["read"])
    assert (await served.call("GET", KEYS, key=key["key"]))[0] == 200
    status, body = await served.call("POST", KEYS, {"label": "x", "scopes": ["ingest"]}, key=key["key"])
    assert (status, body["error"]["code"]) == (403, "forbidden")


async def test_an_ingest_key_opens_nothing_here(served: Any) -> None:
    assert (await served.call("GET", KEYS, key=served.keys.api_key))[0] == 403


async def test_a_key_of_one_site_opens_nothing_here(served: Any) -> None:
    key = await made(served, scopes=["admin"], site=served.keys.site)
    assert (await served.call("GET", KEYS, key=key["key"]))[0] == 403


@pytest.mark.parametrize("scope", ["installation", "erase"])
async def test_no_key_gives_a_guarded_scope_that_it_lacks(served: Any, scope: str) -> None:
    admin = await made(served, scopes=["admin"])
    status, body = await served.call("POST", KEYS, {"label": "x", "scopes": [scope]}, key=admin["key"])
    assert (status, body["error"]["field"]) == (403, "scopes")
    guarded = await made(served, scopes=["read", scope])
    assert (await served.call("POST", f"{KEYS}/{guarded['id']}/rotate", {}, key=admin["key"]))[0] == 403


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic abc", "Bearer pb_live_none", "Bearer pb_test_none", "Bearer \u00e9"]
)
async def test_without_a_right_key_it_is_401(served: Any, header: str) -> None:
    async with served.http.get(served.url + KEYS, headers={"Authorization": header}) as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert (await answer.json())["error"]["code"] == "unauthenticated"


async def test_a_key_in_the_query_is_not_taken(served: Any) -> None:
    async with served.http.get(f"{served.url}{KEYS}?api_key={served.keys.admin_key}") as answer:
        assert answer.status == 401


async def test_a_rate_limit_is_kept_and_goes_over_to_the_replacement(served: Any) -> None:
    for limit in (0, 600, None):
        key = await made(served, rate_limit_per_minute=limit)
        assert key["rate_limit_per_minute"] == limit
        _, new = await served.call("POST", f"{KEYS}/{key['id']}/rotate", {})
        assert new["rate_limit_per_minute"] == limit


async def test_a_key_that_was_never_used_says_so(served: Any) -> None:
    await made(served)
    shown = (await served.call("GET", KEYS))[1]["items"][0]
    assert (shown["last_used_at"], shown["last_used_from"], shown["calls_24h"], shown["errors_24h"]) == (
        None,
        None,
        0,
        0,
    )


async def test_calls_and_refusals_of_a_key_are_counted_by_every_way_in(served: Any) -> None:
    key = await made(served, scopes=["ingest", "read"])
    before = datetime.now(UTC)
    for method, path, body in (
        ("POST", "/v1/events", EVENT),
        ("POST", "/v1/events", EVENT),
        ("POST", "/v1/events", {"event": 7}),
        ("POST", "/v1/events", b"{"),
        ("GET", "/v1/events/nothing", None),
        ("GET", KEYS, None),
        ("POST", KEYS, {}),
    ):
        await served.call(method, path, body, key=key["key"])
    _, listed = await served.call("GET", KEYS)
    shown = next(item for item in listed["items"] if item["id"] == key["id"])
    assert (shown["calls_24h"], shown["errors_24h"]) == (7, 4)
    assert before <= datetime.fromisoformat(shown["last_used_at"]) <= datetime.now(UTC)
    assert shown["last_used_from"] == "127.0.0.0/24"


async def test_a_key_that_is_revoked_is_counted_no_more(served: Any) -> None:
    key = await made(served)
    await served.call("POST", "/v1/events", EVENT, key=key["key"])
    await served.call("DELETE", f"{KEYS}/{key['id']}")
    await served.call("POST", "/v1/events", EVENT, key=key["key"])
    await served.call("POST", "/v1/events", EVENT, key=key["key"])
    shown = next(item for item in (await served.call("GET", KEYS))[1]["items"] if item["id"] == key["id"])
    assert shown["calls_24h"] <= 2
    assert shown["last_used_at"] is not None


@pytest.mark.parametrize("scopes", [["ingest"], ["read"], ["erase"], ["ingest", "read", "erase"]])
async def test_keys_are_made_by_admin_keys_alone(served: Any, scopes: list[str]) -> None:
    key = await made(served, scopes=scopes)
    for method, path in (("POST", KEYS), ("POST", f"{KEYS}/{key['id']}/rotate"), ("DELETE", f"{KEYS}/{key['id']}")):
        body = {"label": "x", "scopes": ["ingest"]} if path == KEYS else None
        status, answer = await served.call(method, path, body, key=key["key"])
        assert (status, answer["error"]["code"]) == (403, "forbidden")


@pytest.mark.parametrize("path", ["/v1/events", "/v1/track", "/api/v1/events", KEYS])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda key: f" {key}", "white space around it"),
        (lambda key: f"{key}\t ", "white space around it"),
        (lambda key: key.replace("_live_", "_test_"), "a test key on a live deployment"),
        (lambda key: key[:-1], "Invalid API key"),
    ],
)
async def test_what_is_wrong_with_a_keys_text_is_said(served: Any, path: str, change: Any, says: str) -> None:
    status, body = await served.call("POST", path, {}, key=change(served.keys.admin_key))
    assert (status, says in str(body)) == (401, True)


async def test_white_space_around_a_key_in_the_query_is_said(served: Any) -> None:
    async with served.http.post(f"{served.url}/v1/track?api_key=%20{served.keys.api_key}", json={}) as answer:
        assert (answer.status, "white space" in (await answer.text())) == (401, True)
