"""Who: from what the sender wrote to hashes by identifier name, what stays readable, and what links visitors.

A value that is 64 hex digits is a hash already and fills every variant of its field. A value that cannot be used is
dropped alone, with a note that names the field and never holds the value.
"""

import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from operator import attrgetter
from typing import NamedTuple

from postback.event import CLICK_IDS, HASHED, READABLE, RawUser
from postback.pii import normalise
from postback.pii.doors import masked, stored_id

Rule = Callable[[str], tuple[str, ...] | None]
_MAX_CHARS = 1024
_MAX_ID_CHARS = 256
_MAX_IP_CHARS = 64

# All but the email and what has a rule of its own. Field, the names of its variants, the rule that makes them, what a
# usable value is, whether it stays readable.
_RULES: tuple[tuple[str, tuple[str, ...], Rule, str, bool], ...] = tuple(
    (field, names, rule, what, field in READABLE)
    for field, names, rule, what in (
        ("country", ("country_sha256",), normalise.country, "an ISO 3166 code of two letters"),
        (
            "first_name",
            ("first_name_sha256", "first_name_nospace_sha256", "first_name_google_sha256"),
            normalise.person_name,
            "a name",
        ),
        (
            "last_name",
            ("last_name_sha256", "last_name_nospace_sha256", "last_name_google_sha256"),
            normalise.person_name,
            "a name",
        ),
        ("city", ("city_sha256",), normalise.city, "a city"),
        ("postal_code", ("postal_code_sha256", "postal_code_full_sha256"), normalise.postal_code, "a postal code"),
        ("street", ("street_sha256",), normalise.street, "a street"),
        ("date_of_birth", ("date_of_birth_sha256",), normalise.date_of_birth, "a date such as 1990-04-15"),
        ("gender", ("gender_sha256",), normalise.gender, "f or m"),
        ("external_id", ("external_id_sha256", "external_id_lower_sha256"), normalise.external_id, "an id"),
    )
)
_EMAIL = ("email_sha256", "email_google_sha256", "email_nodots_sha256")
_rarer = attrgetter(*[rule[0] for rule in _RULES])
_HASH_CHARS = 64
_PHONE = ("phone_sha256", "phone_digits_sha256")
_STATE = ("state_sha256",)
_EXTERNAL_ID = ("external_id_sha256", "external_id_lower_sha256")


class Identity(NamedTuple):
    """`hashed` may be stored as it is, `readable` only sealed. `links`: kind and value of what ties to a visitor."""

    hashed: dict[str, str]
    readable: dict[str, str]
    links: list[tuple[str, str]]


def identify(user: RawUser, site_country: str | None, notes: list[str], *, keep_email: bool) -> Identity:
    """Hashes of every variant; what was dropped is added to `notes`. `site_country`: of phones that name none."""
    hashed: dict[str, str] = {}
    readable: dict[str, str] = {}
    if user.email and (text := user.email.strip()):
        if not _filed(hashed, _EMAIL, text, normalise.email):
            notes.append("user_data.email: not an email address, dropped")
        elif keep_email and "@" in text:
            readable["email"] = text
    country = None
    # One call for all the rarer fields: most events have none.
    if any(values := _rarer(user)):
        _rarer_fields(values, hashed, readable, notes)
        if "country" in readable:
            country = readable["country"].lower()
            readable["country"] = country.upper()
    if user.state:
        _state(user.state.strip(), country, hashed, readable, notes)
    if user.phone:
        _phone(user.phone.strip(), country or site_country, hashed, notes)
    links: list[tuple[str, str]] = []
    if digest := hashed.get("email_sha256"):
        links.append(("email", digest))
    if digest := hashed.get("phone_sha256"):
        links.append(("phone", digest))
    if digest := hashed.get("external_id_sha256"):
        links.append(("external_id", digest))
    if user.user_id and (text := user.user_id.strip()):
        _user_id(text, hashed, readable, links, notes)
    if user.client_ip_address or user.client_user_agent:
        _device(user, readable, notes)
    return Identity(hashed, readable, links)


def _rarer_fields(
    values: Sequence[str | None], hashed: dict[str, str], readable: dict[str, str], notes: list[str]
) -> None:
    for value, (field, names, rule, what, stays_readable) in zip(values, _RULES, strict=True):
        if not value or not (text := value.strip()):
            continue
        if not _filed(hashed, names, text, rule):
            notes.append(f"user_data.{field}: not {what}, dropped")
        elif stays_readable and not (len(text) == _HASH_CHARS and normalise.hashed_already(text)):
            readable[field] = text


def _filed(hashed: dict[str, str], names: tuple[str, ...], text: str, rule: Rule) -> bool:
    """File the hashes of a field's variants; False where the text is unusable."""
    if len(text) == _HASH_CHARS and (known := normalise.hashed_already(text)):
        hashed |= dict.fromkeys(names, known)
    elif len(text) <= _MAX_CHARS and (variants := rule(text)):
        _hash(hashed, names, variants)
    else:
        return False
    return True


