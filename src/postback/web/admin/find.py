"""`/v1/admin/find`: what one text that somebody has in hand names: an event, an order, a conversion, a visitor.

It may be personal data, so it comes in a body, is hashed here, and is kept and logged nowhere.
"""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from litestar import post
from litestar.di import NamedDependency as Needs
from litestar.params import JSONBody
from msgspec import Meta, Struct

from postback import conversions, pii, visitors
from postback.db import Tx, buckets
from postback.errors import Invalid
from postback.event import Event
from postback.pii import person
from postback.pii.person import Maker
from postback.privacy import people
from postback.privacy.people import Kind
from postback.queue import lists
from postback.visitors import Visitor, links
from postback.web.admin import events
from postback.web.admin.access import SCOPES, Caller
from postback.web.admin.bodies import EXAMPLE
from postback.web.admin.hub import Hub
from postback.web.admin.pages import Page
from postback.web.admin.spans import EARLIEST

LONGEST = 1024
_decode = msgspec.json.Decoder(Event).decode
MOST_EVENTS = 20
_PEOPLE: tuple[Kind, ...] = ("email", "phone", "external_id")


class FindIn(Struct, frozen=True, forbid_unknown_fields=True):
    """`q`: an event's id (the sender's or ours), an order's, a conversion's, a visitor's, a session's, a user id, an
    email or a phone, whole; of the last two, their SHA-256 too."""

    q: Annotated[str, Meta(min_length=1, max_length=LONGEST)]


class FoundOut(Struct, frozen=True):
    """`id`: as its path takes it. `by`: what the text is of it; `person`: an event bears it as email, phone or user id.
    `name`: an event's. `at`: when it came, or was last seen."""

    kind: Literal["event", "order", "conversion", "visitor"]
    id: str
    by: Literal[
        "event_id", "order_id", "conversion_id", "visitor_id", "session_id", "email", "phone", "external_id", "person"
    ]
    name: str | None
    site: UUID | None
    at: datetime


@post(
    "/find",
    opt={EXAMPLE: {"q": "order-1001"}, SCOPES: ("admin", "read")},
    summary="What an id, an email or a phone names",
    status_code=200,
)
async def find(hub: Needs[Hub], caller: Needs[Caller], looking: Needs[float], data: JSONBody[FindIn]) -> Page[FoundOut]:
    """Events by their ids, orders, conversions, visitors; of a person the visitors, whose pages lead to the rest. Of
    one who came without a visitor id, the newest events, as far back as a second reaches; an export has all."""
    text = data.q.strip()
    if not text or "\x00" in text:
        raise Invalid("q must have 1 to 1024 characters, none of them NUL.", field="q")
    async with hub.pool.connection() as tx:
        found = [*await _records(tx, caller, text), *await _visitors(tx, hub, caller, text)]
        if not found:
            found = await _events_of_person(tx, caller, text, looking)
    return Page(found)


async def _events_of_person(tx: Tx, caller: Caller, text: str, seconds: float) -> list[FoundOut]:
    digests = person.digests(text, _country(caller))
    said = [f'"{name}":"{digest}"' for name, digest in digests.items()]
    wanted = lists.EventFilter(workspace_id=caller.workspace_id, says=said)
    first, last = buckets.floor(EARLIEST), lists.LAST_ID
    rows, _ = await lists.events(tx, wanted, min_id=first, max_id=last, limit=MOST_EVENTS, seconds=seconds)
    return [
        FoundOut("event", str(row.id), "person", row.name, row.site_id, buckets.time_of(row.id))
        for row in rows
        if not digests.items().isdisjoint(_decode(row.body).user.items())  # a property may look like it
    ]


def _country(caller: Caller) -> str | None:
    """Of phones that name none."""
    return place.site.country if (place := caller.snapshot.first_place) else None


async def _records(tx: Tx, caller: Caller, text: str) -> list[FoundOut]:
    found: list[FoundOut] = []
    ids = await events.known_ids(tx, caller.workspace_id, text)
    for row in (await lists.event_rows(tx, list(dict.fromkeys(ids)))).values():
        if row.workspace_id == caller.workspace_id:
            at = buckets.time_of(row.id)
            found.append(FoundOut("event", str(row.id), "event_id", row.name, row.site_id, at))
    sites = [site.id for site in caller.snapshot.sites.values()]
    for order in await conversions.find_orders(tx, sites, pii.stored_id(text)):
        found.append(FoundOut("order", order.order_id, "order_id", None, order.site_id, order.first_seen_at))
    if (own := events.uuid_of(text)) is not None:
        made = await conversions.read(tx, caller.workspace_id, own)
        if made is not None:
            found.append(FoundOut("conversion", text, "conversion_id", None, made.site_id, made.occurred_at))
    return found


async def _visitors(tx: Tx, hub: Hub, caller: Caller, text: str) -> list[FoundOut]:
    """Each once, by the first of what names it."""
    workspace_id, by = caller.workspace_id, dict[bytes, str]()
    maker = Maker(hub.vault.link_key, workspace_id.bytes)
    by[visitors.key_of(workspace_id, pii.stored_id(text))] = "visitor_id"
    for kind in _PEOPLE:
        try:
            meant = await people.meant(tx, workspace_id, kind, text, _country(caller), maker)
        except Invalid:
            continue
        by |= {key: kind for key in meant.visitors if key not in by}
    of_session, _ = await links.find(tx, [maker.mac("session", pii.stored_id(text))])
    by |= {key: "session_id" for keys in of_session.values() for key in keys if key not in by}
    known = await visitors.find(tx, list(by))
    return [
        _visitor(known[key], named, caller)
        for key, named in by.items()
        if key in known and known[key].workspace_id == workspace_id and known[key].id
    ]


def _visitor(visitor: Visitor, by: str, caller: Caller) -> FoundOut:
    at = visitor.last_seen_at or caller.now
    return FoundOut("visitor", visitor.id or "", by, None, visitor.site_id, at)  # type: ignore[arg-type]  # a kind


HANDLERS = [find]
