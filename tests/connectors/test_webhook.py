"""Signatures, by the reference library and the vectors of `reference/destinations/webhook.md`; configs that are refused."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
import standardwebhooks

from postback import secret
from postback.connectors import Item
from postback.connectors.webhook import CONNECTOR, Config, build, pack, signature
from postback.errors import Invalid
from postback.event import JoinedEvent
from postback.secret import Secret

KEY = bytes(range(32))
SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
OTHER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
VECTOR = (
    b'{"type":"conversion.delivered","timestamp":"2026-11-20T10:15:30Z","data":{"conversion_id":"conv_01",'
    b'"event":"purchase","value":"129.90","currency":"EUR"}}'
)
NOW = datetime.now(UTC)
EVENT = JoinedEvent(
    id=UUID("019aa3b0-0000-7000-8000-000000000001"),
    event_id="a.b.c",
    name="purchase",
    source_name="purchase",
    occurred_at=NOW,
    received_at=NOW,
    dialect="native",
    properties={"name": "Grüße"},
)


def _packed(config: Config, event: JoinedEvent = EVENT, now: datetime | None = None) -> Any:
    now = now or datetime.now(UTC)  # the reference library compares with its own clock
    item = build(event, config, now)
    assert isinstance(item, Item)
    return pack([item], config, now)


def test_the_vector_of_the_standard_is_signed_as_it_says() -> None:
    assert len(VECTOR) == 154
    signed = signature(KEY, "msg_2pbk0000000000000000000001", 1795169730, VECTOR)
    assert signed == "v1,5PTH2SACC3wSRVnewWALjt750HMQJM75fVUK/x15vV4="


@pytest.mark.parametrize("text", [SECRET, OTHER, SECRET.rstrip("=")])
def test_the_reference_library_verifies_what_is_sent(text: str) -> None:
    request = _packed(Config(url="https://a.example", secret=Secret(text)))
    told = standardwebhooks.Webhook(text).verify(request.content(), request.headers)
    assert told == msgspec.json.decode(request.content())


def test_while_a_secret_is_changed_both_verify() -> None:
    request = _packed(Config(url="https://a.example", secret=Secret(SECRET), previous_secret=Secret(OTHER)))
    assert request.headers["webhook-signature"].count(" ") == 1
    for text in (SECRET, OTHER):
        standardwebhooks.Webhook(text).verify(request.content(), request.headers)


def test_an_attempt_later_has_the_same_id_and_another_time() -> None:
    config = Config(url="https://a.example", secret=Secret(SECRET))
    first, second = (_packed(config, now=NOW + timedelta(seconds=late)) for late in (0, 90))
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == f"msg_{EVENT.id.hex}"
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 90
    assert first.content() == second.content()
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


def test_without_a_secret_a_message_is_sent_unsigned() -> None:
    assert "webhook-signature" not in _packed(Config(url="https://a.example")).headers


@pytest.mark.parametrize(
    "config, field",
    [
        ({"url": "https://a.example", "secret": "not a secret"}, "config.secret"),
        ({"url": "https://a.example", "secret": "whsec_"}, "config.secret"),
        ({"url": "https://a.example", "secret": "whsec_*"}, "config.secret"),
        ({"url": "https://a.example", "previous_secret": KEY.hex()}, "config.previous_secret"),
        ({"url": "https://a.example", "authorization": "a\r\nb: c"}, "config.authorization"),
        ({"url": "https://a.example", "headers": {"Host": "b"}}, "config.headers"),
        ({"url": "https://a.example", "headers": {"Content-Type": "b"}}, "config.headers"),
        ({"url": "https://a.example", "headers": {"content-length": "1"}}, "config.headers"),
        ({"url": "https://a.example", "headers": {"Webhook-Id": "b"}}, "config.headers"),
        ({"url": "https://a.example", "headers": {"Authorization": "b"}}, "config.headers"),
        ({"url": "https://a.example", "headers": {"x": "a\r\nb: c"}}, "config.headers"),
        ({"url": "https://a.example", "headers": {"x\r\ny": "a"}}, "config.headers"),
        ({"url": "https://a.example", "headers": {"": "a"}}, "config.headers"),
    ],
)
def test_a_config_that_could_not_be_sent_is_refused_by_its_field(config: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        msgspec.convert(config, Config, dec_hook=secret.decode_hook)
    assert refused.value.field == field


def test_a_webhook_is_retried_for_76_hours_and_may_always_be_repeated() -> None:
    assert timedelta(hours=76) == CONNECTOR.give_up_after
    assert CONNECTOR.repeat_is_safe(EVENT)
    assert CONNECTOR.max_items == 1
