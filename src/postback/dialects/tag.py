"""The browser tag's batches: `POST /collect`, up to 50 events of one visitor and session, with what the browser knows.

    {"site_key", "sent_at", "visitor_id", "session_id", "session": {"started_at", "landing", "referrer"},
     "identifiers": {name: {"value", "first", "last"}}, "utm": {...}, "consent": {...}, "link", "bot", "cookie",
     "events": [{"event", "event_id", "occurred_at", "url", ..., "user_data": {"email_sha256": ...}}]}

What is said of the browser goes to its visitor, and from there to every event that is delivered; events bear only what
is their own. Whatever of it cannot be used is dropped alone, with a note on the first event. Times are the browser's,
to be corrected by `sent_at`. Its address and user agent are the request's: `:address` and `user-agent` among the
headers. Dedup: name + `event_id`, in the space of native events, so that the server's copy of an event is the same one.
`docs/collect.md` says what is answered; errors have the admin API's form.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Raw, Struct
from msgspec.json import Decoder, Encoder

from postback import pii
from postback.dialects import (
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
    problem,
)
from postback.errors import Forbidden, Invalid, PostbackError, Unavailable
from postback.event import HASHED, IDENTIFIERS, PURPOSES, Consent, RawBrowser, RawEvent, RawUser
from postback.money import amount

MAX_EVENTS = 50
MAX_BYTES = 64_000
OF_PERSON = frozenset(RawUser.__struct_fields__) - {"client_ip_address", "client_user_agent"}
_IDENTIFYING = frozenset(RawUser.__struct_fields__) | IDENTIFIERS
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}").fullmatch
# A foreign page can post too, so that no other cookie of the host may be named, and none but our own ids put into it.
_COOKIE = re.compile(r"_sgnl_vid|_pb_[A-Za-z0-9_]{1,36}").fullmatch
is_own_id = re.compile(r"v_[A-Za-z0-9]{1,40}").fullmatch
_TERM = re.compile(r'[^<>"`\x00-\x1f\x7f]{1,300}').fullmatch
_MAX_URL = 2000
_YEARS = 2000, 2100
_LATEST_MS = 4_102_444_800_000
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


class _About(Struct, kw_only=True, gc=False):
    """What a batch says besides its events; of what may be malformed, anything is read."""

    site_key: str
    sent_at: Any = None
    visitor_id: Any = None
    session_id: Any = None
    session: Any = None
    identifiers: Any = None
    utm: Any = None
    consent: Any = None
    link: Any = None
    bot: Any = None
    cookie: Any = None


class _Batch(_About, kw_only=True, gc=False):
    events: list[_Event] = []


class _Parts(_About, kw_only=True, gc=False):
    events: list[Raw] = []


_BATCH, _PARTS = Decoder(_Batch), Decoder(_Parts)


class Batch(Parsed, frozen=True, kw_only=True):
    """`browser`: that of every event; what the answer is made for."""

    browser: RawBrowser


def parse(body: bytes, headers: Mapping[str, str]) -> Batch:
    """The events of a batch, maybe none. Raises Invalid where it cannot be read, or holds too many."""
    try:
        about: _About = decode(_BATCH, body)
        sent: Sequence[_Event | Invalid] = about.events
    except Invalid as invalid:
        if invalid.malformed:
            raise
        about = parts = decode(_PARTS, body)
        sent = [decode_or_invalid(_EVENT, part) for part in parts.events[: MAX_EVENTS + 1]]
    if len(sent) > MAX_EVENTS:
        raise Invalid(f"events must hold at most {MAX_EVENTS} events.", field="events")
    notes: list[str] = []
    consent = _consent(about.consent, notes)
    browser = _browser(about, consent, notes)
    browser.origin = headers.get("origin", "").lower()
    agent, address = headers.get("user-agent"), headers.get(":address")
    events: list[RawEvent | Invalid] = []
    for one in sent:
        try:
            events.append(one if isinstance(one, Invalid) else _raw_event(one, browser, consent, agent, address))
        except Invalid as invalid:
            events.append(invalid)
    if notes and (first := next((one for one in events if isinstance(one, RawEvent)), None)) is not None:
        first.notes = [*notes, *first.notes]
    return Batch(events, single=False, browser=browser)


_EVENT = Decoder(_Event)


def _browser(about: _About, consent: Consent | None, notes: list[str]) -> RawBrowser:
    may_measure = consent is None or consent.analytics is not False
    session = about.session if isinstance(about.session, dict) else {}
    return RawBrowser(
        site_key=about.site_key,
        visitor_id=_id(about.visitor_id, "visitor_id", notes),
        session_id=_id(about.session_id, "session_id", notes),
        sent_at=_time(about.sent_at, "sent_at", notes),
        identifiers=_identifiers(about.identifiers, notes, consent) if may_measure else {},
        utm=_utm(about.utm, notes) if may_measure else {},
        started_at=_started_at(session.get("started_at"), notes) if may_measure else None,
        landing=_address(_text(session.get("landing"), _MAX_URL), consent),
        referrer=_address(_text(session.get("referrer"), _MAX_URL), consent),
        link=_text(about.link, _MAX_URL),
        cookie=about.cookie if isinstance(about.cookie, str) and _COOKIE(about.cookie) else None,
        is_bot=about.bot is True,
        may_measure=may_measure,
    )


def _id(sent: Any, field: str, notes: list[str]) -> str | None:
    if isinstance(sent, str) and _ID(sent):
        return sent
    if sent is not None:
        notes.append(f"{field}: malformed, replaced")
    return None


def _time(sent: Any, field: str, notes: list[str]) -> Any:
    if sent is None:
        return None
    try:
        return moment(sent if isinstance(sent, str) else "", field)
    except Invalid:
        notes.append(f"{field}: not a time, dropped")
        return None


def _started_at(sent: Any, notes: list[str]) -> Any:
    at = _time(sent, "session.started_at", notes)
    if at is not None and not _YEARS[0] <= at.year < _YEARS[1]:
        notes.append("session.started_at: not of this age, dropped")
        return None
    return at


def _text(sent: Any, most: int) -> str | None:
    return sent if isinstance(sent, str) and 0 < len(sent) <= most and "\x00" not in sent else None


def _address(sent: str | None, consent: Consent | None) -> str | None:
    """As much of a page's address as the visitor allows."""
    if sent is None or consent is None or consent.ad_user_data is not False:
        return sent
    return pii.without_clicks(sent)


