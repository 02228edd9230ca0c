"""Tombstones: the newest erasure counts, and what was asked for stays so."""

from datetime import UTC, datetime, timedelta

from postback import tombstones
from postback.db import Tx
from postback.tombstones import Tombstone

FIRST = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)
LATER = FIRST + timedelta(days=1)
ASKED, BESIDE, NOBODY = (bytes([n]) * 16 for n in (1, 2, 3))


async def test_what_was_erased_is_found_and_what_was_asked_for_is_told_from_what_was_found_beside(tx: Tx) -> None:
    await tombstones.lay(tx, [ASKED, BESIDE], [ASKED], FIRST)
    assert await tombstones.find(tx, [NOBODY, BESIDE, ASKED]) == {
        ASKED: Tombstone(is_seed=True, erased_at=FIRST),
        BESIDE: Tombstone(is_seed=False, erased_at=FIRST),
    }
    assert await tombstones.find(tx, []) == {}


async def test_the_newest_erasure_counts_in_whichever_order_they_are_laid(tx: Tx) -> None:
    await tombstones.lay(tx, [ASKED, BESIDE], [ASKED], LATER)
    await tombstones.lay(tx, [BESIDE, ASKED, ASKED], [BESIDE], FIRST)
    assert set((await tombstones.find(tx, [ASKED, BESIDE])).values()) == {Tombstone(is_seed=True, erased_at=LATER)}
