"""Slow upkeep of sealed data: sealed anew under the newest key, dropped when its time is over.

Table: upkeep, how far a task came in a bucket. Events are walked in the order of their ids, visitors in that of their
keys, a page a transaction; whatever stops it, it goes on where it was. Repeating is harmless.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from postback import workspaces
from postback.db import Pool, Queries, Tx, arrays, buckets
from postback.db.buckets import BUCKETS
from postback.pii import Sealer
from postback.workspaces import Installation

PAGE = 1000
PARTS = 2 * len(BUCKETS)
AGAIN = timedelta(days=1)  # a process that had not the newest key yet may have sealed by an older one
_LAG = timedelta(minutes=1)
_queries = Queries("upkeep")
_START = UUID(int=0)


async def reseal(pool: Pool, own: Sequence[int], sealer: Sealer, now: datetime) -> float:
    """A page of each of some buckets. How many seconds it took, 0 where all is done; then it makes no sense to come
    again soon."""
    if not sealer.older:
        return 0.0
    began, moved = time.monotonic(), False
    for bucket in own:
        async with pool.connection() as tx, tx.transaction():
            moved |= await _reseal_events(tx, bucket, sealer, now)
        async with pool.connection() as tx, tx.transaction():
            moved |= await _reseal_visitors(tx, bucket, sealer, now)
    if BUCKETS[0] in own:
        async with pool.connection() as tx, tx.transaction():
            await _reseal_rest(tx, sealer)
    return time.monotonic() - began if moved else 0.0


async def left(tx: Tx, sealer: Sealer) -> int:
    """How many of PARTS are still to be sealed anew; 0 where there is one key alone."""
    if not sealer.older:
        return 0
    row = {"buckets": list(BUCKETS), "tasks": _tasks(sealer)}
    done = await (await tx.execute(_queries.done, row)).fetchone()
    return PARTS - (done[0] if done else 0)


async def is_needed(tx: Tx, key_id: bytes) -> bool:
    """Whether anything is sealed by a key; reads all there is."""
    row = {"buckets": list(BUCKETS), "oldest": _START, "key_id": key_id}
    return await (await tx.execute(_queries.sealed_by, row)).fetchone() is not None


async def drop_sealed(pool: Pool, own: Sequence[int], oldest: datetime) -> None:
    """Forget what is sealed of events that came, and what was said of visitors, before `oldest`."""
    for bucket in own:
        high = UUID(int=max(0, buckets.floor(oldest).int - 1))
        while True:
            async with pool.connection() as tx, tx.transaction():
                after, _ = await _position(tx, bucket, "unseal")
                page = await _page(tx, bucket, after, high)
                if page:
                    span = {"bucket": bucket, "min_id": page[0][0], "max_id": page[-1][0]}
                    await tx.execute(_queries.unseal_events, span)
                    await _move(tx, bucket, "unseal", page[-1][0], None)
            if len(page) < PAGE:
                break
        after = _START
        while True:
            row = {"bucket": bucket, "after": after, "oldest": oldest, "limit": PAGE}
            async with pool.connection() as tx:
                gone = [key for (key,) in await (await tx.execute(_queries.unseal_visitors, row)).fetchall()]
            if len(gone) < PAGE:
                break
            after = max(gone)


def _tasks(sealer: Sealer) -> list[str]:
    return [f"reseal events {sealer.current.hex()}", f"reseal visitors {sealer.current.hex()}"]


async def _reseal_events(tx: Tx, bucket: int, sealer: Sealer, now: datetime) -> bool:
    """The next page; what is written just now waits. Whether there may be more."""
    task = _tasks(sealer)[0]
    after, done_at = await _position(tx, bucket, task)
    page = await _page(tx, bucket, after, buckets.floor(now - _LAG))
    await _rewrite(tx, _queries.reseal_events, bucket, page, sealer.reseal)
    is_end = len(page) < PAGE
    if page or done_at is None:
        await _move(tx, bucket, task, page[-1][0] if page else after, done_at or (now if is_end else None))
    return not is_end


async def _reseal_visitors(tx: Tx, bucket: int, sealer: Sealer, now: datetime) -> bool:
    task = _tasks(sealer)[1]
    after, done_at = await _position(tx, bucket, task)
    if done_at is not None:
        if now - done_at < AGAIN:
            return False
        after = _START
    row = {"bucket": bucket, "after": after, "limit": PAGE}
    page = await (await tx.execute(_queries.sealed_visitors, row, binary=True)).fetchall()
    await _rewrite(tx, _queries.reseal_visitors, bucket, [(key, sealed) for key, sealed, _ in page], sealer.reseal)
    await _rewrite(tx, _queries.reseal_devices, bucket, [(key, device) for key, _, device in page], sealer.reseal)
    is_end = len(page) < PAGE
    await _move(tx, bucket, task, page[-1][0] if page else after, now if is_end else None)
    return not is_end


async def _reseal_rest(tx: Tx, sealer: Sealer) -> None:
    """Destinations' credentials, tokens, the installation's own keys: few."""
    for id_, config in await (await tx.execute(_queries.sealed_configs, binary=True)).fetchall():
        if (sealed := sealer.reseal(config)) is not None:
            await tx.execute(_queries.reseal_config, {"id": id_, "old": config, "sealed": sealed})
    cursor = await tx.execute(_queries.sealed_tokens, {"buckets": list(BUCKETS)}, binary=True)
    for bucket, id_, old in await cursor.fetchall():
        if (sealed := sealer.reseal(old)) is not None:
            await tx.execute(_queries.reseal_token, {"bucket": bucket, "id": id_, "old": old, "sealed": sealed})
    installed: Installation | None = await workspaces.installation(tx)
    if installed is not None and not sealer.is_current(installed.link_key):
        check, link_key = sealer.reseal(installed.seal_check), sealer.reseal(installed.link_key)
        await tx.execute(_queries.reseal_installation, {"seal_check": check, "link_key": link_key})


async def _rewrite(
    tx: Tx,
    query: bytes,
    bucket: int,
    page: Sequence[tuple[UUID, bytes | None]],
    reseal: Callable[[bytes], bytes | None],
) -> None:
    old = [(id_, blob, new) for id_, blob in page if blob is not None and (new := reseal(blob)) is not None]
    if old:
        row: dict[str, object] = {"bucket": bucket, "min_id": old[0][0], "max_id": old[-1][0]}
        row |= {"ids": [id_ for id_, _, _ in old], "olds": arrays.byteas(blob for _, blob, _ in old)}
        await tx.execute(query, row | {"sealed": arrays.byteas(new for _, _, new in old)})


async def _page(tx: Tx, bucket: int, after: UUID, high: UUID) -> list[tuple[UUID, bytes | None]]:
    row = {"bucket": bucket, "min_id": UUID(int=after.int + 1), "max_id": high, "limit": PAGE}
    return await (await tx.execute(_queries.sealed_events, row, binary=True)).fetchall()


async def _position(tx: Tx, bucket: int, task: str) -> tuple[UUID, datetime | None]:
    row = await (await tx.execute(_queries.position, {"bucket": bucket, "task": task}, binary=True)).fetchone()
    return (row[0], row[1]) if row is not None else (_START, None)


async def _move(tx: Tx, bucket: int, task: str, position: UUID, done_at: datetime | None) -> None:
    await tx.execute(_queries.move, {"bucket": bucket, "task": task, "position": position, "done_at": done_at})
