"""Made-up shoppers for the demo: each looks around, and some of them buy. No real person, no real shop."""

import itertools
import random
from collections.abc import Iterator
from typing import Any

PEOPLE = [("jane", "DE", "EUR"), ("amir", "GB", "GBP"), ("yuki", "JP", "JPY"), ("lucia", "ES", "EUR")]
WAY = ("page_view", "view_content", "add_to_cart", "initiate_checkout", "purchase")
PRODUCTS = [("mug", 12), ("lamp", 49), ("chair", 129), ("bicycle", 890)]
SHOP = "https://shop.example.com"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
GOES_ON = 0.8  # how likely a shopper takes the next step


def events(seed: int | None = None) -> Iterator[dict[str, Any]]:
    """Events without end, of one shopper after the other."""
    chance = random.Random(seed)
    for number in itertools.count(1):
        yield from _visit(chance, number)


def _visit(chance: random.Random, number: int) -> Iterator[dict[str, Any]]:
    name, country, currency = chance.choice(PEOPLE)
    product, price = chance.choice(PRODUCTS)
    worth = price * 100 if currency == "JPY" else price + 0.9
    visitor = f"{chance.getrandbits(64):016x}"
    for step in WAY:
        event: dict[str, Any] = {
            "event": step,
            "url": f"{SHOP}/{product}",
            "action_source": "website",
            "visitor_id": visitor,
            "user_data": {
                "email": f"{name}{number}@example.com",
                "country": country,
                "client_ip_address": f"198.51.100.{chance.randrange(1, 255)}",
                "client_user_agent": BROWSER,
            },
        }
        if step != "page_view":
            item = {"product_id": product, "name": product, "quantity": 1, "price": worth}
            event |= {"value": worth, "currency": currency, "items": [item]}
        if step == "purchase":
            event["order_id"] = f"demo-{visitor[:8]}"
        yield event
        if chance.random() > GOES_ON:
            return
