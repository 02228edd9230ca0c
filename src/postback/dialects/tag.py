"""The browser tag's batches: `POST /collect`, up to 50 events of one visitor and session, with what the browser knows.

    {"site_key", "sent_at", "visitor_id", "session_id", "session": {"started_at", "landing", "referrer"},
     "identifiers": {name: {"value", "first", "last"}}, "utm": {...}, "consent": {...}, "link", "bot", "cookie",
     "events": [{"event", "event_id", "occurred_at", "url", ..., "user_data": {"email_sha256": ...}}]}

What is said of the browser (`browser.py`) goes to its visitor, and from there to every event that is delivered; events
bear only what is their own. Whatever of it cannot be used is dropped alone, with a note on the first event. Times are
the browser's, to be corrected by `sent_at`. Its address and user agent are the request's: `:address` and `user-agent`
among the headers. Dedup: name + `event_id`, in the space of native events, so that the server's copy of an event is the
same one. `docs/collect.md` says what is answered; errors have the admin API's form.
"""

from collections.abc import Mapping, Sequence, Set
from typing import Any

from msgspec import Raw, Struct, field
from msgspec.json import Decoder, Encoder

from postback import pii
from postback.dialects import (
    UNREADABLE,
    Accepted,
    Answer,
    Dialect,
    Parsed,
    Problem,
    Result,
    decode,
    decode_or_invalid,
    items,
    moment,
    nul_for_halves,
    problem,
)
from postback.dialects.browser import About, address_of, browser_of, consent_of, no_object
from postback.dialects.mended import mended
from postback.errors import Forbidden, Invalid, PostbackError, Unavailable
from postback.event import CLICK_IDS, HASHED, IDENTIFIERS, Consent, RawBrowser, RawEvent, RawUser
from postback.money import amount

MAX_EVENTS = 50
MAX_BYTES = 64_000
OF_PERSON = frozenset(RawUser.__struct_fields__) - {"client_ip_address", "client_user_agent"}
_IDENTIFYING = frozenset(RawUser.__struct_fields__) | IDENTIFIERS
_NOTHING = Raw()


class _Event(Struct, kw_only=True, gc=False):
    event: str
    event_id: str | None = None
    occurred_at: str | None = None
    url: str | None = None
    referrer: str | None = None
    title: str | None = None
    value: Raw = _NOTHING
    currency: str | None = None
    order_id: str | None = None
    items: list[Raw] | None = None
    properties: dict[str, Any] | None = None
    user_data: Any = None
    experiments: Any = None
    product: str | None = None
    widget: str | None = None
    placement: str | None = None


class _Batch(About, kw_only=True, gc=False):
    events: list[_Event] = field(default_factory=list)


class _Parts(Struct):
    """A batch whose events are read each by itself."""

    site_key: str
    events: list[Raw] = []


_BATCH, _PARTS, _ABOUT, _EVENT = Decoder(_Batch), Decoder(_Parts), Decoder(About), Decoder(_Event)
# What may be malformed. Without the rest there is no site to be found, and no event to be told from others.
_OF_BATCH = frozenset(About.__struct_fields__) - {"site_key"}
_OF_EVENT = frozenset("url referrer title items properties user_data experiments product widget placement".split())


class Batch(Parsed, frozen=True, kw_only=True):
    """`browser`: that of every event; what the answer is made for."""

    browser: RawBrowser


