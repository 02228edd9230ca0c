"""Erasing a person: the walk over a workspace's events, in small transactions, while everything goes on.

    begin    in one transaction: tombstones of what was asked for, visitors' rows gone, the configuration's version
             bumped, so that no flush takes an older event of theirs any more
    events   rounds over all events: those of the person are stripped, and in the next transaction, when nothing else is
             read of them any more, their open deliveries end as skipped and what was sent of them is blanked; what they
             name beside (a second email, another browser) makes another round. The first takes those alone that bear
             what was asked for, see `rounds`
    visitors rows that bear what is the person's beside another's name lose it; those that bear no other name go
    links    links that lead to these and to the person's visitors go
    wait     what a worker held ready when it was cancelled may still be written to the log: that is blanked now
    log      where rows of the person, or others that bore what is theirs, may have lent it to another's event: once
             more over all events, those whose log bears what they do not bear themselves lose it there

What is counted stays: events, usage, deliveries, conversions and their value. Repeating a step is harmless.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import structlog
from msgspec import Struct, structs

from postback import queue, tombstones, workspaces
from postback.db import Queries, Tx, arrays, buckets, is_unavailable, server
from postback.db.buckets import BUCKETS
from postback.pii import Sealer
from postback.pii.person import ERASED, Maker, stripped
from postback.privacy import erasures, lent, people, posts, receipt, rounds, visitor_rows
from postback.privacy.erasures import Erasure, State
from postback.privacy.people import LAST, Found, Kind, Person, Reader
from postback.privacy.rounds import SHARED_BY
from postback.visitors import links

log = structlog.get_logger()
EXAMINED = 1000
LOGS_EXAMINED = 200  # an event's log takes five times as long as the event
LEAST_PER_BUCKET = 20  # what an empty bucket costs, in events
LINK_BUCKETS = 8
STEPS_A_TURN = 20
PERHAPS = "erased: it was under way and may have arrived"
_queries = Queries("privacy")
_encode = msgspec.json.Encoder().encode


class Tools(Struct, frozen=True):
    """`grace`: how long after its cancelling a delivery may still be on its way."""

    sealer: Sealer
    installation_key: bytes
    grace: timedelta

    def maker(self, workspace_id: UUID) -> Maker:
        return Maker(self.installation_key, workspace_id.bytes)

    def reader(self, workspace_id: UUID) -> Reader:
        return Reader(workspace_id, self.sealer, self.maker(workspace_id))


async def begin(
    tx: Tx, tools: Tools, workspace_id: UUID, kind: Kind, value: str, *, country: str | None, created_by: str, id: UUID
) -> tuple[Erasure, bool]:
    """Ask for an erasure, in the caller's transaction, and whether it is new: while one of the same identifier runs,
    that one is given, and begins its round anew. Raises Invalid."""
    await workspaces.hold(tx, workspace_id)
    reader = tools.reader(workspace_id)
    person = await people.meant(tx, workspace_id, kind, value, country, reader.maker)
    for other in await erasures.list_all(tx, workspace_id, before=LAST, limit=1, running_of=person.seeds[0]):
        held = await erasures.hold(tx, other.id)
        if held is not None and held.state is not None:
            return await _renew(tx, held, held.state, person, reader), False
    removed: Counter[str] = Counter()
    now = await _close(tx, workspace_id)
    state = State(person, now, _until(now), Person(person.seeds, {}, []))
    await _look_for(tx, workspace_id, state, person, reader, removed)
    made = await erasures.add(
        tx, id=id, workspace_id=workspace_id, kind=kind, state=state, removed=dict(removed), created_by=created_by
    )
    return made, True


async def _renew(tx: Tx, erasure: Erasure, state: State, person: Person, reader: Reader) -> Erasure:
    """Until now, in place of until when it was asked for first. What the round found is kept."""
    if state.is_shared:
        state.shared = sorted({*state.shared, *person.visitors})
        person = state.person
    else:
        person.join(state.person, reader.maker)
        state.round = 1
    removed = Counter(erasure.removed)
    now = state.erased_at = await _close(tx, erasure.workspace_id)
    state.stage, state.bucket, state.after = "events", 0, UUID(int=0)
    await _look_for(tx, erasure.workspace_id, state, person, reader, removed)
    renewed = structs.replace(erasure, removed=dict(removed), changed_at=now)
    await erasures.write(tx, renewed, now)
    return renewed


async def _look_for(
    tx: Tx, workspace_id: UUID, state: State, person: Person, reader: Reader, removed: Counter[str]
) -> None:
    """Begin a walk, until `state.erased_at`: tombstones of who is looked for, and their visitors' rows gone. Those of a
    shared identifier stay, and lose it when the walk comes by."""
    state.person, seen_in = person, {*person.visitors, *state.shared}
    if not state.is_shared:
        state.person, state.is_shared = await rounds.begin(tx, person, reader.maker)
    await _lay(tx, workspace_id, state)
    kept = await visitor_rows.drop(tx, reader, state.person, state.erased_at, removed, is_all=True)
    beside = seen_in.difference(state.person.visitors) if state.is_shared else ()
    state.share(sorted({*kept, *beside}), state.erased_at)
    state.until = _until(state.erased_at)


async def run(tx: Tx, ids: Sequence[UUID], tools: Tools, now: datetime) -> bool:
    """Go on with some erasures for a while. Whether any moved, so that it makes sense to look again soon."""
    moved = False
    for id_ in ids:
        try:
            for _ in range(STEPS_A_TURN):
                if not await step(tx, id_, tools, now):
                    break
                moved = True
        except Exception as error:
            if tx.closed:
                raise
            # Others of other people go on.
            log.warning(
                "an erasure stumbled; it is tried again", erasure=str(id_), error=type(error).__name__,
                exc_info=not is_unavailable(error),
            )  # fmt: skip
    return moved


async def step(tx: Tx, id: UUID, tools: Tools, now: datetime) -> bool:
    """One transaction's worth of an erasure. False: it does not run any more, or waits."""
    async with tx.transaction():
        seen = await erasures.look(tx, id)
        if seen is None or seen.state is None:
            return False
        if is_marking := seen.state.is_walked:
            # Whoever changes the workspace, and each flush, locks its version first, before all other rows.
            await workspaces.hold(tx, seen.workspace_id)
        erasure = await erasures.hold(tx, id)
        if erasure is None or (state := erasure.state) is None:
            return False
        removed = Counter(erasure.removed)
        if state.is_walked and not is_marking:  # another process walked it to its end meanwhile
            return True
        if state.stripped:
            await _cancel(tx, state, removed, now)
        if state.is_walked:
            await _next_round(tx, tools.reader(erasure.workspace_id), state, removed)
        elif state.stage == "events":
            await _walk(tx, erasure, state, tools, removed, now)
        elif state.stage == "visitors":
            await _unname(tx, tools.reader(erasure.workspace_id), state, removed, now)
        elif state.stage == "links":
            await _unlink(tx, tools.reader(erasure.workspace_id), state, removed)
        elif state.stage == "wait":
            if any(at is not None and now < at + tools.grace for at in (state.cancelled_at, state.lent_at)):
                return False
            await _blank(tx, state.cancelled, removed)
            state.stage, state.bucket, state.after = "log", 0 if state.lent_at else len(BUCKETS), UUID(int=0)
        if state.stage == "log":
            if state.lent_at is not None:
                await _unlend(tx, tools.reader(erasure.workspace_id), state, _until(state.lent_at), removed)
            if state.bucket == len(BUCKETS):
                erasure = _done(erasure, state, removed, tools, now)
        await erasures.write(tx, structs.replace(erasure, removed=dict(removed)), now)
        return erasure.status == "running"


