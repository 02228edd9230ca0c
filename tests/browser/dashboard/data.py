"""What a workspace is filled with: a shop's events and orders, people, and platforms of which some are in trouble.

All of it goes in by the API, as users' does.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from tests.browser.dashboard.running import Hub, Workspace, until

AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
SOURCES = (
    "utm_source=google&utm_medium=cpc&utm_campaign=brand&gclid=Cj0KCQ{0}", "utm_source=newsletter&utm_medium=email",
    "utm_source=facebook&utm_medium=paid&utm_campaign=autumn&fbclid=IwAR{0}", "",
)  # fmt: skip
PRODUCTS = (("Oak desk lamp", 49.9), ("Lounge chair", 389), ("Wool rug, 200 × 300", 629), ("Side table", 129.5))
NOW = datetime.now(UTC)
CONFIGS: dict[str, dict[str, Any]] = {
    "meta": {"dataset_id": "1234567890", "access_token": "token"},
    "ga4": {"measurement_id": "G-DEMO123456", "api_secret": "secret"},
    "tiktok": {"pixel_code": "C3QDEMO", "crm_event_set_id": "C3QDEMOCRM", "access_token": "token"},
    "convert": {"account_id": "1", "project_id": "2", "api_key": "key"},
}


async def fill(
    space: Workspace, events: int, *, hub: Hub, visits: int = 12, days: int = 28, delivered: int = 1000
) -> None:
    """`events` of so many days, the newest of which are `delivered` to each of seven destinations, `visits` that the tag
    saw, and all else that a shop has by then."""
    await _configure(space)
    plan = await hub.call("POST", "/v1/admin/plans", {"name": f"Plan of {space.name}", "monthly_cap": events * 5})
    await hub.call("PATCH", f"/v1/admin/workspaces/{space.id}", {"plan": plan["id"]})
    await _visits(space, visits, days)
    await space.call("POST", "privacy/erasures", {"email": "gone@example.com"})
    sent = list(shop(events, days))
    await space.send(sent[:-delivered])
    await _destinations(space, hub)
    await space.send(sent[-delivered:])
    await until(lambda: _has(space, "delivered", "failed", "held", "retrying", "skipped", "queued"), 60)
    await jobs(space)


async def jobs(space: Workspace) -> None:
    """Of replays and of backfills one that is stopped, and one that is not."""
    first = (await space.call("GET", "destinations"))["items"][0]["id"]
    for kind, asked in (("replays", {"status": "skipped"}), ("backfills", {"name": "lead"})):
        stopped = await space.call("POST", kind, {"destination": first} | asked)
        await space.call("DELETE", f"{kind}/{stopped['id']}")
        await space.call("POST", kind, {"destination": first, "name": "purchase"})


async def _has(space: Workspace, *statuses: str) -> bool:
    return all([(await space.call("GET", f"deliveries?limit=1&status={one}"))["items"] for one in statuses])


def shop(events: int, days: int) -> Iterator[dict[str, Any]]:
    """Visits to a shop that does ever better, oldest first; some buy, some send it back."""
    chance = random.Random(7)
    for number in range(events):
        at = NOW - timedelta(days=days) * (1 - (number / events) ** 0.7) - timedelta(minutes=1)
        visitor = number // 7
        name = chance.choices(("page_view", "view_content", "add_to_cart", "purchase", "lead", "refund"), (64, 20, 9, 3, 3, 1))[0]  # fmt: skip
        product, price = chance.choice(PRODUCTS)
        event: dict[str, Any] = {
            "event": name, "event_id": f"{name}-{number}", "occurred_at": at.isoformat(), "visitor_id": f"v_{visitor:012x}", "session_id": f"s_{visitor}",
            "url": f"https://shop.example.com/{product.split()[0].lower()}?utm_source=google", "action_source": "website",
            "user_data": {"email": f"person{number % 900}@example.com", "phone": "+14155550123", "country": "DE",
                          "client_ip_address": "198.51.100.7", "client_user_agent": AGENT},
        }  # fmt: skip
        if name in ("purchase", "add_to_cart", "view_content"):
            item = {"product_id": product.split()[0].lower(), "name": product, "quantity": 1, "price": price}
            event |= {"value": price, "currency": "EUR", "items": [item], "properties": {"coupon": "AUTUMN"}}
        if name == "purchase":
            event["order_id"] = f"#{10_000 + number}"
        if name == "refund":
            event |= {"order_id": f"#{10_000 + max(number - 20, 0)}", "value": 20, "currency": "EUR"}
        yield event
    # Of one order whatever can become of it; the last events are the first that are seen.
    sold = {"event": "purchase", "value": 389, "currency": "EUR", "order_id": "#1001", "visitor_id": "v_00000000cafe",
            "session_id": f"s_{0xCAFE}", "user_data": {"email": "ada@example.com", "client_user_agent": AGENT, "client_ip_address": "198.51.100.7"},
            "url": "https://shop.example.com/thanks", "action_source": "website"}  # fmt: skip
    yield sold | {"event_id": "sold", "items": [{"product_id": "lounge", "name": "Lounge chair", "quantity": 1}]}
    yield sold | {"event": "refund", "event_id": "back", "value": 89, "items": []}
    yield sold | {"event_id": "again", "order_id": "#1002", "value": 49.9}


async def _configure(space: Workspace) -> None:
    second = await space.call("POST", "sites", {"name": "Outlet", "timezone": "Europe/Berlin", "currency": "EUR"})
    await space.call("PATCH", f"sites/{space.site}", {"name": "Shop", "currency": "EUR"})
    await space.call("POST", "goals", {"name": "Trials", "events": ["start_trial"], "default_value": 25, "currency": "EUR", "filter": "value >= 10.0"})  # fmt: skip
    await space.call("POST", "event-types", {"name": "quiz_finished", "required": ["properties.score"]})
    for label, body in (
        ("Checkout backend", {"scopes": ["ingest"]}), ("Reports", {"scopes": ["read"]}),
        ("Outlet", {"scopes": ["ingest"], "site": second["id"], "rate_limit_per_minute": 600}),
        ("Old shop", {"scopes": ["ingest"]}),
    ):  # fmt: skip
        made = await space.call("POST", "keys", {"label": label} | body)
    await space.call("DELETE", f"keys/{made['id']}")
    for role in ("admin", "analyst", "read_only"):
        await space.call("POST", "members", {"email": f"{role}.{space.name}@example.com", "role": role})


async def _destinations(space: Workspace, hub: Hub) -> None:
    await hub.fault("tiktok", "reject_event")
    await hub.fault("convert", "auth")
    only = {"blueprint": {"rules": [{"event": "purchase"}, {"event": "lead"}]}}
    for connector, name, config in (
        ("meta", "Meta, Europe", {}), ("ga4", "GA4", {}), ("tiktok", "TikTok", {}), ("convert", "Convert", {}),
        ("webhook", "Warehouse", {}), ("webhook", "Old CRM", {}), ("webhook", "Partner", {"url": "http://127.0.0.1:9/"}),
    ):  # fmt: skip
        id_ = await space.install(connector, name, **CONFIGS.get(connector, {}), **config)
        if connector != "meta":
            await space.call("PATCH", f"destinations/{id_}", only)
        if connector == "ga4":
            await space.call("PATCH", f"destinations/{id_}", {"blueprint": {"rules": [{"event": "purchase"}]}})
        if name == "Old CRM":
            await space.call("POST", f"destinations/{id_}/pause")


async def _visits(space: Workspace, number: int, days: int) -> None:
    """Sessions as the tag tells them."""
    no_cookies = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(headers={"User-Agent": AGENT}, cookie_jar=no_cookies) as http:
        for one in [0xCAFE, *range(number)]:
            at = NOW - timedelta(days=days) * (1 - min(one / number, 1) ** 0.7) - timedelta(minutes=5)
            landing = f"https://shop.example.com/?{SOURCES[one % len(SOURCES)].format(one)}"
            batch = {
                "site_key": space.site_key, "sent_at": NOW.isoformat(), "visitor_id": f"v_{one:012x}", "session_id": f"s_{one}",
                "session": {"started_at": at.isoformat(), "landing": landing, "referrer": "https://www.google.com/"},
                "identifiers": {"fbp": {"value": "fb.1.1700000000000.123456789", "first": 1763719198000, "last": 1763719198000}},
                "consent": {"analytics": True, "ad_user_data": True},
                "events": [{"event": "page_view", "event_id": f"seen-{one}", "url": landing},
                           {"event": "open", "event_id": f"open-{one}", "product": "lounge", "widget": "related"}],
            }  # fmt: skip
            async with http.post(f"{space.hub.url}/collect", json=batch) as answer:
                assert answer.status == 200, await answer.text()