def parse(body: bytes, headers: Mapping[str, str]) -> Batch:
    """The events of a batch, maybe none. Raises Invalid where it cannot be read, or holds too many."""
    notes: list[str] = []
    lacking: dict[int, list[str]] = {}
    if (batch := _whole(body)) is not None:
        about, sent = batch, batch.events
    else:
        about, sent = _apart(body, notes, lacking)
    if len(sent) > MAX_EVENTS:
        raise Invalid(f"events must hold at most {MAX_EVENTS} events.", field="events")
    consent = consent_of(about.consent, notes)
    browser = browser_of(about, consent, notes)
    browser.origin = headers.get("origin", "").lower()
    agent, address = headers.get("user-agent"), headers.get(":address")
    events: list[RawEvent | Invalid] = []
    for one in sent:
        try:
            events.append(one if isinstance(one, Invalid) else _raw_event(one, browser, consent, agent, address))
        except Invalid as invalid:
            events.append(invalid)
    if lacking:
        _note(events, lacking)
    if notes and (first := next((one for one in events if isinstance(one, RawEvent)), None)) is not None:
        first.notes = [*notes, *first.notes]
    for one in events:
        if isinstance(one, RawEvent) and len(one.notes) > 1:  # as many of one kind as a sender likes are told once
            one.notes = list(dict.fromkeys(one.notes))
    return Batch(events, single=False, browser=browser)


def _whole(body: bytes) -> _Batch | None:
    """A batch all of which can be kept, as almost every one; None for another."""
    try:
        return None if b"\\u0000" in body else _BATCH.decode(body)
    except UNREADABLE:
        return None


def _apart(body: bytes, notes: list[str], lacking: dict[int, list[str]]) -> tuple[About, Sequence[_Event | Invalid]]:
    """A batch of which some cannot be kept, without that. `lacking`: notes by the index of the event that lacks it."""
    body = nul_for_halves(body)
    parts = decode(_PARTS, body)
    sent: list[_Event | Invalid] = []
    for at, part in enumerate(parts.events[: MAX_EVENTS + 1]):
        lacking[at] = []
        sent.append(decode_or_invalid(_EVENT, mended(part, _OF_EVENT, lacking[at])))
    about = decode(_ABOUT, mended(body, _OF_BATCH, notes))
    if any(note.startswith("consent:") for note in notes):  # what it lacks may have been a denial
        about.consent = False
    return about, sent


def _note(events: Sequence[RawEvent | Invalid], lacking: Mapping[int, list[str]]) -> None:
    for at, said in lacking.items():
        if isinstance(one := events[at], RawEvent):
            one.notes += said


def _raw_event(
    sent: _Event, browser: RawBrowser, consent: Consent | None, agent: str | None, address: str | None
) -> RawEvent:
    if not browser.may_measure:
        if sent.event != "consent":
            raise Invalid("events are not taken where analytics is denied.", field="events")
        # The news of it alone.
        sent = _Event(event=sent.event, event_id=sent.event_id, occurred_at=sent.occurred_at)
    event = RawEvent(
        name=sent.event,
        dialect="tag",
        event_id=sent.event_id,
        dedup=sent.event_id,
        occurred_at=moment(sent.occurred_at, "occurred_at") if sent.occurred_at is not None else None,
        amount=amount(sent.value, "value") if sent.value else None,
        currency=sent.currency,
        order_id=sent.order_id,
        url=address_of(sent.url, consent),
        referrer=address_of(sent.referrer, consent),
        visitor_id=browser.visitor_id,
        session_id=browser.session_id,
        properties=dict(sent.properties) if sent.properties else None,
        consent=consent,
    )
    event.action_source, event.browser, event.is_bot = "website", browser, browser.is_bot
    event.sent_at = browser.sent_at
    event.notes = []
    if sent.items:
        event.items = items.read(sent.items, "items", event.notes)
    if sent.experiments is not None:
        event.experiments = _experiments(sent.experiments, event.notes)
    for name in ("title", "product", "widget", "placement"):
        if (value := getattr(sent, name)) is not None:
            event.properties = {name: value, **(event.properties or {})}
    event.user = RawUser(client_ip_address=address, client_user_agent=agent) if browser.may_measure else RawUser()
    if consent is not None and consent.ad_user_data is False:
        if event.properties:
            event.properties = _without_denied(event.properties, consent, event.notes)
    elif sent.user_data is not None:
        _take_person(event, event.user, sent.user_data)
    return event


