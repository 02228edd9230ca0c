"""Late events of erased people: what they did before they were erased is taken without them.

Such an event is stored without any identifier, its conversions and its worth count, and nobody is sent it. Only an
event that occurred before its workspace's newest erasure is looked up, so that live traffic costs one comparison. A
repeat occurred no later than the first of its kind came, whatever it says; of those that come in one flush each is as
old as the oldest. A browser goes on to say of its session and its click ids what was before, also with what is a new
person's: that is left out.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from msgspec import structs

from postback import tombstones, visitors
from postback.db import Tx, buckets
from postback.intake.judge import Pending, Whole
from postback.intake.sales import skipped
from postback.pii.person import ERASED, Maker, Trace, belongs, stripped
from postback.queue import lists
from postback.visitors import Browser, Seen

_encode = msgspec.json.Encoder().encode


async def strip_late(tx: Tx, events: Sequence[Pending]) -> None:
    """Take the person from those events that are of one who was erased since, and from the others what their browsers
    say of before. `tx` outside a transaction: an erasure bumps the version, so that a flush which misses its tombstones
    does not commit."""
    await _strip_late(tx, events)
    if remembering := [event for event in events if _remembers(event)]:
        await _leave_out(tx, remembering)


async def _strip_late(tx: Tx, events: Sequence[Pending]) -> None:
    since: dict[bytes, datetime] = {}
    for event in events:
        if _is_late(event):
            at = event.event.occurred_at
            since[event.dedup_key] = min(at, since.get(event.dedup_key, at))
    if not since:
        return
    alike = [event for event in events if event.dedup_key in since and event.whole is None]
    theirs = await _of_erased(tx, [(event, since[event.dedup_key]) for event in alike])
    for event in theirs:
        _strip(event)
    first = {event.dedup_key: event for event in reversed(events)}
    for event in alike:
        if first[event.dedup_key].whole is not None:
            event.seen = None


def _remembers(pending: Pending) -> bool:
    """Whether a browser says of before its workspace's newest erasure."""
    erased_at, seen = pending.snapshot.workspace.erased_at, pending.seen
    if erased_at is None or seen is None or seen.browser is None:
        return False
    touch, ms = seen.browser.touch, erased_at.timestamp() * 1000
    said = seen.browser.identifiers.values()
    return (touch is not None and touch.at <= erased_at) or any(one.first_ms <= ms for one in said)


async def _leave_out(tx: Tx, events: Sequence[Pending]) -> None:
    """What browsers of erased people say of before. Those of a batch go on to share one object."""
    batches: dict[int, list[tuple[Pending, Seen, Browser]]] = {}
    for event in events:
        if (seen := event.seen) is not None and seen.browser is not None:
            batches.setdefault(id(seen.browser), []).append((event, seen, seen.browser))
    keys = {batch: _browser_of(alike[0][0]) for batch, alike in batches.items()}
    found = await tombstones.find(tx, sorted({mac for macs in keys.values() for mac in macs}))
    for batch, macs in keys.items():
        erased_at = max((found[mac].erased_at for mac in macs if mac in found), default=None)
        if erased_at is not None:
            left = batches[batch][0][2].since(erased_at)
            for event, seen, _ in batches[batch]:
                event.seen = structs.replace(seen, browser=left)


def _browser_of(pending: Pending) -> list[bytes]:
    """The keys of its visitor and its session."""
    maker = Maker(pending.installation_key, pending.snapshot.id_bytes)
    visitor = [maker.of_visitor(pending.visitor_key)] if pending.visitor_key is not None else []
    session_id = pending.event.session_id
    return [*visitor, maker.mac("session", session_id)] if session_id else visitor


async def forget(tx: Tx, repeats: Sequence[tuple[Pending, UUID]]) -> None:
    """Take from repeats what they show of people who were erased since; each with the id of the event that it repeats.
    `tx` holds the versions that these were judged under."""
    shown = [
        (event, id_)
        for event, id_ in repeats
        if event.seen is not None and event.snapshot.workspace.erased_at is not None
    ]
    if not shown:
        return
    first = await lists.event_rows(tx, sorted({id_ for _, id_ in shown}))
    gone = {id_ for id_, row in first.items() if row.is_erased}
    # The walk may not have come to the others yet.
    theirs = await _of_erased(tx, [(event, buckets.time_of(id_)) for event, id_ in shown if id_ not in gone])
    for event in [*theirs, *(event for event, id_ in shown if id_ in gone)]:
        event.seen = None


async def _of_erased(tx: Tx, events: Sequence[tuple[Pending, datetime]]) -> list[Pending]:
    """Those of people who were erased after a moment."""
    traced = [(event, at, _traces(event)) for event, at in events]
    keys = sorted({mac for _, _, traces in traced for _, macs in traces for mac in macs})
    found = await tombstones.find(tx, keys) if keys else {}
    theirs: list[Pending] = []
    for event, at, traces in traced:
        known = {mac for mac, stone in found.items() if at <= stone.erased_at}
        if belongs(traces, {mac for mac in known if found[mac].is_seed}, known)[0]:
            theirs.append(event)
    return theirs


def _is_late(pending: Pending) -> bool:
    erased_at = pending.snapshot.workspace.erased_at
    return erased_at is not None and pending.whole is None and pending.event.occurred_at <= erased_at


def _traces(pending: Pending) -> list[Trace]:
    event, maker = pending.event, Maker(pending.installation_key, pending.snapshot.id_bytes)
    keys = visitors.keys_of(event, pending.snapshot.workspace.id, pending.visitor_key)
    traces = maker.of_event(event, keys, pending.user_id)
    if pending.post is not None:
        traces.append(("order", (maker.of_order(pending.post.key),)))
    return traces


def _strip(pending: Pending) -> None:
    event, post = pending.event, pending.post
    pending.whole = Whole(event, pending.body, pending.sealed, pending.visitor_key, pending.seen, post)
    pending.event = stripped(event, UUID(bytes=pending.id))
    pending.body = _encode(pending.event)
    pending.sealed = pending.visitor_key = pending.seen = None
    pending.post = structs.replace(post, order_id=ERASED) if post is not None else None
    pending.fate = pending.settled = skipped(pending.fate, ERASED)