async def _close(tx: Tx, workspace_id: UUID) -> datetime:
    """Wait until no flush can commit that was judged until now. The moment until which events may have come so. The
    caller holds the workspace."""
    await workspaces.bump(tx, workspace_id)
    # After the bump: whatever was committed under the old version is older than this.
    return await server.clock(tx)


async def _lay(tx: Tx, workspace_id: UUID, state: State) -> None:
    """From the commit on, no event of before `erased_at` brings the person back. The workspace is closed."""
    await workspaces.mark_erased(tx, workspace_id, state.erased_at)
    await tombstones.lay(tx, state.person.macs(), state.person.seeds, state.erased_at)


async def _walk(tx: Tx, erasure: Erasure, state: State, tools: Tools, removed: Counter[str], now: datetime) -> None:
    reader = tools.reader(erasure.workspace_id)
    maker = reader.maker
    left = EXAMINED
    while left > 0 and state.bucket < len(BUCKETS):
        bucket = BUCKETS[state.bucket]
        rows = await reader.page(tx, bucket, state.after, state.until, left)
        beside: list[UUID] = []
        mine = list(reader.theirs(rows, state.person, state.erased_at, beside=beside))
        if beside and (removed["visitors"] or removed["visitors_narrowed"]):
            state.lent_at = now
        if gone := [one for one in mine if one.is_asked or state.round > 1]:
            await _strip(tx, bucket, gone, state, maker, removed)
            for own, found in (await posts.find(tx, reader, gone, state.person, state.erased_at)).items():
                await _strip(tx, own, found, state, maker, removed)
                mine += found
        if not state.is_shared and rounds.learn(state.person, state.found, mine, maker):
            _hold_back(state, maker)
        state.pass_by([row.id for row in rows], left)
        left -= max(len(rows), LEAST_PER_BUCKET)


