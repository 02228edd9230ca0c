"""Connectors: one pure file a platform. `build` says what to send, `pack` puts items into one request, `interpret`
says what the answer meant. They read no clock, no settings and no network, and never hash: `pii` did, on arrival.

A module `postback.connectors.<name>` exports `CONNECTOR`; the catalog, the forms, the docs and the test suite are
derived from it. Rules: a Secret is written into a Request by f-string (its stand-in) and revealed by the sender alone;
only identifiers of `identifiers` leave; money is Decimal; `interpret` never raises.
"""

import importlib
import pkgutil
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from math import isfinite, isnan
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from msgspec import Meta, Struct

from postback import blueprint as blueprints
from postback.blueprint import Blueprint
from postback.blueprint.mapping import Platform
from postback.event import Event, JoinedEvent
from postback.secret import Secret

MAX_AHEAD = timedelta(minutes=5)
LONGEST_WAIT_SECONDS = 86_400.0
# Stands in a header of a request for the access token that `Connector.token` says how to have; never in a URL.
ACCESS_TOKEN = "pbsecret-access-token"  # noqa: S105  (stands for one)
FORM = "application/x-www-form-urlencoded"
MAX_REASON_CHARS = 300
_SEARCHES = ("search_string", "search_term", "query")

# `extra={"advanced": True}`: shown in the form only on request. `extra={"made": "whsec_"}`: a secret that is made where
# absent, as that prefix and the base64 of 32 random bytes.
Endpoint = Annotated[
    Annotated[str, Meta(min_length=1)] | None,
    Meta(
        title="Endpoint",
        description="Base URL used instead of the platform's; the platform's own path is appended.",
        extra={"advanced": True},
    ),
]


class Notice(Struct, frozen=True):
    """What is said of a delivery though it was delivered: why it may count for less, and what to do about the next."""

    reason: str
    fix: str


class Item(Struct, frozen=True):
    """One event as the platform's own object. Only items of one `group` share a request.

    `size`: bytes of the body as JSON, for `max_bytes`; 0 where requests hold one item.
    """

    body: dict[str, Any]
    group: Hashable = None
    size: int = 0
    notice: Notice | None = None


class Request(Struct, frozen=True, kw_only=True):
    """One HTTP request. `json` is encoded with Decimals as numbers; `body`, if given, is sent to the byte instead, and
    `json` is then what it says, for the log to mask by key. `form`, if given, is sent as a form instead of both.

    `url` holds the query. Secrets stand in url, headers and json by their stand-ins; the sender writes each value as
    its place demands: percent-encoded in the url, escaped in JSON, as it is in a header. The content type is
    `application/json` unless `headers` (lower-case names) have another.
    """

    method: str
    url: str
    json: Any = None
    body: bytes | None = None
    form: dict[str, str] | None = None
    headers: dict[str, str] = {}

    def content(self) -> bytes:
        if self.form is not None:
            return urlencode(self.form).encode()
        return self.body if self.body is not None else encode(self.json)


class Response(Struct, frozen=True):
    """What came back. `headers` have lower-case names; `body` is capped by the sender."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""

    @property
    def json(self) -> Any:
        """The body as JSON; None where it is none."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    @property
    def retry_after_seconds(self) -> float | None:
        """`Retry-After` in seconds, at most a day; the sender has turned an HTTP date into seconds already."""
        try:
            seconds = float(self.headers["retry-after"])
        except (KeyError, ValueError):
            return None
        return min(max(0.0, seconds), LONGEST_WAIT_SECONDS) if not isnan(seconds) else None


class Skipped(Struct, frozen=True):
    """The platform could not use this event; nobody must act. `fix`: what would make it usable, where somebody can."""

    reason: str
    fix: str = ""


class Delivered(Struct, frozen=True):
    note: str | None = None


class Retry(Struct, frozen=True):
    """Not now. `after_seconds`: the platform's own wish; `throttled`: it asked for fewer calls."""

    reason: str
    after_seconds: float | None = None
    throttled: bool = False


class Failed(Struct, frozen=True):
    """Never, as it stands: the event's fault. `fix` says what to do.

    One Failed for a request of many items means 'refused, not said which': the batch is halved until one stands alone.
    """

    reason: str
    fix: str = ""


