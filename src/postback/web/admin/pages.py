"""Lists: `{"items": [...], "next_cursor"}`, with `?limit=&cursor=`.

A cursor is opaque: base64url of what names the last item that the page covered. `next_cursor` null: that was all.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Generic, TypeVar
from uuid import UUID

from litestar.params import QueryParameter
from msgspec import Struct

from postback.errors import Invalid

T = TypeVar("T")
U = TypeVar("U")
MAX_LIMIT = 500
DEFAULT_LIMIT = 50
Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT, description="Most items of a page.")]


def _cursor(pattern: str) -> QueryParameter:
    described = "The next_cursor of the page before."
    return QueryParameter(max_length=100, description=described, schema_extra={"pattern": pattern})


# Of one id, of two, and of a name.
Cursor = Annotated[str | None, _cursor("^[A-Za-z0-9_-]{22}$")]
PairCursor = Annotated[str | None, _cursor("^[A-Za-z0-9_-]{43}$")]
NameCursor = Annotated[str | None, _cursor("^([A-Za-z0-9_-]{4}){1,25}$")]


class Page(Struct, Generic[T]):
    items: list[T]
    next_cursor: str | None = None


def cursor_text(names: bytes) -> str:
    return urlsafe_b64encode(names).decode().rstrip("=")


def read_ids(cursor: str | None, count: int) -> list[UUID] | None:
    """The ids in a cursor, None at the first page. Raises Invalid."""
    if cursor is None:
        return None
    raw = _read_cursor(cursor, 16 * count)
    return [UUID(bytes=raw[at : at + 16]) for at in range(0, len(raw), 16)]


def _read_cursor(text: str, size: int | None) -> bytes:
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (NotBase64, ValueError):
        raw = b""
    if not raw or size not in (None, len(raw)):
        raise Invalid("This cursor is not one that this list gave; leave it out to begin anew.", field="cursor")
    return raw


def page_of(
    found: Iterable[T],
    show: Callable[[T], U],
    name_of: Callable[[T], bytes],
    limit: int,
    cursor: str | None,
    *,
    newest_first: bool = False,
    name_bytes: int | None = 16,
) -> Page[U]:
    """A page of a short list that is wholly in memory, in the order of its names; `name_bytes` None: of any length."""
    ordered = sorted(found, key=name_of, reverse=newest_first)
    if cursor is not None:
        after = _read_cursor(cursor, name_bytes)
        ordered = [item for item in ordered if (name_of(item) < after if newest_first else name_of(item) > after)]
    return first_of(ordered, [show(item) for item in ordered[:limit]], name_of, limit)


def first_of(found: Sequence[T], shown: list[U], name_of: Callable[[T], bytes], limit: int) -> Page[U]:
    """The first `limit` of what was found, of which there may be more."""
    more = len(found) > limit
    return Page(shown, cursor_text(name_of(found[limit - 1])) if more else None)
