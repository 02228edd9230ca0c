"""What a stand-in is: a request in, an answer out, and how it refuses when told to.

Pure: the time is an argument, in unix seconds. Nothing here knows a platform's own fields.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from postback.sandbox import forms

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
Refusal = Literal["429", "500", "auth", "reject_event"]
Kind = TypeVar("Kind")
Sent = TypeVar("Sent")


class Request(Struct, frozen=True):
    """One request as the platform sees it: `path` begins behind the prefix, header names are lower-case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    raw: bytes

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def bearer(self) -> str | None:
        """The token of `Authorization: Bearer`; None where there is none, or not of its form."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token if scheme == "Bearer" and forms.is_token(token) else None


class Problem(Struct, frozen=True, rename="camel"):
    """Something wrong that the platform's answer may hide. The names are those of GA4's validation server."""

    field_path: str
    description: str
    validation_code: str


class Answer(Struct, frozen=True):
    """`events` counts those accepted; `problems` is None for a platform whose answer already tells them."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}
    events: int = 0
    problems: tuple[Problem, ...] | None = None


class Platform(Struct, frozen=True):
    """A module's `PLATFORM`. `refuse` words a fault as the platform would; the server adds `Retry-After` to a 429."""

    name: str
    answer: Callable[[Request, float], Answer]
    refuse: Callable[[Request, Refusal, float], Answer]


class Unreadable(Exception):
    """JSON that is none, or not as the platform wants it. `path`: where, as `data[0].user`; '' for the whole."""

    def __init__(self, what: str, path: str) -> None:
        super().__init__(f"{path}: {what}" if path else what)
        self.what, self.path = what, path


def read(decode: Callable[[Sent], Kind], raw: Sent, under: str = "") -> Kind:
    """What is sent, or its part `under` a path, by a decoder of the platform's shapes; raises Unreadable."""
    try:
        return decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        what, _, path = str(error).partition(" - at `$")
        raise Unreadable(what, (under + path.rstrip("`")).removeprefix(".")) from error


def in_json(status: int, body: object, *, events: int = 0, problems: tuple[Problem, ...] | None = None) -> Answer:
    """An answer whose body is `body` as JSON."""
    headers = {"content-type": "application/json; charset=utf-8"}
    return Answer(status, msgspec.json.encode(body), headers, events, problems)


def installed() -> dict[str, Platform]:
    """Every stand-in of this package by name, which is its prefix."""
    package = importlib.import_module(__package__ or "")
    modules = (importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__))
    found = [platform for m in modules if isinstance(platform := getattr(m, "PLATFORM", None), Platform)]
    return {platform.name: platform for platform in sorted(found, key=lambda platform: platform.name)}
