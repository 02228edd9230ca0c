"""The event that every request carries: a purchase with a plain email and phone, each request another one.

`TEMPLATE` is JSON with two places that the load generator fills anew for each event: `@id@`, 24 characters that never
come again, and `@phone@`, seven digits.
"""

import json
from itertools import count
from time import time_ns

TEMPLATE = json.dumps(
    {
        "event": "purchase",
        "event_id": "purchase-@id@",
        "value": 129.9,
        "currency": "EUR",
        "order_id": "order-@id@",
        "items": [{"product_id": "SKU-20418", "name": "Trail running shoe", "quantity": 1, "price": 129.9}],
        "url": "https://shop.example/checkout/thank-you?utm_source=newsletter&utm_medium=email",
        "action_source": "website",
        "user_data": {
            "email": "Shopper.@id@+news@gmail.com",
            "phone": "+1415@phone@",
            "client_ip_address": "203.0.113.77",
            "client_user_agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0",
        },
        "click_ids": {"fbp": "fb.1.1763600000000.1098115397", "gclid": "Cj0KCQiA5NSdBhDfARIsALzs2ECm8nZ"},
    },
    separators=(",", ":"),
)
_numbers = count()


def new_run() -> str:
    """Twelve characters that begin the ids of one run and of no other."""
    return f"{(time_ns() // 1_000_000 + (next(_numbers) << 40)) & 0xFFFFFFFFFFFF:012x}"


def events(run: str, first: int, number: int) -> bytes:
    """The body of a batch: `number` events of a run, from the one numbered `first`."""
    made = (
        TEMPLATE.replace("@id@", f"{run}-f-{place:09d}").replace("@phone@", f"{place % 10_000_000:07d}")
        for place in range(first, first + number)
    )
    return b'{"events":[' + ",".join(made).encode() + b"]}"
