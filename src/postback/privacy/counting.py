"""How much an erasure would remove: its walk, only reading, for as long as one may wait."""

import time
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from postback import visitors
from postback.db import Tx
from postback.db.buckets import BUCKETS
from postback.privacy import posts, rounds, visitor_rows
from postback.privacy.people import LAST, Person, Reader
from postback.privacy.rounds import SHARED_BY

EXAMINED = 500


class Counted(Struct):
    """`is_all` false: time ran out, and there may be more. `events`: their ids."""

    visitors: int = 0
    events: set[UUID] = set()
    is_all: bool = False


async def count(tx: Tx, reader: Reader, person: Person, now: datetime, seconds: float) -> Counted:
    """`person` as `people.meant` gave it."""
    counted, deadline = Counted(), time.monotonic() + seconds
    person, shared = await rounds.begin(tx, person, reader.maker)
    beside, is_first = set[UUID](), True
    while True:
        found = Person(person.seeds, {}, [])
        into = (counted.events, beside if is_first else counted.events)
        is_walked, shared = await _round(tx, reader, person, found, into, now, deadline, shared)
        if not is_walked or shared or rounds.is_last(person, found, is_first=False):
            break
        if shared := not await rounds.take(tx, person, found, reader.maker):
            break
        is_first = False
    if not is_first or not shared:
        counted.events |= beside
    else:
        person = person.asked(reader.maker)
    rows = await visitors.find(tx, person.visitors) if person.visitors else {}
    counted.visitors = len(rows) - len(visitor_rows.shared(reader, person, rows))
    counted.is_all = is_walked and await _nameless(tx, reader, person, counted, now, deadline, shared)
    return counted


async def _round(
    tx: Tx, reader: Reader, person: Person, found: Person, into: tuple[set[UUID], set[UUID]], now: datetime,
    deadline: float, shared: bool,
) -> tuple[bool, bool]:  # fmt: skip
    """All events once, as far as time allows: those that bear what was asked for, and the rest of the person's, go
    `into` the one and the other. Whether time sufficed, and whether the person is many."""
    for bucket in BUCKETS:
        after, is_more = UUID(int=0), True
        while is_more:
            page = await reader.page(tx, bucket, after, LAST, EXAMINED)
            mine = list(reader.theirs(page, person, now))
            for ids, is_asked in zip(into, (True, False), strict=True):
                own = [one for one in mine if one.is_asked == is_asked]
                for found_posts in (await posts.find(tx, reader, own, person, now)).values() if own else ():
                    own += found_posts
                ids |= {one.row.id for one in own}
                shared = shared or rounds.learn(person, found, own, reader.maker)
            if time.monotonic() > deadline:
                return False, shared
            if is_more := len(page) == EXAMINED:
                after = page[-1].id
    return True, shared


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
