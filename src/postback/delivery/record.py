"""What the log keeps of a request and its answer, with everything masked that must not be shown.

Secrets are masked wherever they occur, as stand-ins and by value; readable personal data by the keys that the connector
calls private, and by value where a platform's answer repeats it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from postback import secret
from postback.connectors import Request, Response, encode
from postback.secret import Secret

PRIVATE = "[private]"
RESPONSE_CHARS = 4096
SHARED_RESPONSE_CHARS = 1024
_STAND_IN = b"pbsecret"


def head(request: Request, secrets: Sequence[Secret]) -> str:
    """Method, URL and headers, one a line."""
    lines = [f"{request.method} {request.url}", *(f"{name}: {value}" for name, value in request.headers.items())]
    return clean(secret.mask("\n".join(lines), secrets) if secrets else "\n".join(lines))


def body(value: Any, private: Collection[str], secrets: Sequence[Secret]) -> bytes:
    """One item's body, or a whole one, as JSON."""
    text = encode(value)
    if any(f'"{key}"'.encode() in text for key in private):
        text = encode(_masked(value, private))
    if _STAND_IN in text:
        text = secret.mask(text.decode(), secrets).encode()
    return text


def answer(response: Response, secrets: Sequence[Secret], readable: Iterable[str], max_chars: int) -> str:
    """The beginning of the answer's body, as text."""
    if not response.body:
        return ""
    # Cut behind the masking, so that no secret is cut in two; a secret is far shorter than the rest.
    text = response.body[: max_chars * 4].decode("utf-8", "replace")
    text = secret.mask(text, secrets)
    for value in readable:
        if len(value) > 3 and value in text:
            text = text.replace(value, PRIVATE)
    return clean(text[:max_chars])


def reason(text: str, secrets: Sequence[Secret], readable: Iterable[str] = ()) -> str:
    """A reason or a fix, which may quote the platform."""
    text = secret.mask(text, secrets)
    for value in readable:
        if len(value) > 3 and value in text:
            text = text.replace(value, PRIVATE)
    return clean(text)


def clean(text: str) -> str:
    """Text that PostgreSQL can store: without NUL and lone surrogates."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _masked(value: Any, private: Collection[str]) -> Any:
    match value:
        case Mapping():
            return {name: PRIVATE if name in private else _masked(held, private) for name, held in value.items()}
        case list() | tuple():
            return [_masked(held, private) for held in value]
        case _:
            return value
