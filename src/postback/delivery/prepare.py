"""From stored events to what a connector sends: join the visitor, judge again, apply the blueprint, build, pack.

An event is joined with its visitors, see `identity`; at most two look-ups for all events of a claim. They only fill
gaps: what was sent wins. Consent (the visitor's latest choice too) and age are judged again, because a delivery may
have waited. Readable identifiers are opened only where the connector takes one; also where this destination is sent
none, for its answers are masked by them.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

import msgspec
import structlog
from msgspec import Struct

from postback import conversions, pii, visitors
from postback.blueprint import Unmapped
from postback.connectors import Connector, Failed, Item, Retry, Skipped, is_retraction
from postback.db import Tx
from postback.delivery import identity, judge
from postback.delivery.identity import Layer
from postback.delivery.verdict import EXPIRED_FIX, Limits
from postback.destinations import Destination
from postback.event import BOT, CLICK_IDS, HASHED, READABLE, Event, JoinedEvent, Page
from postback.money import Money
from postback.pii import SealError, Vault
from postback.pii.person import ERASED
from postback.queue.sending import StoredEvent
from postback.visitors import Identifier, Visitor

log = structlog.get_logger()
_decoder = msgspec.json.Decoder(Event)
_SEALED_RETRY_SECONDS = 300.0
_SEALED = Retry("its sealed data does not open: add its key to POSTBACK_SEAL_KEYS", _SEALED_RETRY_SECONDS)

E = TypeVar("E", bound=Event)
Built = tuple[JoinedEvent, Item] | Skipped | Failed | Retry


class Known(Struct, frozen=True):
    """A stored event, and the visitors it is joined with. `reaches`, `reached_before`: the mark of the goal that it
    reaches, and whether that was there already, see `reach.py`. `order_left`: of a refund, what its order is worth
    now."""

    stored: StoredEvent
    event: Event
    layers: tuple[Layer, ...] = ()
    reaches: tuple[bytes, bytes] | None = None
    reached_before: bool = False
    order_left: Money | None = None

    @property
    def visitor(self) -> Visitor | None:
        return named_of(self.layers)


def named_of(layers: Sequence[Layer]) -> Visitor | None:
    """The first visitor that may be told."""
    return next((visitor for layer in layers for visitor in layer.visitors if visitor.id is not None), None)


async def join(tx: Tx, rows: Sequence[StoredEvent], keys: Vault) -> dict[bytes, Known | None]:
    """Events by id, with their visitors: at most two look-ups, and one of orders where there are refunds among them.
    None for one that cannot be read. Reads only."""
    events = [_decoded(row) for row in rows]
    layers = await identity.find(tx, rows, events, keys.link_key)
    orders = {row.id: key for row, event in zip(rows, events, strict=True) if event and (key := _refunded(event))}
    worth = await conversions.worth(tx, sorted(set(orders.values()))) if orders else {}
    known: dict[bytes, Known | None] = {}
    for row, event in zip(rows, events, strict=True):
        left = worth.get(orders[row.id]) if row.id in orders else None
        known[row.id] = Known(row, event, layers[row.id], order_left=left) if event is not None else None
    return known


def _refunded(event: Event) -> bytes | None:
    """The key of the order that an event gives money of back."""
    if event.name != "refund" or event.site_id is None or event.order is None or event.order.id is None:
        return None
    return conversions.key_of(event.site_id.bytes, event.order.id)


def _decoded(row: StoredEvent) -> Event | None:
    try:
        return _decoder.decode(row.body)
    except msgspec.DecodeError:
        log.exception("a stored event cannot be read", event_id=row.id.hex())
        return None


def build(known: Known, destination: Destination, keys: Vault, now: datetime) -> Built:
    """One event for one destination: as a connector sees it and its item, or why there is none.

    Raises what a connector's bug raises.
    """
    connector, event = destination.connector, known.event
    if ERASED in event.notes:
        return Skipped(ERASED)
    if event.is_bot:
        return Skipped(BOT)
    if expired := _expired(event, connector, now):
        return expired
    choice = identity.consent(event, known.stored.id, known.layers)
    if choice is not None and choice.denies(connector.consent):
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


def join_one(known: Known, connector: Connector, keys: Vault | None, now: datetime) -> JoinedEvent:
    """The event as a connector sees it: gaps filled from its visitor as far as its choices allow, click ids past the
    connector's age dropped.

    `keys` None: what is sealed stays so.
    """
    event, stored = known.event, known.stored
    consent = identity.consent(event, stored.id, known.layers)
    layers = identity.allowed(known.layers, consent)
    user, click_ids, experiments = dict(event.user), dict(event.click_ids), dict(event.experiments)
    provenance: dict[str, str] = {}
    captured_at: dict[str, datetime] = {}
    for layer in layers:
        identifiers = layer.identifiers
        experiments = visitors.experiments(identifiers) | experiments
        hashes: dict[str, Identifier] = {}
        for name, one in identifiers.items():
            if name in CLICK_IDS:
                if name not in click_ids:
                    click_ids[name] = one.value
                    provenance[name] = layer.origin
                if click_ids[name] == one.value and name not in captured_at and one.is_dated:
                    captured_at[name] = one.first_seen_at
            elif name in HASHED and name not in user:
                hashes[name] = one
        if hashes:
            for name in identity.of_another(hashes, identifiers, user):
                del hashes[name]
            user |= {name: one.value for name, one in hashes.items()}
            provenance |= dict.fromkeys(hashes, layer.origin)
    if stale := _stale(click_ids, captured_at, connector.click_id_ages, event.occurred_at, now):
        click_ids = {name: value for name, value in click_ids.items() if name not in stale}
    readable: dict[str, str] = {}
    if keys is not None and (taken := connector.identifiers & READABLE):
        readable = pii.reveal(stored.sealed, keys.sealer) if stored.sealed else {}
        for layer in layers:
            for blob in layer.sealed:
                if blob == stored.sealed or taken <= readable.keys():
                    continue
                for name, value in pii.reveal(blob, keys.sealer).items():
                    if name not in readable:
                        readable[name] = value
                        provenance[name] = layer.origin
    page = event.page
    if page is not None and consent is not None and consent.ad_user_data is False:
        page = Page(
            url=page.url and pii.without_clicks(page.url), referrer=page.referrer and pii.without_clicks(page.referrer)
        )
    return JoinedEvent(
        id=UUID(bytes=stored.id),
        received_at=datetime.fromtimestamp(int.from_bytes(stored.id[:6]) / 1000, UTC),
        readable=readable,
        provenance=provenance,
        captured_at=captured_at,
        order_left=known.order_left,
        reached_before=known.reached_before,
        event_id=event.event_id,
        name=event.name,
        source_name=event.source_name,
        occurred_at=event.occurred_at,
        dialect=event.dialect,
        action_source=event.action_source,
        site_id=event.site_id,
        goal_id=event.goal_id,
        visitor_id=event.visitor_id or ((told := named_of(layers)) and told.id),
        session_id=event.session_id,
        value=event.value,
        order=event.order,
        page=page,
        user=user,
        click_ids=click_ids,
        consent=consent,
        experiments=experiments,
        properties=event.properties,
        is_test=event.is_test,
        is_bot=event.is_bot,
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
