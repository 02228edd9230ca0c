"""A replay or a backfill that opens a delivery while its event is erased."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from postback.db import Tx, buckets
from postback.privacy import erasing
from postback.queue import history, sending
from postback.queue.history import Given, Span
from tests.privacy.erasable import EMAIL_HASH, JANE, PERSON, Erasable, everything, forms


async def opened(hub: Erasable, tx: Tx, id_: UUID, how: str, now: datetime) -> bytes:
    """What a lane is given of an event to which a delivery is opened."""
    span = Span(buckets.of_id(id_), hub.destination, id_, id_, now + timedelta(seconds=5), None)
    if how == "replay":
        assert await history.reopen(tx, span, [id_], ["skipped"], now) == 1
    else:
        made = await history.give(tx, span, hub.workspace.id, id_, [Given(id_, "queued", now, None)])
        assert made["queued"] == 1
    return (await sending.events(tx, [id_.bytes]))[id_.bytes].body


@pytest.mark.parametrize("how", ["replay", "backfill"])
async def test_what_is_opened_while_its_event_is_stripped_leaves_nothing_in_the_log(
    hub: Erasable, tx: Tx, how: str
) -> None:
    id_ = await hub.put("e1", **PERSON)
    if how == "replay":
        await tx.execute("UPDATE delivery SET status = 'skipped', reason = 'consent: denied', settled_at = now()")
    else:
        await tx.execute("DELETE FROM delivery")
    asked, now = await hub.ask("email", JANE["email"]), datetime.now(UTC)
    body = "SELECT body FROM event"
    async with hub.pool.connection() as walk, walk.transaction():
        while b"erased" not in bytes((await (await walk.execute(body.encode())).fetchall())[0][0]):
            assert await erasing.step(walk, asked.id, hub.tools, now)
        # Not committed yet.
        built = await opened(hub, tx, id_, how, now)
    assert EMAIL_HASH.encode() in bytes(built)
    await tx.execute(
        "INSERT INTO attempt (bucket, event_id, destination_id, n, at, outcome, head, request) "
        "SELECT bucket, event_id, destination_id, 1, now(), 'delivered', 'POST x', %s FROM delivery "
        " WHERE event_id = %s AND status = 'queued'",
        (bytes(built), id_),
    )
    await hub.finish(asked.id)
    assert await hub.fates() == [("skipped", "erased")]
    assert not [form for form in forms(EMAIL_HASH) if form in await everything(tx)]
