"""Tombstones: identifiers of erased people, by their MACs, so that an event of what they did before does not bring them
back. What occurred after the erasure is a new person's.

Table: tombstone (bucket by the MAC). It is asked only about events that occurred before their workspace's newest
erasure; `workspaces.mark_erased` says when that was, and bumps the version, so that no flush misses a new one.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec import Struct

from postback.db import Queries, Tx, arrays, buckets

_queries = Queries("tombstones")


class Tombstone(Struct, frozen=True):
    """`is_seed`: somebody asked for this very identifier to be erased."""

    is_seed: bool
    erased_at: datetime


async def lay(tx: Tx, keys: Iterable[bytes], seeds: Iterable[bytes], erased_at: datetime) -> None:
    """Repeating is harmless. `seeds`: which of the keys were asked for."""
    rows, asked = sorted(set(keys)), set(seeds)
    own = [buckets.of_key(key) for key in rows]
    row = {"buckets": arrays.ints(own), "keys": arrays.uuids(rows), "touched": arrays.ints(sorted(set(own)))}
    await tx.execute(_queries.lay, row | {"seeds": [key in asked for key in rows], "erased_at": erased_at})


async def find(tx: Tx, keys: Sequence[bytes]) -> dict[bytes, Tombstone]:
    own = [buckets.of_key(key) for key in keys]
    row = {"buckets": arrays.ints(own), "keys": arrays.uuids(keys), "touched": arrays.ints(sorted(set(own)))}
    found = await (await tx.execute(_queries.find, row, binary=True)).fetchall()
    return {key.bytes: Tombstone(is_seed, erased_at) for key, is_seed, erased_at in found}
