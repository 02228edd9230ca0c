"""From stored events to what a connector sends: join the visitor, judge again, apply the blueprint, build, pack.

An event is joined by the visitor id it was sent with, else by its session, else by its other links; at most two
look-ups for all events of a claim. The visitor only fills gaps: what was sent wins. Consent and age are judged again,
because a delivery may have waited. Readable identifiers are opened only where the connector takes one.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

import msgspec
import structlog
from msgspec import Struct

from postback import pii, visitors
from postback.blueprint import Unmapped
from postback.connectors import Connector, Failed, Item, Retry, Skipped, is_retraction
from postback.db import Tx
from postback.delivery import judge
from postback.delivery.verdict import EXPIRED_FIX, Limits
from postback.destinations import Destination
from postback.event import CLICK_IDS, HASHED, READABLE, Event, JoinedEvent
from postback.pii import Sealer, SealError
from postback.pii.person import ERASED
from postback.queue.sending import StoredEvent
from postback.visitors import Visitor

log = structlog.get_logger()
_decoder = msgspec.json.Decoder(Event)
_SEALED_RETRY_SECONDS = 300.0
_SEALED = Retry("its sealed data does not open: add its key to POSTBACK_SEAL_KEYS", _SEALED_RETRY_SECONDS)

_LINKED = (("external_id", "external_id_sha256"), ("email", "email_sha256"), ("phone", "phone_sha256"))

E = TypeVar("E", bound=Event)
Built = tuple[JoinedEvent, Item] | Skipped | Failed | Retry


class Keys(Struct, frozen=True):
    """What opens sealed data, and the key that link keys are made under."""

    sealer: Sealer
    link_key: bytes


class Known(Struct, frozen=True):
    """A stored event, and the visitor it belongs to; `origin`: how that one was found. `reaches`, `reached_before`: the
    mark of the goal that it reaches, and whether that was there already, see `reach.py`."""

    stored: StoredEvent
    event: Event
    visitor: Visitor | None
    origin: str
    reaches: tuple[bytes, bytes] | None = None
    reached_before: bool = False


async def join(tx: Tx, rows: Sequence[StoredEvent], keys: Keys) -> dict[bytes, Known | None]:
    """Events by id, with their visitors: at most two look-ups. None for one that cannot be read. Reads only."""
    events = [_decoded(row) for row in rows]
    link_keys: dict[bytes, list[tuple[bytes, str]]] = {}
    wanted: set[bytes] = set()
    for row, event in zip(rows, events, strict=True):
        if event is None:
            continue
        if row.visitor_key is not None:
            wanted.add(row.visitor_key)
            continue
        if links := _links(row, event, keys.link_key):
            link_keys[row.id] = links
        if (key := _named(row, event)) is not None:
            wanted.add(key)
    linked: Mapping[bytes, bytes] = {}
    if link_keys:
        linked = await visitors.find_links(tx, sorted({key for links in link_keys.values() for key, _ in links}))
        wanted.update(linked.values())
    found = await visitors.find(tx, sorted(wanted)) if wanted else {}
    known: dict[bytes, Known | None] = {}
    for row, event in zip(rows, events, strict=True):
        if event is None:
            known[row.id] = None
            continue
        visitor, origin = _visitor(row, event, link_keys.get(row.id, ()), linked, found)
        known[row.id] = Known(row, event, visitor, origin)
    return known


def _decoded(row: StoredEvent) -> Event | None:
    try:
        return _decoder.decode(row.body)
    except msgspec.DecodeError:
        log.exception("a stored event cannot be read", event_id=row.id.hex())
        return None


def _links(row: StoredEvent, event: Event, link_key: bytes) -> list[tuple[bytes, str]]:
    """Keys by which the event's visitor may be found, and what that is called; the best first: a session is one
    browser's, an email may be typed into several."""
    links: list[tuple[bytes, str]] = []
    if event.session_id:
        links.append((pii.link_key(link_key, row.workspace_id, "session", event.session_id), "session"))
    for kind, name in _LINKED:
        if digest := event.user.get(name):
            links.append((pii.link_key(link_key, row.workspace_id, kind, digest), "link"))
    return links


def _named(row: StoredEvent, event: Event) -> bytes | None:
    """The visitor whose id a Velaro post may have given: its `visitorId` names a session, or a visitor."""
    if event.dialect != "velaro" or not event.session_id:
        return None
    return visitors.key_of(UUID(bytes=row.workspace_id), event.session_id)


def _visitor(
    row: StoredEvent,
    event: Event,
    links: Sequence[tuple[bytes, str]],
    linked: Mapping[bytes, bytes],
    found: Mapping[bytes, Visitor],
) -> tuple[Visitor | None, str]:
    if row.visitor_key is not None:
        visitor, origin = found.get(row.visitor_key), "visitor"
    elif first := next(((linked[key], origin) for key, origin in links if key in linked), None):
        visitor, origin = found.get(first[0]), first[1]
    else:
        named = _named(row, event)
        visitor, origin = (found.get(named), "visitor") if named else (None, "")
    if visitor is None or visitor.workspace_id.bytes != row.workspace_id:
        return None, ""
    return visitor, origin


