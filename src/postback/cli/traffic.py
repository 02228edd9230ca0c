"""Made-up shoppers for the demo: each looks around, and some of them buy. No real person, no real shop."""

import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

PEOPLE = [("jane", "DE", "EUR"), ("amir", "GB", "GBP"), ("yuki", "JP", "JPY"), ("lucia", "ES", "EUR")]
WAY = ("page_view", "view_content", "add_to_cart", "initiate_checkout", "purchase")
PRODUCTS = [("mug", 12), ("lamp", 49), ("chair", 129), ("bicycle", 890)]
SHOP = "https://shop.example.com"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
GOES_ON = 0.65  # how likely a shopper takes the next step


# Where visits come from: what the landing page's address and the referrer say.
WAYS_IN = [
    ("?utm_source=google&utm_medium=cpc&utm_campaign=winter&gclid=demo", ""),
    ("?utm_source=meta&utm_medium=paid&utm_campaign=lookalikes&fbclid=demo", "https://www.facebook.com/"),
    ("?utm_source=newsletter&utm_medium=email&utm_campaign=november", ""),
    ("", "https://www.google.com/"),
    ("", ""),
]
LABELS = ("crm", "trade fair", "call centre")
REFUNDED, LED, CALLED = 0.2, 0.15, 0.08  # how likely a sale is refunded, a visitor signs up, somebody else sends a lead
HISTORY_DAYS = 28
LEADS = 2  # the goal's number in a new installation


def posts(site_key: str, seed: int | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Posts without end, path and body, of one shopper after the other."""
    chance = random.Random(seed)
    for number in itertools.count(1):
        yield from _visit(chance, number, site_key)
        if chance.random() < CALLED:
            lead = {"goalId": LEADS, "amount": 25, "integrationOrderId": f"lead-{chance.getrandbits(48):x}"}
            yield "/Conversions/record", lead | {"integrationSource": chance.choice(LABELS)}


def history(now: datetime, seed: int | None = None) -> list[dict[str, Any]]:
    """Events of the weeks before, as a backend posts them: more from week to week, fewer on weekends."""
    chance = random.Random(seed)
    events: list[dict[str, Any]] = []
    for ago in range(HISTORY_DAYS, 0, -1):
        day = now - timedelta(days=ago)
        for _ in range(round(chance.uniform(0.8, 1.2) * (30 - ago / 2) * (0.6 if day.weekday() > 4 else 1))):
            _, country, currency = chance.choice(PEOPLE)
            product, price = chance.choice(PRODUCTS)
            number = len(events)
            event: dict[str, Any] = {
                "event": "lead" if chance.random() < LED else "purchase",
                "event_id": f"history-{number}",
                "occurred_at": (day + timedelta(hours=chance.uniform(-8, 8))).isoformat(),
                "url": f"{SHOP}/{product}{chance.choice(WAYS_IN)[0]}",
                "action_source": "website",
                "user_data": {"email": f"early{number}@example.com", "country": country},
            }
            if event["event"] == "purchase":
                worth = price * 100 if currency == "JPY" else price + 0.9
                event |= {"value": worth, "currency": currency, "order_id": f"history-{number}"}
            events.append(event)
    return events


def _visit(chance: random.Random, number: int, site_key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    name, country, currency = chance.choice(PEOPLE)
    product, price = chance.choice(PRODUCTS)
    worth = price * 100 if currency == "JPY" else price + 0.9
    visitor, session = f"v_{chance.getrandbits(64):016x}", f"s_{chance.getrandbits(64):016x}"
    yield "/collect", _arrival(chance.choice(WAYS_IN), f"{SHOP}/{product}", site_key, visitor, session)
    for step in WAY[1:]:
        if chance.random() > GOES_ON:
            return
        event: dict[str, Any] = {
            "event": "lead" if step == "add_to_cart" and chance.random() < LED else step,
            "url": f"{SHOP}/{product}",
            "action_source": "website",
            "visitor_id": visitor,
            "session_id": session,
            "user_data": {
                "email": f"{name}{number}@example.com",
                "country": country,
                "client_ip_address": f"198.51.100.{chance.randrange(1, 255)}",
                "client_user_agent": BROWSER,
            },
        }
        if event["event"] != "lead":
            item = {"product_id": product, "name": product, "quantity": 1, "price": worth}
            event |= {"value": worth, "currency": currency, "items": [item]}
        if step == "purchase":
            event["order_id"] = f"demo-{visitor[2:10]}"
        yield "/v1/events", event
        if step == "purchase" and chance.random() < REFUNDED:
            refund = {"event": "refund", "value": round(worth / 2), "currency": currency, "order_id": event["order_id"]}
            yield "/v1/events", refund


def _arrival(way_in: tuple[str, str], url: str, site_key: str, visitor: str, session: str) -> dict[str, Any]:
    """What the browser tag sends first."""
    query, referrer = way_in
    now = datetime.now(UTC).isoformat()
    return {
        "site_key": site_key,
        "sent_at": now,
        "visitor_id": visitor,
        "session_id": session,
        "session": {"started_at": now, "landing": url + query, "referrer": referrer},
        "events": [{"event": "page_view", "event_id": f"{session}-1", "occurred_at": now, "url": url}],
    }
