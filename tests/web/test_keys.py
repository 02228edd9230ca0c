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