def _without_denied(sent: dict[str, Any], consent: Consent, notes: list[str]) -> dict[str, Any]:
    """What is under a name of `user_data` would be moved there, and what is under one of ours would leave as it is, at
    any depth; so would a click in any address."""
    denied = {name for name in _IDENTIFYING if consent.withholds(name)}
    below = denied & (HASHED | CLICK_IDS)
    found: set[str] = set()

    def kept(value: Any, names: Set[str], depth: int) -> Any:
        if isinstance(value, str):
            return pii.without_clicks(value)
        if depth > pii.MAX_DEPTH:  # it is refused for that
            return value
        if isinstance(value, list):
            return [kept(inner, below, depth + 1) for inner in value]
        if not isinstance(value, dict):
            return value
        gone = {name for name in value if name.lower() in names}
        found.update(gone)
        return {
            pii.without_clicks(name): kept(inner, below, depth + 1) for name, inner in value.items() if name not in gone
        }

    cleaned = kept(sent, denied, 0)
    notes += [f"properties.{name}: dropped, ad_user_data is denied" for name in sorted(found)]
    return cleaned


def _fields(sent: Any, field: str, notes: list[str]) -> dict[str, Any]:
    """Those that are not null."""
    if isinstance(sent, dict):
        return {name: value for name, value in sent.items() if value is not None}
    return no_object(sent, field, notes)


def _experiments(sent: Any, notes: list[str]) -> dict[str, str]:
    kept: dict[str, str] = {}
    for name, value in _fields(sent, "experiments", notes).items():
        if isinstance(value, str | int) and not isinstance(value, bool):
            kept[name] = str(value)
        else:
            notes.append("experiments: one that is neither text nor a whole number, dropped")
    return kept


def _take_person(event: RawEvent, user: RawUser, sent: Any) -> None:
    """Hashes by our names, and what a page without TLS could not hash."""
    hashes: dict[str, str] = {}
    for name, value in _fields(sent, "user_data", event.notes).items():
        if not isinstance(value, str):
            event.notes.append("user_data: one that is no text, dropped")
        elif value and name in HASHED:
            hashes[name] = value
        elif value and name in OF_PERSON:
            setattr(user, name, value)
        elif value:
            event.notes.append("user_data: one of unknown name, dropped")
    event.hashes = hashes or None


class _Rejected(Struct):
    index: int
    error: Problem


class Taken(Struct, omit_defaults=True):
    """`accepted`: events that are written down, repeats too. `visitor_id`, `session_id`: those that the tag is to use
    from now on. `link`: a fresh pb_vid, good for `link_expires_in` seconds on links to `link_domains`; none of
    who may not be measured."""

    accepted: int
    rejected: list[_Rejected]
    visitor_id: str = ""
    session_id: str = ""
    link: str = ""
    link_expires_in: int = 0
    link_domains: list[str] | None = None


_encode = Encoder().encode


def taken(results: Sequence[Result]) -> Taken:
    """What became of each event. Raises what stands for the batch as a whole: it may not be sent from there, or the hub
    was away."""
    rejected = [_Rejected(at, problem(one)) for at, one in enumerate(results) if isinstance(one, PostbackError)]
    for one in results:
        if isinstance(one, Forbidden):
            raise one
    if rejected and all(isinstance(one, Unavailable) for one in results):
        raise results[0]  # type: ignore[misc]
    return Taken(sum(isinstance(one, Accepted) for one in results), rejected)


def answer(results: Sequence[Result], single: bool) -> Answer:
    return Answer(200, _encode(taken(results)))


class _Refusal(Struct):
    error: Problem


def refuse(error: PostbackError) -> Answer:
    return Answer(error.status, _encode(_Refusal(problem(error))))


DIALECT = Dialect(
    name="tag",
    parse=parse,
    answer=answer,
    refuse=refuse,
    max_bytes=MAX_BYTES,
    content_types=frozenset({"text/plain", "application/json"}),
)
