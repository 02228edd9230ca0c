"""Lines of an order as shops write them, where the contract says no more than that there are such: each part is taken
as far as it can be, a note says what cannot, and no part of a line fails the event. Names: the first one sent counts.
"""

from collections.abc import Sequence
from typing import TypeVar

from msgspec import Raw, Struct
from msgspec.json import Decoder

from postback.dialects import UNREADABLE
from postback.errors import Invalid
from postback.event import Item
from postback.money import amount

T = TypeVar("T")

MAX_ITEMS = 1000
MAX_QUANTITY = 1_000_000_000
_NOTHING = Raw()


class _Item(Struct, kw_only=True, gc=False):
    product_id: Raw = _NOTHING
    item_id: Raw = _NOTHING
    id: Raw = _NOTHING
    sku: Raw = _NOTHING
    name: Raw = _NOTHING
    quantity: Raw = _NOTHING
    price: Raw = _NOTHING


_ITEM = Decoder(_Item)
_TEXT = Decoder(str | int | None)
_WHOLE = Decoder(int | None)


def refuse_too_many(sent: Sequence[object], field: str) -> None:
    if len(sent) > MAX_ITEMS:
        raise Invalid(f"{field} must hold at most {MAX_ITEMS} items.", field=field)


def read(sent: Sequence[Raw], field: str, notes: list[str], *, allow_text: bool = False) -> tuple[Item, ...]:
    """The lines of `field`, those left out that are no objects. Raises Invalid where there are too many."""
    refuse_too_many(sent, field)
    found = [read_one(raw, f"{field}[{index}]", notes, allow_text=allow_text) for index, raw in enumerate(sent)]
    return tuple([item for item in found if item])


def read_one(raw: Raw, path: str, notes: list[str], *, allow_text: bool = False) -> Item | None:
    """One line, None where it is no object. `allow_text`: the price may be plain decimal text."""
    try:
        sent = _ITEM.decode(raw)
    except UNREADABLE:
        notes.append(f"{path}: not an object, left out")
        return None
    product_id = _part(_TEXT, sent.product_id or sent.item_id or sent.id or sent.sku, f"{path}.product_id", notes)
    name = _part(_TEXT, sent.name, f"{path}.name", notes)
    quantity = _part(_WHOLE, sent.quantity, f"{path}.quantity", notes)
    if quantity is not None and not 0 <= quantity <= MAX_QUANTITY:
        notes.append(f"{path}.quantity: out of range, left out")
        quantity = None
    try:
        price = amount(sent.price, f"{path}.price", allow_text=allow_text)
    except Invalid:
        notes.append(f"{path}.price: no amount, left out")
        price = None
    return Item(
        product_id=None if product_id is None else str(product_id),
        name=None if name is None else str(name),
        quantity=quantity,
        price=price,
    )


def _part(decoder: Decoder[T], raw: Raw, path: str, notes: list[str]) -> T | None:
    if not raw:
        return None
    try:
        return decoder.decode(raw)
    except UNREADABLE:
        notes.append(f"{path}: of the wrong type, left out")
        return None
