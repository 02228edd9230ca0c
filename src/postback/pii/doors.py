"""Side doors: personal data where none belongs, in properties, addresses of pages and ids.

Text of the form of an email address becomes `[email]`, also with its `@` percent-encoded; an id of that form is kept
as its SHA-256; an experiment of that form is dropped. A property under a name of `user_data` moves there. All else is
kept verbatim.
"""

import re
from hashlib import sha256
from itertools import islice
from typing import Any, cast

from msgspec.structs import replace

from postback.errors import Invalid
from postback.event import CLICK_PARAMETERS, RawUser

MASK = "[email]"
MAX_DEPTH = 32
MAX_INTEGER = 10**38
MAX_EXPERIMENTS = 50
MAX_LABEL_CHARS = 64

# The look-behind lets a match begin only where a run of such characters does, so that time grows with length alone.
_EMAIL = re.compile(r"(?<![\w.+'%-])[\w.+'%-]+(?:@|%(?:25)*40)[\w-]+(?:\.[\w-]+)*\.[^\W\d_][\w-]+")
# Also within an address that an address bears, percent-encoded.
_CLICK = re.compile(
    rf"((?:^|[?&;#]|%(?:25)*(?:3F|26|23))(?:{'|'.join(CLICK_PARAMETERS)})(?:=|%(?:25)*3D))[^&#]*", re.IGNORECASE
)
_USER_NAMES = frozenset(RawUser.__struct_fields__)
# Below the first level a `state` is rarely a person's, but these are never anything else.
_PERSONAL_NAMES = frozenset(("phone", "first_name", "last_name", "date_of_birth", "street", "client_ip_address"))


def masked(text: str) -> str:
    """The text with what has the form of an email address replaced."""
    return _EMAIL.sub(MASK, text) if may_hold_email(text) else text


def stored_id(text: str, field: str = "", notes: list[str] | None = None) -> str:
    """An id as it is stored and looked up: itself, or its SHA-256 where it holds an email address."""
    if not may_hold_email(text) or not _EMAIL.search(text):
        return text
    if notes is not None:
        notes.append(f"{field}: has the form of an email address, kept as its SHA-256")
    return sha256(text.encode()).hexdigest()


def page_address(text: str, field: str, notes: list[str]) -> str:
    if (safe := masked(text)) != text:
        notes.append(f"{field}: an email address was replaced by {MASK}")
    return safe


def without_clicks(address: str) -> str:
    """An address that says that an ad led to it, and no longer by which click."""
    return _CLICK.sub(r"\1", address)


def properties(sent: dict[str, Any], user: RawUser | None, notes: list[str]) -> tuple[dict[str, Any], RawUser | None]:
    """The properties without personal data, and the user with what they held of it; nothing given is altered.

    Invalid where they nest deeper than 32 levels or hold an integer that a decimal of 38 digits cannot.
    """
    if not _USER_NAMES.isdisjoint(sent):
        sent, user = _moved(sent, user, notes)
    suspect = False
    for name, value in sent.items():
        if "@" in name or (may_hold_email(value) if type(value) is str else _is_suspect(value, name, 1)):
            suspect = True
    if suspect and (safe := _safe(sent)) != sent:
        notes.append(f"properties: an email address was replaced by {MASK}, or a person's detail removed")
        sent = safe
    return sent, user


def may_hold_email(text: str) -> bool:
    return "@" in text or ("40" in text and "%" in text)


def experiments(sent: dict[str, str], notes: list[str]) -> dict[str, str]:
    """Experiment to variation, the first 50 whose names and values are short and hold no email address."""
    kept = {name: value for name, value in sent.items() if _is_label(name) and _is_label(value)}
    if len(kept) < len(sent):
        notes.append(f"experiments: {len(sent) - len(kept)} too long or of the form of an email address dropped")
    if len(kept) > MAX_EXPERIMENTS:
        notes.append(f"experiments: more than {MAX_EXPERIMENTS}, {len(kept) - MAX_EXPERIMENTS} dropped")
        kept = dict(islice(kept.items(), MAX_EXPERIMENTS))
    return kept


def _is_label(text: str) -> bool:
    return len(text) <= MAX_LABEL_CHARS and masked(text) == text


def _moved(sent: dict[str, Any], user: RawUser | None, notes: list[str]) -> tuple[dict[str, Any], RawUser]:
    user = user or RawUser()
    kept: dict[str, Any] = {}
    found: dict[str, str] = {}
    for name, value in sent.items():
        if name not in _USER_NAMES or value is None:
            kept[name] = value
        elif type(value) is str or type(value) is int:
            if getattr(user, name):
                notes.append(f"properties.{name}: dropped, user_data has one")
            else:
                found[name] = str(value)
                notes.append(f"properties.{name}: moved to user_data")
        elif name in _PERSONAL_NAMES:
            notes.append(f"properties.{name}: personal data, dropped")
        else:
            kept[name] = value
    return kept, replace(user, **found)


def _is_suspect(value: Any, name: str, depth: int) -> bool:
    kind = type(value)
    if kind is str:
        return may_hold_email(value)
    if kind is int:
        if not -MAX_INTEGER < value < MAX_INTEGER:
            raise Invalid(f"properties.{name} must be below 1e38.", field=f"properties.{name}")
        return False
    if kind is not dict and kind is not list:
        return False
    if depth > MAX_DEPTH:
        raise Invalid(f"properties.{name} must not nest deeper than {MAX_DEPTH} levels.", field=f"properties.{name}")
    suspect = False
    if kind is dict:
        # Every value is looked at, for its depth and its size, even when one is suspect already.
        for key, inner in value.items():
            if _is_suspect(inner, name, depth + 1) or "@" in key or key in _PERSONAL_NAMES:
                suspect = True
    else:
        for inner in value:
            if _is_suspect(inner, name, depth + 1):
                suspect = True
    return suspect


def _safe(value: Any) -> Any:
    match value:
        case str():
            return masked(value)
        case dict():
            entries = cast("dict[str, Any]", value).items()
            return {masked(key): _safe(inner) for key, inner in entries if key not in _PERSONAL_NAMES}
        case list():
            return [_safe(inner) for inner in cast("list[Any]", value)]
        case _:
            return value
