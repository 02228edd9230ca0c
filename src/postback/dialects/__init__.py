"""Dialects: one pure file a wire format. `parse` reads a body into raw events, `answer` says what became of them,
`refuse` says why a request was turned down, each in the words of the contract it speaks.

A module `postback.dialects.<name>` exports `DIALECT`, and one more of that kind for each further path with a form of
its own. It reads no clock and does no I/O; who may send is decided before. What all share stands here: the shapes, and
reading (`decode`, `moment`), which refuses NUL and half surrogate pairs, and naming (`as_sent`).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, NoReturn, TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from postback.errors import Invalid, PostbackError, Rejected
from postback.event import RawEvent

T = TypeVar("T")

# What reading JSON can raise. ValidationError (a wrong type) is a DecodeError.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# How deep the search for a NUL goes; `pii` takes free objects to half of it.
MAX_DEPTH = 64


class Parsed(Struct, frozen=True):
    """The events of one body in order, an unusable item as its `Invalid`. `single`: the body was one event."""

    events: list[RawEvent | Invalid]
    single: bool = True


class DestinationResult(Struct, frozen=True, omit_defaults=True):
    """What one destination will do with an event: `queued`, or `skipped` with its reason.

    `request` only in a dry run: method, url, masked headers, body.
    """

    id: str
    connector: str
    name: str
    status: str
    reason: str | None = None
    request: dict[str, Any] | None = None


class Accepted(Struct, frozen=True):
    """A committed event. `event_id`: the sender's or made, the first event's for a duplicate; `id`: our UUIDv7, of
    the first event too, 16 bytes, as is `conversion_id`: of the conversion that the event is, where it fulfilled the
    goal it names; for a duplicate the first one's.
    """

    event_id: str
    id: bytes
    duplicate: bool
    destinations: list[DestinationResult]
    notes: tuple[str, ...] = ()
    conversion_id: bytes | None = None


Result = Accepted | PostbackError


class Answer(Struct, frozen=True):
    status: int
    body: bytes


class Dialect(Struct, frozen=True, kw_only=True):
    """`headers` given to `parse` have lower-case names. `max_bytes` bounds the unpacked body.

    `allowed_names`: the event names that are taken besides the workspace's own event types; None: any. Who knows the
    workspace checks it. `rate_per_minute`: requests of a key that says nothing else; 0: any. `content_types`: other
    bodies are 415.
    """

    name: str
    parse: Callable[[bytes, Mapping[str, str]], Parsed]
    answer: Callable[[Sequence[Result], bool], Answer]
    refuse: Callable[[PostbackError], Answer]
    max_bytes: int = 1_000_000
    key_in_query: bool = False
    allowed_names: frozenset[str] | None = None
    rate_per_minute: int = 0
    content_types: frozenset[str] = frozenset({"application/json"})


class Problem(Struct, frozen=True, omit_defaults=True):
    """An error as an object: `{"code", "message", "field"}`, `field` where there is one."""

    code: str
    message: str
    field: str | None = None


def problem(error: PostbackError, names: Mapping[str, str] | None = None) -> Problem:
    message, field = as_sent(error, names or {})
    return Problem(error.code, message, field)


def as_sent(error: PostbackError, names: Mapping[str, str]) -> tuple[str, str | None]:
    """An error's message and field. `names`: canonical field to what the dialect's senders call it.

    What is judged after `parse` is named as the canonical event names it.
    """
    field = error.field if isinstance(error, Rejected) else None
    if field is None:
        return error.message, None
    first, dot, rest = field.partition(".")
    sent = names.get(first, first) + dot + rest
    return error.message.replace(field, sent, 1), sent


def sentence(error: PostbackError, names: Mapping[str, str]) -> str:
    """An error as one sentence, for dialects that have no place of its own for the field."""
    message, field = as_sent(error, names)
    return message if field is None or field in message else f"{field}: {message}"


class ClickIds(Struct, kw_only=True):
    """The names of `event.CLICK_IDS` as fields, for dialects that put them beside other fields."""

    fbclid: str | None = None
    fbc: str | None = None
    fbp: str | None = None
    gclid: str | None = None
    gbraid: str | None = None
    wbraid: str | None = None
    dclid: str | None = None
    msclkid: str | None = None
    ttclid: str | None = None
    ttp: str | None = None
    li_fat_id: str | None = None
    twclid: str | None = None
    epik: str | None = None
    sccid: str | None = None
    rdt_cid: str | None = None
    ga_client_id: str | None = None
    ga_session_id: str | None = None
    gcl_aw: str | None = None
    irclickid: str | None = None
    oppref: str | None = None
    convert_visitor_id: str | None = None
    conv_v: str | None = None

    def sent(self) -> dict[str, str] | None:
        """Those that hold something."""
        values = _values(self)
        if not any(values):
            return None
        return {name: value for name, value in zip(_NAMES, values, strict=True) if value}


_NAMES = ClickIds.__struct_fields__
_values = attrgetter(*_NAMES)


def decode(decoder: Decoder[T], body: bytes | Raw, *, under: str = "") -> T:
    """The body as the decoder's type. Raises Invalid, naming the field, `under` being the path that leads to the body.

    A NUL or half a surrogate pair in a field that the type has is such an error; elsewhere it is ignored.
    """
    try:
        decoded = decoder.decode(body)
    except UNREADABLE as error:
        body = bytes(body)
        if isinstance(error, msgspec.ValidationError) or (repaired := nul_for_halves(body)) == body:
            raise unreadable(error, under=under) from None
        return decode(decoder, repaired, under=under)
    refuse_nul(body, decoded, under=under)
    return decoded


def decode_or_invalid(decoder: Decoder[T], body: bytes | Raw) -> T | Invalid:
    """One item of a list, that must not harm the others."""
    try:
        return decode(decoder, body)
    except Invalid as invalid:
        return invalid


def moment(text: str, field: str) -> datetime:
    """An ISO 8601 time as aware UTC; one without a zone is UTC. Raises Invalid, naming the field.

    Text of digits alone is refused: it is some system's count of seconds, or of milliseconds.
    """
    try:
        time = datetime.fromisoformat(text.upper())
        if time.tzinfo is UTC:
            return time
        if time.tzinfo is not None:
            return time.astimezone(UTC)
        if not text.isdigit():
            return time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        pass
    raise Invalid(f"{field} must be an ISO 8601 time such as 2026-07-03T09:41:00Z.", field=field)


def refuse_nul(body: bytes | Raw, decoded: Any, *, under: str = "") -> None:
    """Refuse NUL characters, naming the field. Costs one scan of the body where there is none."""
    if b"\\u0000" in (bytes(body) if isinstance(body, Raw) else body) and (flaw := _flaw(decoded)):
        flaw.refuse(under)


class _Flaw(Struct):
    """What is wrong inside a value, and the path to it."""

    what: str
    path: str = ""

    def inside(self, step: str) -> "_Flaw":
        self.path = step + self.path
        return self

    def refuse(self, under: str) -> NoReturn:
        field = (under + self.path).lstrip(".")[:200] or None
        raise Invalid(f"{field or 'The body'} {self.what}.", field=field)


def _flaw(value: Any, depth: int = MAX_DEPTH) -> _Flaw | None:
    if isinstance(value, str):
        return _Flaw("may not hold the character NUL or half a surrogate pair") if "\x00" in value else None
    if isinstance(value, dict):
        if any("\x00" in name for name in value):
            return _Flaw("has a name that holds the character NUL or half a surrogate pair")
        inner = value.items()
    elif isinstance(value, list | tuple):
        inner = enumerate(value)
    elif isinstance(value, Struct):
        inner = [(name, getattr(value, name)) for name in value.__struct_fields__]
    else:
        return None
    if not depth:
        return _Flaw(f"is nested more than {MAX_DEPTH} deep")
    for step, part in inner:
        if flaw := _flaw(part, depth - 1):
            return flaw.inside(f"[{step}]" if isinstance(value, list | tuple) else f".{step}")
    return None


def unreadable(error: Exception, *, under: str = "") -> Invalid:
    """What a body that msgspec refused had wrong: `field` named where a field was missing or of the wrong type."""
    if isinstance(error, RecursionError):
        return Invalid("The body is nested too deeply.", malformed=True)
    if isinstance(error, msgspec.ValidationError):
        what, _, path = str(error).partition(" - at `")
        # `[...]` stands for any key of a free object: what follows would name nothing.
        path = path.rstrip("`").removeprefix("$").partition("[...]")[0].lstrip(".")
        field = f"{under}.{path}".strip(".").replace(".[", "[")
        if missing := _MISSING.fullmatch(what):
            field = f"{field}.{missing[1]}".lstrip(".")
            return Invalid(f"{field} is required.", field=field)
        if unknown := _UNKNOWN.fullmatch(what):
            field = f"{field}.{unknown[1]}".lstrip(".")
            return Invalid(f"There is no field {field}.", field=field)
        return Invalid(f"{field or 'The body'} {_what(what)}.", field=field or None)
    if isinstance(error, msgspec.DecodeError | UnicodeDecodeError):
        return Invalid(f"The body is not valid JSON: {_reason(error)}.", malformed=True)
    raise error


_MISSING = re.compile(r"Object missing required field `(.+)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(.+)`")
_EXPECTED = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_BOUND = re.compile(r"Expected `\w+` ([<>]=? .+)")
_LENGTH = re.compile(r"Expected `str` of length (<=|>=) (\d+)")
_COUNTRY = "matching regex '^[A-Za-z]{2}$'"
_KINDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}


def _what(what: str) -> str:
    if expected := _EXPECTED.fullmatch(what):
        wanted = [_KINDS.get(kind, kind) for kind in expected[1].split(" | ") if kind != "null"]
        return f"must be {' or '.join(wanted)}, not {_KINDS.get(expected[2], expected[2])}"
    if bound := _BOUND.fullmatch(what):
        return f"must be {bound[1]}"
    if length := _LENGTH.fullmatch(what):
        return "may not be empty" if length[1] == ">=" else f"must have at most {length[2]} characters"
    if what.endswith(_COUNTRY):
        return "must be an ISO 3166 code of two letters, such as DE"
    return "holds a number that is out of range" if "out of range" in what else "has a value that cannot be used"


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if "truncated" in str(error):
        return "it ends too early"
    return str(error).removeprefix("JSON is malformed: ")


# Escaped backslashes, which are passed over; a whole surrogate pair (group 1); half of one (group 2).
_SURROGATE = re.compile(
    rb"(?:\\\\)+|(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


def nul_for_halves(body: bytes) -> bytes:
    """The body with each half surrogate pair as a NUL: msgspec would refuse it without saying where it stands."""
    return _SURROGATE.sub(lambda found: b"\\u0000" if found[2] else found[0], body)


__all__ = [
    "Accepted",
    "Answer",
    "ClickIds",
    "DestinationResult",
    "Dialect",
    "Parsed",
    "Problem",
    "Rejected",
    "Result",
    "as_sent",
    "decode",
    "decode_or_invalid",
    "moment",
    "nul_for_halves",
    "problem",
    "refuse_nul",
    "sentence",
    "unreadable",
]