def build(known: Known, destination: Destination, keys: Keys, now: datetime) -> Built:
    """One event for one destination: as a connector sees it and its item, or why there is none.

    Raises what a connector's bug raises.
    """
    connector, event = destination.connector, known.event
    if ERASED in event.notes:
        return Skipped(ERASED)
    if expired := _expired(event, connector, now):
        return expired
    if event.consent is not None and event.consent.denies(connector.consent):
        return Skipped("consent: denied by the visitor")
    try:
        joined = join_one(known, connector, keys, now)
    except SealError as error:
        log.error("sealed data does not open", event_id=known.stored.id.hex(), error=error.message)
        return _SEALED
    if isinstance(shaped := shape(joined, destination), Skipped):
        return shaped
    if shaped is not joined and (expired := _expired(shaped, connector, now)):
        return expired
    built = connector.build(shaped, destination.config, now)
    return built if isinstance(built, Skipped) else (shaped, built)


def shape(event: E, destination: Destination) -> E | Skipped:
    """The event as the destination's blueprint makes it."""
    if destination.blueprint is None:
        return event
    shaped = destination.blueprint.apply(event)
    if isinstance(shaped, Unmapped):
        return Skipped(shaped.reason)
    # A cancelled order that goes under another name would count as a new conversion.
    if is_retraction(event) and not is_retraction(shaped):
        return Skipped(f"no retraction: the blueprint sends it as {shaped.source_name}")
    return shaped


def is_repeatable(known: Known, destination: Destination, sent_at: datetime, now: datetime) -> bool:
    """Whether what may have been taken at `sent_at` can be sent again without counting twice."""
    shaped = shape(known.event, destination)
    if isinstance(shaped, Skipped):  # a filter that holds only after the join
        return now - sent_at < destination.connector.dedup_window
    return judge.is_repeatable(destination.connector, shaped, sent_at, now)


def _expired(event: Event, connector: Connector, now: datetime) -> Failed | None:
    limit = connector.max_age(event)
    if limit is None or now - event.occurred_at <= limit:
        return None
    return Failed(f"expired: {connector.title} takes events up to {_span(limit)} old", EXPIRED_FIX)


def join_one(known: Known, connector: Connector, keys: Keys | None, now: datetime) -> JoinedEvent:
    """The event as a connector sees it: gaps filled from its visitor, click ids past the connector's age dropped.

    `keys` None: what is sealed stays so.
    """
    event, visitor, stored = known.event, known.visitor, known.stored
    user, click_ids, experiments = event.user, event.click_ids, event.experiments
    provenance: dict[str, str] = {}
    captured_at: dict[str, datetime] = {}
    if visitor is not None:
        user, click_ids = dict(user), dict(click_ids)
        experiments = visitors.experiments(visitor) | experiments
        for name, (value, ms) in visitor.identifiers.items():
            kind = click_ids if name in CLICK_IDS else user if name in HASHED else None
            if kind is None:
                continue
            if name not in kind:
                kind[name] = value
                provenance[name] = known.origin
            if kind is click_ids and kind[name] == value:
                captured_at[name] = datetime.fromtimestamp(ms / 1000, UTC)
    if stale := _stale(click_ids, captured_at, connector.click_id_ages, event.occurred_at, now):
        click_ids = {name: value for name, value in click_ids.items() if name not in stale}
    readable: dict[str, str] = {}
    if keys is not None and (taken := connector.identifiers & READABLE):
        readable = pii.reveal(stored.sealed, keys.sealer) if stored.sealed else {}
        if visitor is not None and visitor.sealed and visitor.sealed != stored.sealed and not taken <= readable.keys():
            for name, value in pii.reveal(visitor.sealed, keys.sealer).items():
                if name not in readable:
                    readable[name] = value
                    provenance[name] = known.origin
    return JoinedEvent(
        id=UUID(bytes=stored.id),
        received_at=datetime.fromtimestamp(int.from_bytes(stored.id[:6]) / 1000, UTC),
        readable=readable,
        provenance=provenance,
        captured_at=captured_at,
        reached_before=known.reached_before,
        event_id=event.event_id,
        name=event.name,
        source_name=event.source_name,
        occurred_at=event.occurred_at,
        dialect=event.dialect,
        action_source=event.action_source,
        site_id=event.site_id,
        goal_id=event.goal_id,
        visitor_id=event.visitor_id,
        session_id=event.session_id,
        value=event.value,
        order=event.order,
        page=event.page,
        user=user,
        click_ids=click_ids,
        consent=event.consent,
        experiments=experiments,
        properties=event.properties,
        is_test=event.is_test,
        notes=event.notes,
    )


def _stale(
    click_ids: Mapping[str, str],
    captured_at: Mapping[str, datetime],
    ages: Mapping[str, timedelta],
    occurred_at: datetime,
    now: datetime,
) -> set[str]:
    return {name for name, age in ages.items() if name in click_ids and captured_at.get(name, occurred_at) < now - age}


def limits(known: Known, connector: Connector, first_tried_at: datetime) -> Limits:
    """Until when this event may be tried."""
    age = connector.max_age(known.event)
    expires_at = known.event.occurred_at + age if age is not None else None
    return Limits(expires_at, first_tried_at + connector.give_up_after)


def groups(items: Sequence[Item], connector: Connector, max_items: int) -> Iterator[list[int]]:
    """Which items share a request, by index: those of one group, up to the connector's counts and bytes."""
    if max_items == 1:
        for index in range(len(items)):
            yield [index]
        return
    open_: dict[object, tuple[list[int], int]] = {}
    for index, item in enumerate(items):
        members, size = open_.get(item.group, ([], 0))
        if members and (len(members) >= max_items or size + item.size > connector.max_bytes):
            yield members
            members, size = [], 0
        members.append(index)
        open_[item.group] = (members, size + item.size)
    for members, _ in open_.values():
        yield members


def _span(limit: timedelta) -> str:
    hours = int(limit.total_seconds() // 3600)
    return f"{hours // 24} days" if hours % 24 == 0 else f"{hours} hours"
