"""Webhook: every event to any URL, one signed POST each, by Standard Webhooks 1.0.0.

    {"type": "event.<name>", "timestamp": "<when it occurred>", "data": {"id", "event_id", "event", "source_name",
     "occurred_at", "received_at", "dialect", "action_source", "site_id", "goal_id", "visitor_id", "session_id",
     "value": "129.90", "currency", "order": {"id", "status", "items": [{"product_id", "name", "quantity", "price",
     "total"}]}, "page": {"url", "referrer"}, "user", "click_ids", "readable", "consent", "experiments", "properties",
     "is_test"}}

What an event lacks is left out. `user` holds hashes; `readable` is sent only where the config says so. Money: text, in
major units, beside its currency. Times: ISO 8601, UTC.
Dedup: the header `webhook-id`, the same for every attempt and replay of an event. Repeating is safe: the receiver drops
what it has. Delivery is at least once and in no order. 410 says stop; any other answer but 2xx is retried for 76 hours.
Source: https://github.com/standard-webhooks/standard-webhooks, spec 1.0.0, read 2026-11-20.
"""

import hmac
import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any

from msgspec import Meta, Struct

from postback.connectors import (
    UNSTATED_RATE,
    Connector,
    Delivered,
    Item,
    Outcome,
    Refused,
    Request,
    Response,
    Retry,
    Skipped,
    always,
    encode,
    exact,
)
from postback.errors import Invalid
from postback.event import CLICK_IDS, HASHED, READABLE, Consent, JoinedEvent, Order
from postback.secret import Secret

# Emails are kept in clear for mail alone, whatever the config says.
READABLE_HERE = READABLE - {"email"}
IDENTIFIERS = HASHED | CLICK_IDS | READABLE_HERE
PREFIX = "whsec_"
OUR_HEADERS = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection"})

_NOT_IN_TYPES = re.compile(r"[^A-Za-z0-9_]")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}").fullmatch
_HEADER_VALUE = re.compile(r"[ -~]{0,1000}").fullmatch


class Config(Struct, frozen=True):
    url: Annotated[
        Annotated[str, Meta(min_length=1)],
        Meta(title="URL", description="Where events are posted to; https, on a public address."),
    ]
    secret: Annotated[
        Secret | None,
        Meta(
            title="Signing secret",
            description="whsec_ and base64, by which the receiver proves that a call is ours; made when absent.",
            extra={"made": PREFIX},
        ),
    ] = None
    previous_secret: Annotated[
        Secret | None,
        Meta(
            title="Previous signing secret",
            description="While receivers move to a new secret, calls are signed with both.",
            extra={"advanced": True},
        ),
    ] = None
    authorization: Annotated[
        Secret | None,
        Meta(
            title="Authorization header",
            description="Its whole value, such as Bearer and a token.",
            extra={"advanced": True},
        ),
    ] = None
    headers: Annotated[
        dict[str, str],
        Meta(title="Headers", description="Further headers; they are shown in logs.", extra={"advanced": True}),
    ] = {}
    include_readable: Annotated[
        bool,
        Meta(
            title="Include readable personal data",
            description="Also send city, state, postal code, country, IP address, user agent and user id in clear. "
            "Only to a receiver you trust with them.",
            extra={"advanced": True},
        ),
    ] = False

    def __post_init__(self) -> None:
        for field in ("secret", "previous_secret"):
            if (secret := getattr(self, field)) is not None:
                _key(secret, field)
        if self.authorization is not None and not _HEADER_VALUE(self.authorization.reveal()):
            raise Invalid("A header's value is printable ASCII on one line.", field="config.authorization")
        for name, value in self.headers.items():
            _check_header(name, value)


def build(event: JoinedEvent, config: Config, now: datetime) -> Item | Skipped:
    """One event in our own words, in full but for readable personal data."""
    data: dict[str, Any] = {
        "id": event.id,
        "event_id": event.event_id,
        "event": event.name,
        "source_name": event.source_name,
        "occurred_at": event.occurred_at,
        "received_at": event.received_at,
        "dialect": event.dialect,
    }
    for field in ("action_source", "site_id", "goal_id", "visitor_id", "session_id"):
        if (value := getattr(event, field)) is not None:
            data[field] = value
    if event.value:
        data["value"] = _text(event.value.amount)
        data["currency"] = event.value.currency
    if event.order:
        data["order"] = _order(event.order)
    if event.page:
        data["page"] = _present(url=event.page.url, referrer=event.page.referrer)
    if user := {name: value for name, value in event.user.items() if name in HASHED}:
        data["user"] = user
    if click_ids := {name: value for name, value in event.click_ids.items() if name in CLICK_IDS}:
        data["click_ids"] = click_ids
    if config.include_readable and (
        readable := {name: value for name, value in event.readable.items() if name in READABLE_HERE}
    ):
        data["readable"] = readable
    if event.consent:
        data["consent"] = _consent(event.consent)
    if event.experiments:
        data["experiments"] = event.experiments
    if event.properties:
        data["properties"] = exact(event.properties)
    if event.is_test:
        data["is_test"] = True
    return Item({"type": f"event.{_NOT_IN_TYPES.sub('_', event.name)}", "timestamp": event.occurred_at, "data": data})


