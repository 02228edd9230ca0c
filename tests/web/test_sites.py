"""`/v1/admin/sites`: each with its goals; changed, and removed when nothing needs it any more."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from postback import installation, workspaces
from postback.db import buckets, connect
from postback.workspaces import SiteIn

SITES = "/v1/admin/sites"
NOBODY = "01a1fbf7-086b-7ab2-9996-26a150972041"


async def made(served: Any, **fields: Any) -> Any:
    status, site = await served.call("POST", SITES, {"name": "shop", **fields})
    assert status == 201, site
    return site


async def test_a_new_site_has_a_key_and_the_usual_settings(served: Any) -> None:
    site = await made(served)
    assert site["site_key"].startswith("site_")
    assert site | {"id": "", "site_key": ""} == {
        "id": "", "name": "shop", "site_key": "", "plan": None, "allowed_origins": [], "timezone": "UTC",
        "currency": "USD", "country": None, "window_days": 7, "order_counts_from": "completed", "link_domains": [],
        "payment_referrers": [],
    }  # fmt: skip
    assert await served.call("GET", f"{SITES}/{site['id']}") == (200, site)
    assert (await served.call("GET", SITES))[1]["items"][-1] == site


async def test_every_site_has_goals_for_purchases_and_leads(served: Any) -> None:
    made_later = await made(served)
    for site in (served.keys.site, made_later["id"]):
        _, goals = await served.call("GET", f"/v1/admin/goals?site={site}")
        assert [(goal["name"], goal["events"]) for goal in goals["items"]] == [
            ("Purchases", ["purchase"]),
            ("Leads", ["lead", "signup"]),
        ]


async def test_a_site_may_bring_the_key_that_a_shop_has_already(served: Any) -> None:
    assert (await made(served, site_key="a1b2c3d4"))["site_key"] == "a1b2c3d4"
    event = {"event": "lead", "site_key": "a1b2c3d4"}
    assert (await served.call("POST", "/v1/events", event, key=served.keys.api_key))[0] == 202
    status, body = await served.call("POST", SITES, {"name": "other", "site_key": "a1b2c3d4"})
    assert (status, body["error"]["field"]) == (409, "site_key")


async def test_a_site_made_elsewhere_is_looked_up_and_one_that_is_none_is_refused(served: Any) -> None:
    async def lead(site_key: str) -> tuple[int, Any]:
        return await served.call("POST", "/v1/events", {"event": "lead", "site_key": site_key}, key=served.keys.api_key)

    assert (await lead("elsewhere"))[0] == 403
    tx = await connect(served.dsn)
    async with tx.transaction():
        workspace, now = UUID(served.keys.workspace), datetime.now(UTC)
        sent = SiteIn(name="elsewhere", site_key="elsewhere")
        await installation.add_site(tx, workspaces.new_site(buckets.new_id(now), workspace, sent), now)
    await tx.close()
    assert (await lead("elsewhere"))[0] == 202
    status, body = await lead("elsewher")
    assert (status, body["error"]["field"]) == (403, "site_key")


async def test_settings_are_kept_in_one_spelling(served: Any) -> None:
    origins = ["HTTPS://Shop.Example/", "https://shop.example:443", "http://localhost:3000"]
    site = await made(served, currency="eur", country="de", timezone="Europe/Berlin", allowed_origins=origins)
    assert (site["currency"], site["country"], site["timezone"]) == ("EUR", "DE", "Europe/Berlin")
    assert site["allowed_origins"] == ["https://shop.example", "https://shop.example", "http://localhost:3000"]


async def test_a_change_leaves_what_it_does_not_name(served: Any) -> None:
    site = await made(served, country="DE", window_days=30)
    status, changed = await served.call("PATCH", f"{SITES}/{site['id']}", {"order_counts_from": "processing"})
    assert (status, changed) == (200, site | {"order_counts_from": "processing"})
    _, changed = await served.call("PATCH", f"{SITES}/{site['id']}", {"country": None})
    assert changed["country"] is None
    assert (await served.call("GET", f"{SITES}/{site['id']}"))[1] == changed


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"currency": "EURO"}, "currency"),
        ({"country": "DEU"}, "country"),
        ({"timezone": "Mars/Phobos"}, "timezone"),
        ({"timezone": "../etc/passwd"}, "timezone"),
        ({"window_days": 0}, "window_days"),
        ({"window_days": 401}, "window_days"),
        ({"window_days": "7"}, "window_days"),
        ({"order_counts_from": "pending"}, "order_counts_from"),
        ({"allowed_origins": ["https://ok.example", "shop.example"]}, "allowed_origins[1]"),
        ({"allowed_origins": ["https://shop.example/path"]}, "allowed_origins[0]"),
        ({"allowed_origins": ["https://user@shop.example"]}, "allowed_origins[0]"),
        ({"allowed_origins": ["https://shop.example:port"]}, "allowed_origins[0]"),
        ({"allowed_origins": ["https://shop.example", "https://*.example"]}, "allowed_origins[1]"),
        ({"allowed_origins": ["https://shöp.example"]}, "allowed_origins[0]"),
        ({"allowed_origins": "https://shop.example"}, "allowed_origins"),
        ({"plan": NOBODY}, "plan"),
        ({"plan": "gold"}, "plan"),
    ],
)
async def test_a_setting_that_cannot_be_is_named_and_changes_nothing(served: Any, sent: Any, field: str) -> None:
    site = (await served.call("GET", SITES))[1]["items"][0]
    for method, path, body in (("POST", SITES, {"name": "x", **sent}), ("PATCH", f"{SITES}/{site['id']}", sent)):
        status, answer = await served.call(method, path, body)
        assert (status, answer["error"]["field"]) == (422, field)
    assert (await served.call("GET", SITES))[1]["items"] == [site]


async def test_a_removed_site_takes_no_events_and_has_no_goals(served: Any) -> None:
    site = await made(served)
    event = {"event": "lead", "site_key": site["site_key"]}
    assert (await served.call("POST", "/v1/events", event, key=served.keys.api_key))[0] == 202
    assert (await served.call("DELETE", f"{SITES}/{site['id']}"))[0] == 204
    assert (await served.call("POST", "/v1/events", event, key=served.keys.api_key))[0] == 403
    assert (await served.call("GET", f"/v1/admin/goals?site={site['id']}"))[1]["items"] == []
    for method in ("GET", "DELETE"):
        assert (await served.call(method, f"{SITES}/{site['id']}"))[0] == 404


async def test_the_only_site_stays(served: Any) -> None:
    assert (await served.call("DELETE", f"{SITES}/{served.keys.site}"))[0] == 409
    await made(served)
    assert (await served.call("DELETE", f"{SITES}/{served.keys.site}"))[0] == 204


async def test_a_site_that_a_key_is_bound_to_stays_until_the_key_is_revoked(served: Any) -> None:
    site = await made(served)
    _, key = await served.call("POST", "/v1/admin/keys", {"label": "till", "scopes": ["ingest"], "site": site["id"]})
    status, body = await served.call("DELETE", f"{SITES}/{site['id']}")
    assert (status, "till" in body["error"]["message"]) == (409, True)
    await served.call("DELETE", f"/v1/admin/keys/{key['id']}")
    assert (await served.call("DELETE", f"{SITES}/{site['id']}"))[0] == 204