def _identifiers(sent: Any, notes: list[str], consent: Consent | None) -> dict[str, tuple[str, int, int]]:
    """Those that a platform could have issued, with times in order; where one has none, it was seen now."""
    values: dict[str, str] = {}
    spans: dict[str, tuple[int, int]] = {}
    for name, one in sent.items() if isinstance(sent, dict) else ():
        value = one.get("value") if isinstance(one, dict) else one
        if not isinstance(value, str):
            notes.append("identifiers: one that is no text, dropped")
        elif consent is None or not consent.withholds(name):
            values[name] = value
            first, last = (
                (_ms(one.get(end), notes) for end in ("first", "last")) if isinstance(one, dict) else (None, None)
            )
            last = last if last is not None else first if first is not None else _LATEST_MS
            spans[name] = (min(first if first is not None else last, last), last)
    return {name: (value, *spans[name]) for name, value in pii.click_ids(values, notes).items()}


def _ms(sent: Any, notes: list[str]) -> int | None:
    if isinstance(sent, int | float) and 0 <= sent <= _LATEST_MS:
        return int(sent)
    if sent is not None:
        notes.append("identifiers: a time that is none in ms, dropped")
    return None


def _utm(sent: Any, notes: list[str]) -> dict[str, str]:
    kept: dict[str, str] = {}
    for name in ("source", "medium", "campaign", "term", "content", "id"):
        value = sent.get(name) if isinstance(sent, dict) else None
        if isinstance(value, str) and _TERM(value):
            kept[name] = pii.masked(value)
        elif value not in (None, ""):
            notes.append(f"utm.{name}: malformed, dropped")
    return kept


def _consent(sent: Any, notes: list[str]) -> Consent | None:
    if not isinstance(sent, dict):
        return None
    if any(name not in PURPOSES for name in sent):
        notes.append("consent: one of unknown name, dropped")
    chosen = {name: sent[name] for name in PURPOSES if isinstance(sent.get(name), bool)}
    for name in PURPOSES:
        if sent.get(name) in ("granted", "denied"):
            chosen[name] = sent[name] == "granted"
        elif name not in chosen and sent.get(name) is not None:
            notes.append(f"consent.{name}: neither true nor false, dropped")
    return Consent(**chosen) if chosen else None


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
        url=_address(sent.url, consent),
        referrer=_address(sent.referrer, consent),
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
    event.user = RawUser(client_ip_address=address, client_user_agent=agent)
    if consent is not None and consent.ad_user_data is False:
        if event.properties:
            event.properties = _without_denied(event.properties, consent, event.notes)
    elif sent.user_data is not None:
        _take_person(event, event.user, sent.user_data)
    return event


def _without_denied(sent: dict[str, Any], consent: Consent, notes: list[str]) -> dict[str, Any]:
    """What is under a name of `user_data` would be moved there, and what is under one of ours would leave as it is."""
    denied = [name for name in sent if name in _IDENTIFYING and consent.withholds(name)]
    notes += [f"properties.{name}: dropped, ad_user_data is denied" for name in denied]
    return {name: value for name, value in sent.items() if name not in denied}


def _fields(sent: Any, field: str, notes: list[str]) -> dict[str, Any]:
    """Those that are not null."""
    if isinstance(sent, dict):
        return {name: value for name, value in sent.items() if value is not None}
    notes.append(f"{field}: not an object, dropped")
    return {}


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
    from now on. `link`: a fresh pb_vid, good for `link_expires_in` seconds on links to `link_domains`."""

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