class Refused(Struct, frozen=True):
    """The credential's or the configuration's fault: the destination is held, its queue intact, until it is fixed."""

    reason: str
    fix: str


Outcome = Delivered | Retry | Failed | Refused


class Granted(Struct, frozen=True):
    """An access token, and how long it is good for."""

    token: Secret
    expires_in_seconds: float


class Grant(Struct, frozen=True, kw_only=True):
    """How an OAuth access token is had. `fields`: those of the config that it is had with; where they are others, so
    is the token. `request`: asks for a new one; `interpret`: what the answer means, Refused where the credential is no
    good any more. The sender keeps the token, shares and renews it, and puts it where a request says ACCESS_TOKEN.
    """

    fields: tuple[str, ...]
    request: Callable[[Any, datetime], Request]
    interpret: Callable[[Response], Granted | Retry | Refused]


class Rate(Struct, frozen=True):
    """Requests a second that the platform allows, and how many may be under way at once."""

    per_second: float
    concurrency: int = 8


# Where no rate is stated: as fast as answers come; a 429 teaches.
UNSTATED_RATE = Rate(10_000, concurrency=64)


def no_limit(event: Event) -> timedelta | None:
    return None


def always(event: Event) -> bool:
    return True


def never(event: Event) -> bool:
    return False


def nothing(config: Any) -> frozenset[str]:
    return frozenset()


class Connector(Struct, frozen=True, kw_only=True):
    """All that the hub knows of a platform.

    `names`: events it has a counterpart for (None: any). `consent`: purposes it needs. `private`: keys in its item's
    body whose values are readable personal data, masked in the log. `withholds`: those of `identifiers` that a
    configuration keeps back. `max_age`: how old an event may be when sent
    (None: any age). `dedup_window`: within it the platform drops a repeat of the same `event_id`; `repeat_is_safe`:
    whether sending this event again can never count twice. `retracts`: `build` makes a retraction of an event that
    `is_retraction`. `click_id_ages`: oldest click id it takes. `give_up_after`: how long to retry where the platform
    states no age. `probe`: a request that harms nothing, and `interpret_probe` what its answer proves. `token`: how its
    OAuth access token is had.
    `reaches`: for a platform that counts a visitor once, a text that names who reached what (None: not so counted);
    what was delivered is remembered by it, and `build` is told by `reached_before`.
    `about`: a sentence for the library on what it does.
    `variants`: other ways to speak to the platform, each a Connector of the same name; `variant` is this one's name,
    `advice` a sentence on when to take it.
    `platform_names`: what it calls ours, of which its default blueprint is made; `blueprint`: another default, which
    then holds wherever none was written.
    """

    name: str
    title: str
    category: str
    config: type[Struct]
    build: Callable[[JoinedEvent, Any, datetime], Item | Skipped]
    pack: Callable[[Sequence[Item], Any, datetime], Request]
    interpret: Callable[[Response, int], Outcome | list[Outcome]]
    identifiers: frozenset[str]
    docs: str
    about: str = ""
    names: frozenset[str] | None = None
    platform_names: Mapping[str, str] = {}
    blueprint: Blueprint | None = None
    consent: frozenset[str] = frozenset()
    private: frozenset[str] = frozenset()
    withholds: Callable[[Any], frozenset[str]] = nothing
    max_items: int = 1
    max_bytes: int = 1_000_000
    max_age: Callable[[Event], timedelta | None] = no_limit
    dedup_window: timedelta = timedelta(0)
    repeat_is_safe: Callable[[Event], bool] = never
    retracts: bool = False
    click_id_ages: Mapping[str, timedelta] = {}
    rate: Rate = Rate(50)
    give_up_after: timedelta = timedelta(hours=24)
    probe: Callable[[Any, datetime], Request] | None = None
    interpret_probe: Callable[[Response], Outcome] | None = None
    token: Grant | None = None
    reaches: Callable[[JoinedEvent, Any], str | None] | None = None
    variant: str = "default"
    variants: tuple["Connector", ...] = ()
    advice: str = ""

    def of_variant(self, variant: str) -> "Connector | None":
        """This connector in one of its variants; None where it has none of that name."""
        return next((one for one in (self, *self.variants) if one.variant == variant), None)

    def leaving(self, config: Any) -> frozenset[str]:
        """The identifiers that an installation of it sends."""
        return self.identifiers - self.withholds(config)

    @property
    def platform(self) -> Platform:
        """What a blueprint for it is checked against."""
        return Platform(self.title, self.names, self.platform_names)

    @property
    def default_blueprint(self) -> Blueprint:
        """Which events it takes where nobody wrote a blueprint, and as what."""
        return self.blueprint or blueprints.default(self.platform_names, self.names)


