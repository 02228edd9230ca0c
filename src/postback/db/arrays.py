"""Arrays as parameters, in PostgreSQL's binary form, made with one join instead of a call for every item.

One statement a table takes a whole flush as arrays, so their cost counts. Each function gives a value that psycopg
passes on as it is. None is NULL.
"""

import struct
from collections.abc import Iterable
from datetime import UTC, datetime

from psycopg import adapters
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEAD = struct.Struct("!iiIii")
_EMPTY = struct.Struct("!iiI")
_length = struct.Struct("!i").pack
_INT4 = struct.Struct("!ii")
_INT8 = struct.Struct("!iq")
_NULL = b"\xff\xff\xff\xff"
_UUID_LENGTH = _length(16)
_POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


class Array:
    """`pieces`: together, each item with its length before it."""

    __slots__ = ("data",)
    element_oid = 0
    array_oid = 0

    def __init__(self, count: int, *pieces: bytes) -> None:
        if count:
            self.data = b"".join((_HEAD.pack(1, 1, self.element_oid, count, 1), *pieces))
        else:
            self.data = _EMPTY.pack(0, 0, self.element_oid)


class _UuidArray(Array):
    element_oid, array_oid = 2950, 2951


class _TextArray(Array):
    element_oid, array_oid = 25, 1009


class _ByteaArray(Array):
    element_oid, array_oid = 17, 1001


class _Int4Array(Array):
    element_oid, array_oid = 23, 1007


class _Int8Array(Array):
    element_oid, array_oid = 20, 1016


class _TimestamptzArray(Array):
    element_oid, array_oid = 1184, 1185


def uuids(items: Iterable[bytes | None]) -> Array:
    """16-byte values: `UUID.bytes` or a key."""
    items = list(items)
    known = [item for item in items if item is not None]
    if len(known) == len(items):
        return _UuidArray(len(items), _UUID_LENGTH + _UUID_LENGTH.join(known))
    return _UuidArray(len(items), *[_NULL if item is None else _UUID_LENGTH + item for item in items])


def texts(items: Iterable[str | None]) -> Array:
    items = list(items)
    # Many columns hold one text.
    is_one = len(items) > 1 and items[0] is items[-1] and items.count(items[0]) == len(items)
    made = items[:1] if is_one else items
    parts = [_NULL if item is None else _length(len(text := item.encode())) + text for item in made]
    return _TextArray(len(items), b"".join(parts) * (len(items) if is_one else 1))


def byteas(items: Iterable[bytes | None]) -> Array:
    items = list(items)
    parts = [b""] * (2 * len(items))  # each is copied once: they are long
    parts[::2] = [_NULL if item is None else _length(len(item)) for item in items]
    parts[1::2] = [item or b"" for item in items]
    return _ByteaArray(len(items), *parts)


def ints(items: Iterable[int | None]) -> Array:
    items = list(items)
    pairs: list[int | None] = [4] * (2 * len(items))
    pairs[1::2] = items
    try:
        data = struct.pack(f"!{len(pairs)}i", *pairs)
    except struct.error:  # a None among them
        return _Int4Array(len(items), *[_NULL if item is None else _INT4.pack(4, item) for item in items])
    return _Int4Array(len(items), data)


def bigints(items: Iterable[int | None]) -> Array:
    parts = [_NULL if item is None else _INT8.pack(8, item) for item in items]
    return _Int8Array(len(parts), *parts)


def times(items: Iterable[datetime | None]) -> Array:
    parts: list[bytes] = []
    last, part = None, _NULL  # events that bear no time of their own share one
    for item in items:
        if item is not last:
            last, part = item, _NULL if item is None else _INT8.pack(8, microseconds(item))
        parts.append(part)
    return _TimestamptzArray(len(parts), *parts)


def microseconds(at: datetime) -> int:
    delta = at - _POSTGRES_EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def _register(kind: type[Array]) -> None:
    class ArrayDumper(Dumper):
        format = Format.BINARY
        oid = kind.array_oid

        def dump(self, obj: Array) -> Buffer:
            return obj.data

    adapters.register_dumper(kind, ArrayDumper)


for _kind in (_UuidArray, _TextArray, _ByteaArray, _Int4Array, _Int8Array, _TimestamptzArray):
    _register(_kind)