async def _next_round(tx: Tx, reader: Reader, state: State, removed: Counter[str]) -> None:
    """Another one where more was found to be the person's; else what leads to them goes."""
    state.bucket, state.after = 0, UUID(int=0)
    if state.is_shared or rounds.is_last(state.person, state.found, is_first=state.round == 1):
        state.stage = "visitors"
        return
    now = await _close(tx, reader.workspace_id)
    if not await rounds.take(tx, state.person, state.found, reader.maker):
        _hold_back(state, reader.maker)
        state.stage = "visitors"
        return
    await _lay(tx, reader.workspace_id, state)
    state.share(
        await visitor_rows.drop(
            tx, reader, state.person, state.erased_at, removed, is_all=False, narrowed=state.shared
        ), now
    )  # fmt: skip
    state.until, state.round = _until(now), state.round + 1
    state.found = Person(state.person.seeds, {}, [])


def _hold_back(state: State, maker: Maker) -> None:
    """What came along is many people's. In the first round nothing of it was taken yet, and nothing of it goes: not
    the rows of visitors either, which lose what was asked for."""
    state.is_shared = True
    if state.round == 1:
        seen_in = {*state.person.visitors, *state.found.visitors}
        state.person = state.person.asked(maker)
        state.shared = sorted(seen_in.difference(state.person.visitors).union(state.shared))


def _until(erased_at: datetime) -> UUID:
    """Ids beyond are of flushes that knew of the tombstones; clocks may be a little apart."""
    return buckets.floor(erased_at + timedelta(hours=1))


async def _strip(tx: Tx, bucket: int, mine: Sequence[Found], state: State, maker: Maker, removed: Counter[str]) -> None:
    ids = [found.row.id for found in mine]
    bodies = arrays.byteas(_encode(stripped(found.event, found.row.id)) for found in mine)
    removed["events"] += (
        await tx.execute(_queries.strip_events, _of_bucket(bucket, ids) | {"bodies": bodies})
    ).rowcount
    state.stripped += ids
    orders = posts.order_keys(mine)
    removed["conversions"] += (await tx.execute(_queries.strip_conversions, posts.spans(ids, orders))).rowcount
    if orders:
        named = visitor_rows.places(sorted(set(orders.values()))) | {"order_id": ERASED}
        removed["orders"] += (await tx.execute(_queries.strip_orders, named)).rowcount
        await tombstones.lay(tx, map(maker.of_order, orders.values()), (), state.erased_at)


async def _cancel(tx: Tx, state: State, removed: Counter[str], now: datetime) -> None:
    """End the deliveries of what was stripped. What a replay opens from now on is built of what is left."""
    for bucket, ids in _by_bucket(state.stripped):
        row = _of_bucket(bucket, ids)
        ending = row | {"reason": ERASED, "perhaps": PERHAPS, "now": now}
        cancelled = [id_ for (id_,) in await (await tx.execute(_queries.cancel, ending, binary=True)).fetchall()]
        removed["deliveries_cancelled"] += len(cancelled)
        if cancelled:
            state.cancelled += sorted(set(cancelled) - set(state.cancelled))
            state.cancelled_at = now
        await tx.execute(_queries.shorten_reasons, row | {"ours": queue.OURS})
    await _blank(tx, state.stripped, removed)
    state.stripped = []


