"""`/v1/admin/deliveries`: one event bound for one destination, newest event first, with every attempt; and the ledger.

Times of the list are those of the event's arrival.
"""

from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import get
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath, QueryParameter
from msgspec import Raw, Struct
from psycopg import IsolationLevel

from postback import destinations, queue
from postback.db import Tx, buckets
from postback.delivery import prepare
from postback.destinations import Destination
from postback.errors import NotFound
from postback.pii import SealError
from postback.queue import DeliveryStatus, ledger, lists, sending
from postback.web.admin.access import Caller
from postback.web.admin.hub import Hub
from postback.web.admin.pages import DEFAULT_LIMIT, Limit, Page, PairCursor, cursor_text, read_ids
from postback.web.admin.shapes import DeliveryOut, Status, delivery_out
from postback.web.admin.spans import From, To, ids_between, moments, stored_as

_origins = msgspec.json.Decoder(dict[str, list[str]]).decode


class RequestOut(Struct, frozen=True):
    """As it was sent, secrets and readable personal data masked; `body`: this event's part of it, as JSON."""

    method: str
    url: str
    headers: dict[str, str]
    body: Raw


class AttemptOut(Struct, frozen=True):
    """`status`: HTTP's; null: no answer. `outcome` null: under way, or its worker died. `response`: the answer's body,
    secrets masked. `identifiers`: of those that the platform may have, the ones that the event had, and where each came
    from: `sent`, or joined from its `visitor`, by `session` or by `link`."""

    at: datetime
    status: int | None
    outcome: str | None
    reason: str | None
    latency_ms: int | None
    request: RequestOut | None
    response: str | None
    identifiers: dict[str, str]


class DeliveryDetails(DeliveryOut, frozen=True, kw_only=True):
    """`late_identifiers`: what is known of its visitor by now, and by what it was found, that came too late for the
    last attempt; a replay would send it."""

    attempts: list[AttemptOut]
    late_identifiers: dict[str, str]


class LedgerHour(Struct, frozen=True):
    """One destination's hour: accepted = delivered + skipped + failed + held + pending + difference."""

    destination: UUID
    connector: str
    name: str
    hour: datetime
    accepted: int
    delivered: int
    skipped: dict[str, int]
    failed: dict[str, int]
    held: int
    pending: int
    difference: int


class Ledger(Struct, frozen=True):
    """`balances`: nothing vanished, every `difference` is 0."""

    items: list[LedgerHour]
    balances: bool


@get("/deliveries", summary="List deliveries, newest event first")
async def list_all(
    hub: Needs[Hub],
    caller: Needs[Caller],
    looking: Needs[float],
    limit: Limit = DEFAULT_LIMIT,
    cursor: PairCursor = None,
    since: From = None,
    until: To = None,
    destination: Annotated[UUID | None, QueryParameter(description="A destination's id.")] = None,
    status: Annotated[Status | None, QueryParameter(description="In this state.")] = None,
    reason: Annotated[str | None, QueryParameter(description="How its reason begins.")] = None,
) -> Page[DeliveryOut]:
    """A page may hold fewer items than its limit, and yet have a `next_cursor`: what is rare is looked for in steps."""
    min_id, max_id = ids_between(since, until, caller.now)
    before = (max_id, lists.LAST_ID)
    if (after := read_ids(cursor, 2)) is not None:
        before = min(before, (after[0], after[1]))
    async with hub.pool.connection() as tx:
        labels = await destinations.labels(tx, caller.workspace_id)
        ids = list(labels) if destination is None else [destination] if destination in labels else []
        lanes = await destinations.lanes(tx, sorted({buckets.of_id(id_) for id_ in ids}))
        statuses, ids = stored_as(status, ids, lanes)
        if not ids:
            return Page([])
        wanted = lists.DeliveryFilter(destination_ids=ids, statuses=statuses, reason=reason)
        found, floor = await lists.deliveries(
            tx, wanted, min_id=min_id, before=before, limit=limit + 1, seconds=looking
        )
        events = await lists.event_rows(tx, sorted({one.event_id for one in found[:limit]}))
    shown = [
        delivery_out(one, events[one.event_id], labels.get(one.destination_id), lanes.get(one.destination_id))
        for one in found[:limit]
        if one.event_id in events
    ]
    return Page(shown, _next(found, floor, limit))


