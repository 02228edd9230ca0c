"""What can be kept of JSON that holds what cannot: NUL, half a surrogate pair, a number that is out of range. For the
tag's batches, of which one letter may lose no more than the part that holds it; what others send is refused for it.
"""

from collections.abc import Collection
from typing import Any, TypeVar

import msgspec
from msgspec import Raw
from msgspec.json import Decoder

from postback.dialects import UNREADABLE, decode
from postback.errors import Invalid

T = TypeVar("T")

_ANY, _LINES, _PARTS = Decoder(Any), Decoder(list[Raw]), Decoder(dict[str, Raw])
_NULL = Raw(b"null")
_encode = msgspec.json.Encoder().encode


def mended(sent: bytes | Raw, names: Collection[str], notes: list[str]) -> bytes | Raw:
    """An object, its parts of these names without what cannot be kept, with a note on each that lacks something; what
    is no object as it is. Of a part that is an object the entry that holds it is dropped, of a list the like of each
    line, of any other all.

    It has no half surrogate pairs, see `nul_for_halves`.
    """
    if (parts := _read(_PARTS, sent)) is None:
        return sent
    for name, part in parts.items():
        if name not in names or _is_sound(part):
            continue
        left, dropped = _mended(part)
        notes.append(f"{name}: malformed, dropped" if left == _NULL else f"{name}: {dropped} malformed, dropped")
        parts[name] = left
    return _encode(parts)


def _mended(part: Raw) -> tuple[Raw, int]:
    """What is left of a part, and of how many it was rid."""
    if (lines := _read(_LINES, part)) is None:
        return _without(part)
    left = [(line, 0) if _is_sound(line) else _without(line) for line in lines]
    return Raw(_encode([line for line, _ in left])), sum(dropped for _, dropped in left)


def _without(part: Raw) -> tuple[Raw, int]:
    if (entries := _read(_PARTS, part)) is None:
        return _NULL, 1
    left = {name: value for name, value in entries.items() if "\x00" not in name and _is_sound(value)}
    return Raw(_encode(left)), len(entries) - len(left)


def _read(decoder: Decoder[T], part: bytes | Raw) -> T | None:
    try:
        return decoder.decode(part)
    except UNREADABLE:
        return None


def _is_sound(part: Raw) -> bool:
    try:
        decode(_ANY, part)
    except Invalid:
        return False
    return True
