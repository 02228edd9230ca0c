"""A purchase by the Python client: stored once, whatever the network does."""

import os
from decimal import Decimal

from postback.client import Client

client = Client(os.environ["POSTBACK_URL"], os.environ["POSTBACK_KEY"])

receipt = client.send(
    {
        "event": "purchase",
        "event_id": "order-1001",  # your own id: sent again, it counts once
        "order_id": "1001",
        "value": Decimal("129.90"),
        "currency": "EUR",
        "user_data": {"email": "jane@example.com"},  # hashed on arrival
        "items": [{"product_id": "mug", "quantity": 2, "price": 64.95}],
    }
)
print(receipt.status, receipt.event_id)

for delivery in client.status(receipt.event_id).deliveries:
    print(delivery.name, delivery.status, delivery.reason or "")