def withholds(config: Config) -> frozenset[str]:
    return frozenset() if config.include_readable else READABLE_HERE


def pack(items: Sequence[Item], config: Config, now: datetime) -> Request:
    """One message, signed for this attempt: its time is `now`, its id the event's."""
    payload = items[0].body
    return _signed(f"msg_{payload['data']['id'].hex}", payload, config, now)


def interpret(response: Response, count: int) -> Outcome:
    """2xx took it, 410 wants no more; all else may pass."""
    status, retry_after = response.status, response.retry_after_seconds
    if 200 <= status < 300:
        return Delivered()
    if status == 410:
        return Refused("answered 410 Gone", fix="The receiver wants no more events. Resume when it does.")
    if 300 <= status < 400:
        return Retry(f"answered {status}: redirects are not followed", after_seconds=retry_after)
    return Retry(f"answered {status}", after_seconds=retry_after, throttled=status in (429, 502, 504))


def probe(config: Config, now: datetime) -> Request:
    """A message of the type `postback.test`, without data; receivers ignore types that they do not know."""
    payload = {"type": "postback.test", "timestamp": now, "data": {}}
    return _signed(f"msg_test_{int(now.timestamp())}", payload, config, now)


def interpret_probe(response: Response) -> Outcome:
    return interpret(response, 1)


def signature(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and the base64 of HMAC-SHA256 over id, time and body; `secret` as decoded."""
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    return "v1," + b64encode(hmac.digest(secret, signed, "sha256")).decode()


def _signed(message_id: str, payload: dict[str, Any], config: Config, now: datetime) -> Request:
    body, timestamp = encode(payload), int(now.timestamp())
    headers = {name.lower(): value for name, value in config.headers.items()}
    if config.authorization is not None:
        headers["authorization"] = str(config.authorization)
    headers["content-type"] = "application/json"
    headers["webhook-id"] = message_id
    headers["webhook-timestamp"] = str(timestamp)
    secrets = [secret for secret in (config.secret, config.previous_secret) if secret is not None]
    if secrets:
        headers["webhook-signature"] = " ".join(
            signature(_key(secret), message_id, timestamp, body) for secret in secrets
        )
    return Request(method="POST", url=config.url, json=payload, body=body, headers=headers)


def _key(secret: Secret, field: str = "secret") -> bytes:
    """The bytes that sign. Raises Invalid where the secret is none; missing padding is forgiven."""
    if (key := _decoded(secret.reveal())) is None:
        raise Invalid("A signing secret is whsec_ and the base64 of 24 to 64 random bytes.", field=f"config.{field}")
    return key


@lru_cache(maxsize=256)  # asked for each message
def _decoded(text: str) -> bytes | None:
    coded = text.removeprefix(PREFIX)
    try:
        key = b64decode(coded + "=" * (-len(coded) % 4), validate=True)
    except (NotBase64, ValueError):
        return None
    return key if key and coded != text else None


def _check_header(name: str, value: str) -> None:
    lower = name.lower()
    if lower in OUR_HEADERS or lower.startswith("webhook-"):
        raise Invalid(f"The header {lower} is ours to set.", field="config.headers")
    if lower == "authorization":
        raise Invalid("Put it into authorization, where it is kept secret.", field="config.headers")
    if not _HEADER_NAME(name) or not _HEADER_VALUE(value):
        raise Invalid("A header has a name of HTTP's letters and printable ASCII on one line.", field="config.headers")


def _order(order: Order) -> dict[str, Any]:
    told = _present(id=order.id, status=order.status)
    if order.items:
        told["items"] = [
            _present(
                product_id=item.product_id,
                name=item.name,
                quantity=item.quantity,
                price=_text(item.price),
                total=_text(item.total),
            )
            for item in order.items
        ]
    return told


def _consent(consent: Consent) -> dict[str, Any]:
    return _present(
        analytics=consent.analytics,
        ad_user_data=consent.ad_user_data,
        ad_personalization=consent.ad_personalization,
    )


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:f}"


CONNECTOR = Connector(
    name="webhook",
    title="Webhook",
    category="developer",
    about="Posts every event, signed, to an address of your own.",
    config=Config,
    build=build,
    pack=pack,
    interpret=interpret,
    identifiers=IDENTIFIERS,
    withholds=withholds,
    docs="https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
    private=READABLE_HERE,
    repeat_is_safe=always,
    retracts=True,
    give_up_after=timedelta(hours=76),
    probe=probe,
    interpret_probe=interpret_probe,
    rate=UNSTATED_RATE,
)
