"""Who a request to GA4 is about: the client's id, and what it says of all its events."""

import re
from hashlib import sha256
from typing import Any

from postback.connectors import consent
from postback.event import JoinedEvent

ADDRESS_HASHES = {
    "first_name_google_sha256": "sha256_first_name",
    "last_name_google_sha256": "sha256_last_name",
    "street_sha256": "sha256_street",
}
ADDRESS_TEXTS = {"city": "city", "state": "region", "postal_code": "postal_code", "country": "country"}
# The external id does not leave: a client id is derived from it where the browser's is not known.
IDENTIFIERS = frozenset(
    "email_google_sha256 phone_sha256 external_id_sha256 user_id client_ip_address ga_client_id ga_session_id".split()
) | {*ADDRESS_HASHES, *ADDRESS_TEXTS}

_NOT_IN_PLACES = re.compile(r"[\W\d_]+")
_NOT_IN_POSTAL_CODES = re.compile(r"[.~]")
_COUNTRY = re.compile(r"[A-Za-z]{2}").fullmatch


def client_id(event: JoinedEvent) -> str | None:
    """The browser's, from its `_ga` cookie; else one that is the same for the same visitor, user or email."""
    sent = event.click_ids.get("ga_client_id", "")
    if sent.startswith("GA1."):
        sent = sent.split(".", 2)[-1]
    if sent:
        return sent
    user = event.user
    seed = event.visitor_id or user.get("external_id_sha256") or user.get("email_google_sha256")
    if not seed:
        return None
    digest = sha256(seed.encode()).digest()
    return ".".join(str(10**9 + int.from_bytes(half, "big") % (9 * 10**9)) for half in (digest[:16], digest[16:]))


def client_of(event: JoinedEvent, client_id: str) -> dict[str, Any]:
    """What a request says of all its events."""
    client: dict[str, Any] = {"client_id": client_id}
    readable = event.readable
    if user_id := readable.get("user_id"):
        client["user_id"] = user_id[:256]
    if address := readable.get("client_ip_address"):
        client["ip_override"] = address
    if said := consent(event, {"ad_user_data": "ad_user_data", "ad_personalization": "ad_personalization"}):
        client["consent"] = said
    is_denied = event.consent is not None and event.consent.ad_user_data is False
    if not is_denied and (user_data := _user_data(event)):
        client["user_data"] = user_data
    return client


def _user_data(event: JoinedEvent) -> dict[str, Any]:
    user, readable = event.user, event.readable
    data: dict[str, Any] = {}
    if email := user.get("email_google_sha256"):
        data["sha256_email_address"] = [email]
    if phone := user.get("phone_sha256"):
        data["sha256_phone_number"] = [phone]
    address = {theirs: user[ours] for ours, theirs in ADDRESS_HASHES.items() if ours in user}
    if address:  # a place without a name or a street matches nobody, so it stays here
        for ours, theirs in ADDRESS_TEXTS.items():
            if ours in readable and (text := _place(theirs, readable[ours])):
                address[theirs] = text
        data["address"] = [address]
    return data


def _place(field: str, text: str) -> str:
    """As Google writes it: places without digits and symbols, in lower case."""
    match field:
        case "country":
            return text.upper() if _COUNTRY(text) else ""
        case "postal_code":
            return _NOT_IN_POSTAL_CODES.sub("", text).strip()
        case _:
            words = (_NOT_IN_PLACES.sub("", word) for word in text.lower().split())
            return " ".join(word for word in words if word)