_encoder = msgspec.json.Encoder(decimal_format="number")


def encode(body: Any) -> bytes:
    """JSON as platforms read it: Decimals are numbers."""
    return _encoder.encode(body)


def exact(value: Any) -> Any:
    """A JSON value with Decimals for floats, as no request may hold a float; None for what is no finite number."""
    if isinstance(value, float):
        return Decimal(repr(value)) if isfinite(value) else None
    if isinstance(value, dict):
        return {name: exact(held) for name, held in value.items()}
    if isinstance(value, list):
        return [exact(held) for held in value]
    return value


def sent_time(event: Event, now: datetime) -> datetime:
    """When it occurred; now, where its clock is up to 5 minutes ahead."""
    return now if now < event.occurred_at <= now + MAX_AHEAD else event.occurred_at


def is_retraction(event: Event) -> bool:
    """Whether it takes an earlier purchase back: a refund, or an order that was cancelled or refunded."""
    if event.name == "refund":
        return True
    return event.name == "purchase" and event.order is not None and event.order.status in ("cancelled", "refunded")


def worth(event: Event) -> dict[str, Any]:
    """`value` and `currency`, as most platforms call them; empty where there is none."""
    return {"value": event.value.amount, "currency": event.value.currency} if event.value else {}


def consent(event: Event, purposes: Mapping[str, str], prefix: str = "") -> dict[str, str]:
    """What was said of some purposes, by Google's words GRANTED and DENIED. `purposes`: theirs to ours."""
    choices = {theirs: getattr(event.consent, ours, None) for theirs, ours in purposes.items()}
    return {
        purpose: f"{prefix}{'GRANTED' if choice else 'DENIED'}"
        for purpose, choice in choices.items()
        if choice is not None
    }


def search_term(event: Event) -> str | None:
    """What a search was for, under whichever of the usual names it was sent."""
    sent = event.properties
    return next((sent[key] for key in _SEARCHES if isinstance(sent.get(key), str)), None)


def host(config: Any, usual: str) -> str:
    """Where requests go: the platform's own address, unless the destination's `endpoint` is another."""
    return (config.endpoint or usual).rstrip("/")


def said(*texts: Any, between: str = ": ") -> str:
    """What of an answer is text, in one line no longer than a reason is."""
    return between.join(text for text in texts if isinstance(text, str) and text)[:MAX_REASON_CHARS]


def otherwise(response: Response, words: str = "") -> Outcome:
    """What an answer means that the platform's page does not name: 429 and 5xx are worth a retry, all else failed.
    `words`: the platform's own."""
    reason, retry_after = said(f"answered {response.status}", words), response.retry_after_seconds
    if response.status == 429:
        return Retry(reason if words else "too many calls", retry_after, throttled=True)
    if response.status >= 500 or response.status == 408:
        return Retry(reason, retry_after)
    if response.status in (401, 403):
        return Refused(reason, fix="Check the credential in this destination's configuration.")
    return Failed(reason, fix="Read the answer in the delivery log.")


def unlisted(response: Response) -> Outcome:
    """`otherwise`, of a platform that always answers JSON: HTML, or nothing, did not come from the platform itself."""
    if response.json is not None or response.status in (413, 429):
        return otherwise(response)
    return Retry(f"answered {response.status} without JSON", response.retry_after_seconds)


def of_one(outcome: Outcome | list[Outcome]) -> Outcome:
    """The verdict on a request that held one event, or stood for one."""
    return outcome[0] if isinstance(outcome, list) else outcome


@cache
def catalog() -> dict[str, Connector]:
    """Every connector by name, found by listing this package."""
    modules = (importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__))
    return {m.CONNECTOR.name: m.CONNECTOR for m in modules}