@get("/deliveries/{delivery:str}", summary="One delivery with its attempts")
async def read(hub: Needs[Hub], caller: Needs[Caller], delivery: FromPath[str]) -> DeliveryDetails:
    if (ids := queue.read_delivery_id(delivery)) is None:
        raise NotFound("There is no such delivery.")
    event_id, destination_id = ids
    async with hub.pool.connection() as tx:
        labels = await destinations.labels(tx, caller.workspace_id)
        event = await queue.event_row(tx, event_id) if destination_id in labels else None
        stored = (await queue.deliveries_of(tx, [event_id]))[event_id] if event else []
        one = next((row for row in stored if row.destination_id == destination_id), None)
        if event is None or one is None or event.workspace_id != caller.workspace_id:
            raise NotFound("There is no such delivery.")
        lanes = await destinations.lanes(tx, [buckets.of_id(destination_id)])
        attempts = await lists.attempts(tx, event_id, destination_id)
        installed = next((to for to in caller.snapshot.destinations if to.id == destination_id), None)
        known = await _known(tx, hub, installed, event_id) if installed is not None else {}
    shown = delivery_out(one, event, labels[destination_id], lanes.get(destination_id))
    fields = {name: getattr(shown, name) for name in shown.__struct_fields__}
    tries = [_attempt(attempt) for attempt in attempts]
    had = tries[-1].identifiers.keys() if tries and tries[-1].outcome is not None else known.keys()
    late = {name: origin for name, origin in known.items() if name not in had}
    return DeliveryDetails(**fields, attempts=tries, late_identifiers=late)


async def _known(tx: Tx, hub: Hub, to: Destination, event_id: UUID) -> dict[str, str]:
    """What a destination would have of an event if it were built now, and where it came from."""
    [stored] = (await sending.events(tx, [event_id.bytes])).values()
    known = (await prepare.join(tx, [stored], hub.vault))[stored.id]
    try:
        joined = prepare.join_one(known, to.connector, hub.vault, hub.writer.now()) if known is not None else None
    except SealError:
        return {}
    if joined is None or to.config is None:  # one that does not open says nothing of what it is sent
        return {}
    origins = joined.origins(to.connector.leaving(to.config))
    return {name: origin for origin, names in origins.items() for name in names}


@get("/ledger", summary="What became of all that was accepted, by destination and hour")
async def read_ledger(hub: Needs[Hub], caller: Needs[Caller], since: From = None, until: To = None) -> Ledger:
    """Without `from`: the last 24 hours. Hours that begin in the span, oldest first."""
    start, end = moments(since, until, caller.now, timedelta(hours=24))
    async with hub.pool.connection() as tx:
        labels = await destinations.labels(tx, caller.workspace_id)
        lanes = await destinations.lanes(tx, sorted({buckets.of_id(id_) for id_ in labels}))
        held = {id_ for id_ in labels if (lane := lanes.get(id_)) and lane.state == "held"}
        await tx.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        try:
            async with tx.transaction():
                hours = await ledger.read(tx, list(labels), start, end, held)
        finally:
            await tx.set_isolation_level(None)
    return Ledger(
        [
            LedgerHour(
                destination=hour.destination_id,
                connector=labels[hour.destination_id].connector,
                name=labels[hour.destination_id].name,
                hour=hour.hour,
                accepted=hour.accepted,
                delivered=hour.delivered,
                skipped=hour.skipped,
                failed=hour.failed,
                held=hour.held,
                pending=hour.pending,
                difference=hour.difference,
            )
            for hour in hours
        ],
        all(hour.difference == 0 for hour in hours),
    )


def _next(found: list[DeliveryStatus], floor: tuple[UUID, UUID] | None, limit: int) -> str | None:
    if len(found) > limit:
        last = found[limit - 1]
        floor = (last.event_id, last.destination_id)
    return cursor_text(floor[0].bytes + floor[1].bytes) if floor else None


def _attempt(attempt: lists.Attempt) -> AttemptOut:
    origins = _origins(attempt.identifiers) if attempt.identifiers else {}
    return AttemptOut(
        at=attempt.at,
        status=attempt.status,
        outcome=attempt.outcome,
        reason=attempt.reason,
        latency_ms=attempt.latency_ms,
        request=_request(attempt.head, attempt.request) if attempt.head else None,
        response=attempt.response,
        identifiers={name: origin for origin, names in origins.items() for name in names},
    )


def _request(head: str, body: bytes | None) -> RequestOut:
    """`head`: method and URL, then a header a line, as the log keeps them."""
    first, *lines = head.split("\n")
    method, _, url = first.partition(" ")
    headers = {name: value for name, _, value in (line.partition(": ") for line in lines)}
    return RequestOut(method, url, headers, Raw(body or b"null"))


HANDLERS = [list_all, read, read_ledger]
