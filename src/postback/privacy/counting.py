"""How much an erasure would remove: its walk, only reading, for as long as one may wait."""

import time
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from postback import visitors
from postback.db import Tx
from postback.db.buckets import BUCKETS
from postback.privacy import people, visitor_rows
from postback.privacy.erasing import MOST_ROUNDS, SHARED_BY, is_shared, new_in, posts_of, take
from postback.privacy.people import LAST, Person, Reader

EXAMINED = 500


class Counted(Struct):
    """`is_all` false: time ran out, and there may be more. `events`: their ids."""

    visitors: int = 0
    events: set[UUID] = set()
    is_all: bool = False


async def count(tx: Tx, reader: Reader, person: Person, now: datetime, seconds: float) -> Counted:
    """`person` as `people.meant` gave it."""
    counted, deadline = Counted(), time.monotonic() + seconds
    is_walked = shared = False
    await people.widen(tx, person, list(person.visitors), reader.maker)
    for n in range(MOST_ROUNDS):
        found = Person(person.seeds, {}, [])
        is_walked = await _round(tx, reader, person, found, counted, now, deadline)
        shared = is_shared(person, found)
        if not is_walked or shared or not any(new_in(person, found).values()) or n == MOST_ROUNDS - 1:
            break
        await people.widen(tx, person, take(person, found, reader.maker), reader.maker)
    rows = await visitors.find(tx, person.visitors) if person.visitors else {}
    counted.visitors = len(rows) - len(visitor_rows.shared(reader, person, rows))
    counted.is_all = is_walked and await _nameless(tx, reader, person, counted, now, deadline, shared)
    return counted


async def _round(
    tx: Tx, reader: Reader, person: Person, found: Person, counted: Counted, now: datetime, deadline: float
) -> bool:
    """All events once, as far as time allows; whether it did."""
    shared = False
    for bucket in BUCKETS:
        after, is_more = UUID(int=0), True
        while is_more:
            page = await reader.page(tx, bucket, after, LAST, EXAMINED)
            if mine := list(reader.theirs(page, person, now)):
                for posts in (await posts_of(tx, reader, mine, person, now)).values():
                    mine += posts
                counted.events |= {one.row.id for one in mine}
                for one in mine:
                    if one.spreads and not shared:
                        found.add(one.traces, one.visitor_keys, reader.maker)
                shared = shared or is_shared(person, found)
            if time.monotonic() > deadline:
                return False
            if is_more := len(page) == EXAMINED:
                after = page[-1].id
    return True


async def _nameless(
    tx: Tx, reader: Reader, person: Person, counted: Counted, now: datetime, deadline: float, shared: bool
) -> bool:
    """Visitors that go though they are not the person's: as `_round`."""
    most = counted.visitors + (0 if shared else SHARED_BY["visitor"])
    async for keys in reader.nameless(tx, person, now, EXAMINED):
        counted.visitors = min(counted.visitors + len(keys), most)
        if time.monotonic() > deadline:
            return False
    return True
