"""What a batch of the tag says of the browser besides its events, as its visitor is to know it.

Whatever of it cannot be used is dropped alone, with a note, but for a choice of consent, which then denies. Click ids
must have a form that their platform could have issued; times are the browser's, in ms. Nothing is read that a denied
purpose covers.
"""

import re
from typing import Any

from msgspec import Struct

from postback import pii
from postback.dialects import moment
from postback.errors import Invalid
from postback.event import PURPOSES, Consent, RawBrowser

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}").fullmatch
# A foreign page can post too, so that no other cookie of the host may be named, and none but our own ids put into it.
_COOKIE = re.compile(r"_sgnl_vid|_pb_[A-Za-z0-9_]{1,36}").fullmatch
is_own_id = re.compile(r"v_[A-Za-z0-9]{1,40}").fullmatch
_TERM = re.compile(r'[^<>"`\x00-\x1f\x7f]{1,300}').fullmatch
_MAX_CHARS = 2000
_YEARS = 2000, 2100
_LATEST_MS = 4_102_444_800_000


class About(Struct, kw_only=True, gc=False):
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


def browser_of(about: About, consent: Consent | None, notes: list[str]) -> RawBrowser:
    may_measure = consent is None or consent.analytics is not False
    session = about.session if isinstance(about.session, dict) else no_object(about.session, "session", notes)
    return RawBrowser(
        site_key=about.site_key,
        visitor_id=_id(about.visitor_id, "visitor_id", notes),
        session_id=_id(about.session_id, "session_id", notes),
        sent_at=_time(about.sent_at, "sent_at", notes),
        identifiers=_identifiers(about.identifiers, notes, consent) if may_measure else {},
        utm=_utm(about.utm, notes) if may_measure else {},
        started_at=_started_at(session.get("started_at"), notes) if may_measure else None,
        landing=address_of(_text(session.get("landing"), "session.landing", notes), consent),
        referrer=address_of(_text(session.get("referrer"), "session.referrer", notes), consent),
        link=_text(about.link, "link", notes),
        cookie=about.cookie if isinstance(about.cookie, str) and _COOKIE(about.cookie) else None,
        is_bot=about.bot is True,
        may_measure=may_measure,
    )


def no_object(sent: Any, field: str, notes: list[str]) -> dict[str, Any]:
    """Nothing; noted where something was sent."""
    if sent is not None:
        notes.append(f"{field}: not an object, dropped")
    return {}


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


def _text(sent: Any, field: str, notes: list[str]) -> str | None:
    if isinstance(sent, str) and 0 < len(sent) <= _MAX_CHARS:
        return sent
    if sent not in (None, ""):
        notes.append(f"{field}: malformed, dropped")
    return None


def address_of(sent: str | None, consent: Consent | None) -> str | None:
    """As much of a page's address as the visitor allows."""
    if sent is None or consent is None or consent.ad_user_data is not False:
        return sent
    return pii.without_clicks(sent)


def _identifiers(sent: Any, notes: list[str], consent: Consent | None) -> dict[str, tuple[str, int, int]]:
    """Those that a platform could have issued, with times in order; where one has none, it was seen now."""
    if not isinstance(sent, dict):
        return no_object(sent, "identifiers", notes)
    values: dict[str, str] = {}
    spans: dict[str, tuple[int, int]] = {}
    for name, one in sent.items():
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
    if not isinstance(sent, dict):
        return no_object(sent, "utm", notes)
    kept: dict[str, str] = {}
    for name in ("source", "medium", "campaign", "term", "content", "id"):
        value = sent.get(name)
        if isinstance(value, str) and _TERM(value):
            kept[name] = pii.masked(value)
        elif value not in (None, ""):
            notes.append(f"utm.{name}: malformed, dropped")
    return kept


def consent_of(sent: Any, notes: list[str]) -> Consent | None:
    if sent is None:
        return None
    if not isinstance(sent, dict):
        notes.append("consent: not an object, taken as a denial of all")
        return Consent(**dict.fromkeys(PURPOSES, False))
    if any(name not in PURPOSES for name in sent):
        notes.append("consent: one of unknown name, dropped")
    chosen: dict[str, bool] = {}
    for name in PURPOSES:
        if (choice := sent.get(name)) is None:
            continue
        chosen[name] = choice is True or choice == "granted"
        if not isinstance(choice, bool) and choice not in ("granted", "denied"):
            notes.append(f"consent.{name}: neither true nor false, taken as a denial")
    return Consent(**chosen) if chosen else None