def _hash(hashed: dict[str, str], names: tuple[str, ...], variants: tuple[str, ...]) -> None:
    """File each variant's hash; one equal to that before it, the usual case, is not hashed again."""
    last = digest = ""
    for name, variant in zip(names, variants, strict=True):
        if variant != last:
            last, digest = variant, sha256(variant.encode()).hexdigest()
        hashed[name] = digest


def _phone(text: str, region: str | None, hashed: dict[str, str], notes: list[str]) -> None:
    if known := normalise.hashed_already(text):
        hashed |= dict.fromkeys(_PHONE, known)
    elif text and len(text) <= _MAX_CHARS and (variants := normalise.phone(text, region)):
        _hash(hashed, _PHONE, variants)
    elif text:
        notes.append("user_data.phone: not a phone number with a + or a known country, dropped")


def _state(text: str, country: str | None, hashed: dict[str, str], readable: dict[str, str], notes: list[str]) -> None:
    if known := normalise.hashed_already(text):
        hashed["state_sha256"] = known
    elif len(text) <= _MAX_CHARS and (variants := normalise.state(text, country)):
        _hash(hashed, _STATE, variants)
        readable["state"] = text
    elif text:
        notes.append("user_data.state: not a state, dropped")


def _user_id(
    text: str, hashed: dict[str, str], readable: dict[str, str], links: list[tuple[str, str]], notes: list[str]
) -> None:
    """`user_id` and `external_id` are one identifier: each links, and the external id's hashes are the first's."""
    if len(text) > _MAX_ID_CHARS:
        notes.append(f"user_data.user_id: longer than {_MAX_ID_CHARS} characters, dropped")
        return
    own: dict[str, str] = {}
    if known := normalise.hashed_already(text):
        own = dict.fromkeys(_EXTERNAL_ID, known)
    else:
        _hash(own, _EXTERNAL_ID, normalise.external_id(text))
    if (link := ("external_id", own["external_id_sha256"])) not in links:
        links.append(link)
    if "external_id_sha256" not in hashed:
        hashed |= own
    readable["user_id"] = stored_id(text, "user_data.user_id", notes)


def prehashed(
    sent: dict[str, str], hashed: dict[str, str], links: Sequence[tuple[str, str]], notes: list[str]
) -> list[tuple[str, str]]:
    """Fill the gaps of `hashed` with hashes that were made by the sender, by our names; the links that they add."""
    for name, text in sent.items():
        if name in HASHED and (digest := normalise.hashed_already(text)):
            hashed.setdefault(name, digest)
        else:
            notes.append(f"user_data.{name[:40]}: not a SHA-256 by a known name, dropped")
    linked = {kind for kind, _ in links}
    return [
        (kind, hashed[name])
        for kind, name in (("email", "email_sha256"), ("phone", "phone_sha256"), ("external_id", "external_id_sha256"))
        if kind not in linked and name in hashed
    ]


def _device(user: RawUser, readable: dict[str, str], notes: list[str]) -> None:
    if user.client_ip_address and (text := user.client_ip_address.strip()):
        if len(text) <= _MAX_IP_CHARS and (address := normalise.address(text)):
            readable["client_ip_address"] = address
        else:
            notes.append("user_data.client_ip_address: not an IP address, dropped")
    if user.client_user_agent and (text := user.client_user_agent.strip()):
        if len(text) <= _MAX_CHARS:
            readable["client_user_agent"] = text
        else:
            notes.append(f"user_data.client_user_agent: longer than {_MAX_CHARS} characters, dropped")


def click_ids(sent: dict[str, str], notes: list[str]) -> dict[str, str]:
    """Those of known names and of a shape the platform could have issued, to the letter."""
    kept: dict[str, str] = {}
    unknown = 0
    for name, value in sent.items():
        if name not in CLICK_IDS:
            unknown += 1
        elif value and _issued(name, value):
            kept[name] = value
        elif value:
            notes.append(f"click_ids.{name}: malformed, dropped")
    if unknown:
        notes.append(f"click_ids: {unknown} of unknown name dropped")
    return kept


# Printable ASCII without spaces, @, quotes and angle brackets. Meta's: fb.<subdomain index>.<ms>.<id>, and perhaps a
# fifth part that marks its own library.
_ISSUED = re.compile(r"[!#-&(-;=?A-~]{1,1024}").fullmatch
_ISSUED_BY_META = re.compile(r"fb\.[0-9]+\.[0-9]+\.[!-\-/-?A-~]+(?:\.[!-\-/-?A-~]+)?").fullmatch


def _issued(name: str, value: str) -> bool:
    if name in ("fbc", "fbp"):
        issued = len(value) <= _MAX_CHARS and _ISSUED_BY_META(value) is not None
    else:
        issued = _ISSUED(value) is not None
    # Its @ may be percent-encoded.
    return issued and ("%" not in value or masked(value) == value)
