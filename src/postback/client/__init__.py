"""The client: sends events to a Postback from a backend. The standard library alone; copy this folder if you like.

    from postback.client import Client

    client = Client("https://postback.example.com", "pb_live_...")
    receipt = client.send({"event": "purchase", "value": 49.9, "currency": "EUR", "order_id": "1001"})
    client.status(receipt.event_id)

Guarantee: an event that `send` returned for is stored for good, once. `send` makes the `event_id` before its first
try, so that a try whose answer was lost is answered as a duplicate and counts once. It tries again on 429, 5xx and a
network that fails: after random(0, min(10 s, 0.1 s x 2^n)), at least `Retry-After`, for `patience_seconds` in all.

With a `queue`, a folder of this client's, an event is on disk before its one try: where that fails `send` returns all
the same, its receipt says `queued`, and `flush` sends what waits, after a crash too; for some seconds after such a
failure nothing is tried, so that a Postback that is away holds nobody up. What was refused is not in the queue. Events
lie there as they are sent, readable to this user alone. Several processes may share a folder: at worst an event is sent
twice, and counts once.

Wire: `POST /v1/events`, `GET /v1/events/{event_id}`. Safe to share between threads.

    calls     the client itself
    disk      its queue
    shapes    what it gives and raises
"""

from postback.client.calls import Client
from postback.client.shapes import (
    Delivery,
    EventStatus,
    Flushed,
    NotReached,
    NotTaken,
    QueueFull,
    Receipt,
    Refusal,
)

__all__ = ["Client", "Delivery", "EventStatus", "Flushed", "NotReached", "NotTaken", "QueueFull", "Receipt", "Refusal"]
