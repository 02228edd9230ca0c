"""`/v1/admin/visitors`: who came last, and all that is known of one visitor, by the id that the tag or a backend gave.
Personal data is shown as its hashes, and of what is readable the names alone.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import unquote
from uuid import UUID

from litestar import Request, get
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath, QueryParameter
from msgspec import Struct

from postback import conversions, pii, visitors
from postback.conversions import Filter
from postback.db import Tx, buckets
from postback.errors import NotFound
from postback.event import IDENTIFIERS
from postback.queue import lists
from postback.visitors import Visitor, links, touches
from postback.visitors.touches import Touch
from postback.web.admin.access import Caller
from postback.web.admin.conversions import ConversionOut, shown
from postback.web.admin.hub import Hub
from postback.web.admin.pages import DEFAULT_LIMIT, Cursor, Limit, Page, cursor_text, read_ids
from postback.web.admin.spans import From, To, ids_between

PATH = b"/visitors/"
MOST_TOUCHES, MOST_CONVERSIONS = 500, 100
# Touches are looked for as far back as this.
SPAN = timedelta(days=400)


class IdentifierOut(Struct, frozen=True):
    """`origin`: the dialect that said this value first; `tag`: it was seen in the browser."""

    name: str
    value: str
    first_seen_at: datetime
    last_seen_at: datetime
    origin: str


class ChoiceOut(Struct, frozen=True):
    purpose: Literal["analytics", "ad_user_data", "ad_personalization"]
    granted: bool
    at: datetime


class SessionOut(Struct, frozen=True):
    """`source` null: direct. `click_id`: the name of the one that it began with. Addresses are without their
    queries."""

    session_id: str | None
    started_at: datetime
    site: UUID | None
    source: str | None
    medium: str | None
    campaign: str | None
    term: str | None
    content: str | None
    click_id: str | None
    referrer: str | None
    landing: str | None
    bot: bool


class TouchOut(Struct, frozen=True):
    """The start of a session, or an interaction (`open`) with a product."""

    kind: Literal["session", "open"]
    at: datetime
    session_id: str | None
    source: str | None
    medium: str | None
    campaign: str | None
    product: str | None
    widget: str | None
    placement: str | None


class VisitorOut(Struct, frozen=True):
    """`readable`: names of what is kept encrypted. `linked`: visitors that are proved to be the same person. `shared`:
    so many people were seen in it that it joins nobody's conversions but those that name it. `touches`: the newest 500,
    sessions too; `conversions`: the newest 100 that name the visitor or one of its sessions."""

    id: str
    first_seen_at: datetime
    last_seen_at: datetime
    site: UUID | None
    shared: bool
    identifiers: list[IdentifierOut]
    readable: list[str]
    consent: list[ChoiceOut]
    experiments: dict[str, str]
    linked: list[str]
    sessions: list[SessionOut]
    touches: list[TouchOut]
    conversions: list[ConversionOut]


class VisitorBrief(Struct, frozen=True):
    """`last_seen_at`: when the newest of its events came, in the span that is looked at. `identifiers`: their names."""

    id: str
    site: UUID | None
    first_seen_at: datetime
    last_seen_at: datetime
    shared: bool
    identifiers: list[str]


@get("/visitors", summary="List visitors, who sent an event last first")
async def list_all(
    hub: Needs[Hub],
    caller: Needs[Caller],
    looking: Needs[float],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    since: From = None,
    until: To = None,
    site: Annotated[UUID | None, QueryParameter(description="Of the events: a site's id.")] = None,
) -> Page[VisitorBrief]:
    """By the newest events that name one: nothing keeps visitors in the order of their last visit. One who also came
    earlier is on a later page again. A page may hold fewer than its limit, and yet have a `next_cursor`."""
    min_id, max_id = ids_between(since, until, caller.now)
    if (after := read_ids(cursor, 1)) is not None:
        max_id = min(max_id, UUID(int=max(0, after[0].int - 1)))
    async with hub.pool.connection() as tx:
        newest, floor = await lists.visitors(
            tx, caller.workspace_id, site, min_id=min_id, max_id=max_id, limit=limit, seconds=looking
        )
        known = await visitors.find(tx, [key.bytes for key in newest]) if newest else {}
    items = [
        _brief(visitor, buckets.time_of(id_))
        for key, id_ in newest.items()
        if (visitor := known.get(key.bytes)) is not None and visitor.id
    ]
    return Page(items, cursor_text(floor.bytes) if floor else None)


def _brief(visitor: Visitor, seen_at: datetime) -> VisitorBrief:
    names = sorted(name for name in visitor.identifiers if name in IDENTIFIERS)
    first = visitor.first_seen_at or seen_at
    return VisitorBrief(visitor.id or "", visitor.site_id, first, seen_at, visitor.is_shared, names)


@get("/visitors/{visitor:path}", summary="One visitor: identifiers, sessions, touches, conversions")
async def read(
    hub: Needs[Hub], caller: Needs[Caller], request: Request[Any, Any, Any], visitor: FromPath[str]
) -> VisitorOut:
    """`visitor`: its id, percent-encoded. Conversions are looked for among the newest of the workspace."""
    raw: bytes = request.scope["raw_path"]
    sent = pii.stored_id(unquote(raw.partition(b"?")[0].partition(PATH)[2].decode("latin-1")))
    key = visitors.key_of(caller.workspace_id, sent)
    async with hub.pool.connection() as tx:
        _, twins = await links.find(tx, (), [key])
        found = await visitors.find(tx, [key, *twins.get(key, ())])
        if (own := found.get(key)) is None or own.workspace_id != caller.workspace_id:
            raise NotFound("There is no such visitor.")
        now = caller.now
        seen = await touches.of_visitors(tx, [key], now - SPAN, now + timedelta(days=1), MOST_TOUCHES)
        made = await _conversions(tx, caller, key, seen)
    return VisitorOut(
        id=own.id or sent,
        first_seen_at=own.first_seen_at or now,
        last_seen_at=own.last_seen_at or now,
        site=own.site_id,
        shared=own.is_shared,
        identifiers=_identifiers(own),
        readable=sorted(_readable(own, hub)),
        consent=[ChoiceOut(name, may, at) for name, (may, at) in sorted(visitors.consent(own.identifiers).items())],  # type: ignore[arg-type]
        experiments=visitors.experiments(own.identifiers),
        linked=sorted(twin.id for id_, twin in found.items() if id_ != key and twin.id),
        sessions=[_session(touch) for touch in seen if touch.kind == touches.SESSION],
        touches=[_touch(touch) for touch in seen],
        conversions=made,
    )


async def _conversions(tx: Tx, caller: Caller, key: bytes, seen: Sequence[Touch]) -> list[ConversionOut]:
    sessions = sorted({touch.session_id for touch in seen if touch.session_id})
    wanted = Filter(workspace_id=caller.workspace_id, visitor_key=UUID(bytes=key), session_ids=sessions)
    low, high = buckets.floor(caller.now - SPAN), buckets.floor(caller.now + timedelta(days=1))
    found, _ = await conversions.list_all(tx, wanted, min_id=low, max_id=high, limit=MOST_CONVERSIONS)
    return await shown(tx, caller, found[:MOST_CONVERSIONS])


def _identifiers(visitor: Visitor) -> list[IdentifierOut]:
    return [
        IdentifierOut(name, one.value, one.first_seen_at, one.last_seen_at, one.origin)
        for name, one in sorted(visitor.identifiers.items())
        if name in IDENTIFIERS
    ]


def _readable(visitor: Visitor, hub: Hub) -> Iterable[str]:
    """What is sealed under a key that is gone is left out."""
    found: set[str] = set()
    for blob in (visitor.device, visitor.sealed):
        if blob is not None:
            try:
                found |= pii.reveal(blob, hub.vault.sealer).keys()
            except pii.SealError:
                continue
    return found


def _session(touch: Touch) -> SessionOut:
    return SessionOut(
        touch.session_id, touch.at, UUID(bytes=touch.site_id) if touch.site_id else None, touch.source, touch.medium,
        touch.campaign, touch.term, touch.content, touch.click_id, touch.referrer, touch.landing, touch.is_bot,
    )  # fmt: skip


def _touch(touch: Touch) -> TouchOut:
    return TouchOut(
        touch.kind,  # type: ignore[arg-type]  # what is written
        touch.at, touch.session_id, touch.source, touch.medium, touch.campaign, touch.product, touch.widget,
        touch.placement,
    )  # fmt: skip


HANDLERS = [list_all, read]
