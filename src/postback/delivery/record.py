"""What the log keeps of a request and its answer, with everything masked that must not be shown.

Secrets are masked wherever they occur: as stand-ins, as they are, percent-encoded and as JSON escapes them. Readable
personal data is masked by the keys that the connector calls private, and by value where an answer repeats it.
"""

from collections.abc import Collection, Iterable, Sequence
from operator import is_
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec

from postback.connectors import ACCESS_TOKEN, Request, Response, encode
from postback.secret import MASK, Secret

PRIVATE = "[private]"
RESPONSE_CHARS = 4096
_NESTED = frozenset({dict, list, tuple})
_LEAST_CHARS = 4  # what is shorter occurs by chance


class Record:
    """Writes one destination's log."""

    def __init__(self, secrets: Sequence[Secret], private: Collection[str]) -> None:
        self._private = frozenset(private)
        self._stand_ins = [secret.stand_in.encode() for secret in secrets]
        values = [value for secret in secrets if len(value := secret.reveal()) >= _LEAST_CHARS]
        forms = {ACCESS_TOKEN, *(secret.stand_in for secret in secrets)}
        for value in values:
            forms |= {value, quote(value, safe=""), quote_plus(value), msgspec.json.encode(value)[1:-1].decode()}
        self._forms = sorted(forms, key=len, reverse=True)

    def head(self, request: Request) -> str:
        """Method, URL and headers, one a line."""
        lines = [f"{request.method} {request.url}", *(f"{name}: {value}" for name, value in request.headers.items())]
        return self.text("\n".join(lines))

    def body(self, value: Any, encoded: bytes | None = None) -> bytes:
        """An item's body, or a whole one, as JSON; `encoded`: the same, where it is at hand."""
        shown = _masked(value, self._private) if self._private else value
        text = encode(shown) if encoded is None or shown is not value else encoded
        for stand_in in self._stand_ins:
            if stand_in in text:
                text = text.replace(stand_in, MASK.encode())
        return text

    def answer(self, response: Response, readable: Iterable[str], max_chars: int) -> str:
        """The beginning of the answer's body. Cut after the masking, so that no secret is cut in two."""
        if not response.body:
            return ""
        return self.text(response.body[: max_chars * 4].decode("utf-8", "replace"), readable)[:max_chars]

    def text(self, text: str, readable: Iterable[str] = ()) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        for value in readable:
            if len(value) >= _LEAST_CHARS and value in text:
                text = text.replace(value, PRIVATE)
        return _storable(text)


def _storable(text: str) -> str:
    """Text that PostgreSQL takes: without NUL and lone surrogates."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _masked(value: Any, private: frozenset[str]) -> Any:
    """The same without what these keys hold, at any depth; itself where it has none of them. Asked of all that is sent,
    most of which is flat."""
    if isinstance(value, dict):
        shown = value
        if not private.isdisjoint(value):
            shown = {name: PRIVATE if name in private else held for name, held in value.items()}
        for name, held in value.items():
            if type(held) in _NESTED and name not in private and (inner := _masked(held, private)) is not held:
                shown = dict(value) if shown is value else shown
                shown[name] = inner
        return shown
    masked = [_masked(held, private) if type(held) in _NESTED else held for held in value]
    return value if all(map(is_, masked, value)) else masked
