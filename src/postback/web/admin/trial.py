"""`/v1/admin/destinations/{id}/test-event`: one made-up event, sent at once, and what the platform said.

It goes the way of any other: hashed, mapped by the live blueprint, built by the connector. Nothing is stored or counted
here but that it was sent; the platform counts it as any other event, unless its own test mode is set in the config.
"""

import os
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from postback import pii
from postback.blueprint import ANY
from postback.connectors import Response, of_one
from postback.db import buckets
from postback.delivery import prepare, preview
from postback.destinations import Destination
from postback.errors import Conflict
from postback.event import STANDARD_NAMES, RawEvent, RawUser
from postback.queue.sending import StoredEvent
from postback.web.admin.access import Caller
from postback.web.admin.bodies import EXAMPLE
from postback.web.admin.changes import changing
from postback.web.admin.destinations import NOUN, find
from postback.web.admin.hub import Hub
from postback.web.admin.probe import ProbeOut, tried

_encode = msgspec.json.Encoder().encode
# A person who is nobody: the domain and the addresses are reserved for examples.
_NOBODY = RawUser(
    email="test@example.com",
    phone="+4930901820",
    client_ip_address="192.0.2.1",
    client_user_agent="Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 Chrome/130.0 Safari/537.36",
)
_WORTH = frozenset({"purchase", "subscribe", "add_to_cart", "initiate_checkout"})


class TestEventIn(Struct, frozen=True):
    """`event`: a name that the destination takes; absent: purchase, or else the first."""

    event: Annotated[str, Meta(min_length=1, max_length=100)] | None = None


class TestEventOut(ProbeOut, frozen=True, kw_only=True):
    """`request` null: none was sent, for the `reason`. `outcome` `skipped`: such an event is not taken."""

    event: str
    event_id: str
    request: dict[str, Any] | None


@post(
    "/destinations/{destination_id:uuid}/test-event",
    status_code=200,
    summary="Send one made-up event now, and show request and answer",
    opt={EXAMPLE: {"event": "purchase"}},
)
async def send(
    hub: Needs[Hub], caller: Needs[Caller], destination_id: FromPath[UUID], data: JSONBody[TestEventIn]
) -> TestEventOut:
    """The platform counts it as any other event, worth 1.00 where it has a worth, unless its test mode is configured.
    A paused or held destination sends it too."""
    destination = find(caller, destination_id)
    if destination.config is None:
        raise Conflict("The config of this destination does not open with the seal key; send the whole config.")
    name = data.event or next(iter(names(destination)), "purchase")
    known = _made_up(hub, caller, name)
    named: dict[str, Any] = {"event": name, "event_id": known.event.event_id}
    built = prepare.build(known, destination, hub.vault, caller.now)
    if not isinstance(built, tuple):
        fix = getattr(built, "fix", None) or None
        outcome = "skipped" if isinstance(built, prepare.Skipped) else "failed"
        return TestEventOut(False, outcome, built.reason, fix, None, 0, None, **named, request=None)
    connector = destination.connector
    request = connector.pack([built[1]], destination.config, caller.now)
    shown = preview.shown(request, destination)

    def verdict(answer: Response) -> Any:
        return of_one(connector.interpret(answer, 1))

    found = await tried(destination, request, verdict, hub.settings, caller.now)
    async with changing(hub, caller) as change:
        await change.record("tested", NOUN, destination.id, after={**named, "outcome": found.outcome})
    return TestEventOut(*msgspec.structs.astuple(found), **named, request=shown)


def names(destination: Destination) -> list[str]:
    """Standard events that a destination takes, purchase first."""
    connector, blueprint = destination.connector, destination.blueprint
    taken = [
        name
        for name in STANDARD_NAMES
        if (blueprint.takes(name) if blueprint else connector.names is None or name in connector.names)
    ]
    own = [rule.event for rule in blueprint.blueprint.rules if rule.event != ANY] if blueprint else []
    return sorted(dict.fromkeys([*taken, *own]), key=lambda name: (name != "purchase", name))


def _made_up(hub: Hub, caller: Caller, name: str) -> prepare.Known:
    id_ = buckets.new_id(caller.now)
    site = next(iter(caller.snapshot.sites.values()), None)
    facts = pii.SiteFacts(site.id, site.country, site.currency) if site else pii.SiteFacts()
    raw = RawEvent(
        name=name,
        dialect="native",
        event_id=f"test-{os.urandom(8).hex()}",
        amount=Decimal("1.00") if name in _WORTH else None,
        currency=facts.currency,
        order_id=f"test-{id_.hex[:12]}" if name == "purchase" else None,
        url="https://example.com/test",
        visitor_id="postback-test",
        action_source="website",
        user=_NOBODY,
        is_test=True,
    )
    done = pii.protect(raw, site=facts, now=caller.now, seal=hub.vault.sealer)
    stored = StoredEvent(id_.bytes, caller.workspace_id.bytes, _encode(done.event), done.sealed, None)
    return prepare.Known(stored, done.event)


HANDLERS = [send]