async def _unname(tx: Tx, reader: Reader, state: State, removed: Counter[str], now: datetime) -> None:
    """The next visitors: rows that bear what is the person's go where they name nobody else, and lose it elsewhere."""
    bucket, known = BUCKETS[state.bucket], state.person.macs()
    page = await reader.visitors(tx, bucket, state.after, EXAMINED)
    for key, identifiers in page:
        names, is_nameless = reader.said(identifiers, known, state.erased_at)
        if names:
            state.lent_at = now
        # One by one: a flush locks them in the order of their keys too.
        # More of them are a line of many.
        if is_nameless and not state.is_shared and len(state.nameless) < SHARED_BY["visitor"]:
            await visitor_rows.remove(tx, [key.bytes], state.erased_at, removed)
            state.nameless.append(key.bytes)
        elif names:
            removed["visitors_narrowed"] += await visitor_rows.unname(tx, key.bytes, names, state.erased_at)
    state.pass_by([key for key, _ in page], EXAMINED)
    if state.bucket == len(BUCKETS):
        state.stage, state.bucket = "links", 0


async def _unlink(tx: Tx, reader: Reader, state: State, removed: Counter[str]) -> None:
    if state.bucket == 0 and state.shared:
        await visitor_rows.drop_sessions(tx, reader, state.person, state.shared, state.erased_at, removed)
    keys = [UUID(bytes=mac) for mac in sorted(state.person.macs())]
    theirs = [*(key for key in state.person.visitors if key not in state.shared), *state.nameless]
    visitor_keys = [UUID(bytes=key) for key in theirs]
    for bucket in BUCKETS[state.bucket : state.bucket + LINK_BUCKETS]:
        row = {"bucket": bucket, "keys": keys, "visitor_keys": visitor_keys, "erased_at": state.erased_at}
        removed["links"] += (await tx.execute(_queries.drop_links, row)).rowcount
        removed["links"] += (await tx.execute(_queries.narrow_links, row)).rowcount
    if state.bucket == 0 and (theirs or state.shared):
        spans = [links.aliases_of(key) for key in theirs]
        # Of a row that stays, what the person's own email or id proved.
        proofs = [mac for kind in links.PROOFS for mac in state.person.known.get(kind, ())]
        spans += [(alias, alias) for key in state.shared for alias in (links.alias_key(key, mac) for mac in proofs)]
        removed["links"] += (await tx.execute(_queries.drop_aliases, visitor_rows.places([low for low, _ in spans]) | {
            "highs": [UUID(bytes=high) for _, high in spans], "erased_at": state.erased_at})).rowcount  # fmt: skip
    state.bucket += LINK_BUCKETS
    if state.bucket >= len(BUCKETS):
        state.stage = "wait"


async def _unlend(tx: Tx, reader: Reader, state: State, until: UUID, removed: Counter[str]) -> None:
    left = LOGS_EXAMINED
    while left > 0 and state.bucket < len(BUCKETS):
        rows = await reader.page(tx, BUCKETS[state.bucket], state.after, until, left)
        await _blank(tx, await lent.find(tx, reader, BUCKETS[state.bucket], rows, state.person), removed)
        state.pass_by([row.id for row in rows], left)
        left -= max(len(rows), LEAST_PER_BUCKET)


async def _blank(tx: Tx, ids: Sequence[UUID], removed: Counter[str]) -> None:
    for bucket, own in _by_bucket(ids):
        removed["attempts"] += (await tx.execute(_queries.blank_attempts, _of_bucket(bucket, own))).rowcount


def _by_bucket(ids: Sequence[UUID]) -> list[tuple[int, list[UUID]]]:
    own: dict[int, list[UUID]] = {}
    for id_ in ids:
        own.setdefault(buckets.of_id(id_), []).append(id_)
    return sorted(own.items())


def _of_bucket(bucket: int, ids: Sequence[UUID]) -> dict[str, object]:
    low, high = buckets.span(ids)
    return {"bucket": bucket, "ids": list(ids), "min_id": low, "max_id": high}


def _done(erasure: Erasure, state: State, removed: Counter[str], tools: Tools, now: datetime) -> Erasure:
    removed["tombstones"] = len(state.person.macs())
    text, signature = receipt.sign(
        tools.installation_key,
        {
            "erasure": erasure.id,
            "workspace": erasure.workspace_id,
            "asked_by": erasure.kind,
            "subject": erasure.subject.hex(),
            "requested_at": buckets.time_of(erasure.id),
            "finished_at": now,
            "removed": dict(removed),
            "shared": state.is_shared,
        },
    )
    return structs.replace(erasure, status="done", state=None, receipt=text, signature=signature)
