"""What fixtures cannot say: how a token is asked for, what its answers mean, and which events share a request."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from postback.connectors import Granted, Item, Refused, Response, Retry
from postback.connectors.google_ads import CONNECTOR, Config, build, oauth
from postback.errors import Invalid
from postback.event import JoinedEvent, Order
from postback.secret import Secret

NOW = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)
ACTIONS = {"purchase": "1", "lead": "2"}
BY_TOKEN = Config(
    customer_id="1234567890",
    conversion_actions=ACTIONS,
    client_id="id",
    client_secret=Secret("s+/="),
    refresh_token=Secret("1//r"),
)
KEY = rsa.generate_private_key(65537, 2048)


def key_file(key: Any = KEY, **changes: Any) -> Secret:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    whole = {"type": "service_account", "client_email": "p@x.iam.gserviceaccount.com", "private_key": pem}
    return Secret(json.dumps(whole | {"private_key_id": "k1"} | changes))


def by_key(**changes: Any) -> Config:
    return Config(customer_id="1234567890", conversion_actions=ACTIONS, service_account=key_file(**changes))


def part(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def item(**fields: Any) -> Item:
    usual: dict[str, Any] = {
        "id": UUID(int=1),
        "event_id": "e-1",
        "name": "purchase",
        "source_name": "purchase",
        "occurred_at": NOW,
        "received_at": NOW,
        "dialect": "native",
        "click_ids": {"gclid": "x"},
    }
    built = build(JoinedEvent(**usual | fields), BY_TOKEN, NOW)
    assert isinstance(built, Item), built
    return built


def test_a_refresh_token_is_asked_with_by_its_stand_in() -> None:
    assert CONNECTOR.token
    request = CONNECTOR.token.request(BY_TOKEN, NOW)
    assert (request.method, request.url) == ("POST", "https://oauth2.googleapis.com/token")
    assert request.headers == {"content-type": "application/x-www-form-urlencoded"}
    assert request.form == {
        "grant_type": "refresh_token",
        "client_id": "id",
        "client_secret": str(BY_TOKEN.client_secret),
        "refresh_token": str(BY_TOKEN.refresh_token),
    }
    assert b"1%2F%2Fr" not in request.content()


def test_a_service_account_signs_what_the_page_asks_for() -> None:
    assert CONNECTOR.token
    request = CONNECTOR.token.request(by_key(), NOW)
    form = {name: value for name, [value] in parse_qs(request.content().decode()).items()}
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    head, claims, signature = form["assertion"].split(".")
    assert json.loads(part(head)) == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    assert json.loads(part(claims)) == {
        "iss": "p@x.iam.gserviceaccount.com",
        "scope": "https://www.googleapis.com/auth/datamanager https://www.googleapis.com/auth/adwords",
        "aud": "https://oauth2.googleapis.com/token",
        "iat": int(NOW.timestamp()),
        "exp": int(NOW.timestamp()) + 3600,
    }
    KEY.public_key().verify(part(signature), f"{head}.{claims}".encode(), PKCS1v15(), SHA256())


def test_an_endpoint_takes_the_token_request_too() -> None:
    assert CONNECTOR.token
    config = Config(
        customer_id="1", conversion_actions=ACTIONS, service_account=key_file(), endpoint="http://127.0.0.1:9/google_ads/"
    )  # fmt: skip
    assert CONNECTOR.token.request(config, NOW).url == "http://127.0.0.1:9/google_ads/token"


@pytest.mark.parametrize(
    "text",
    [
        "not JSON",
        "[]",
        '{"client_email": "a@b"}',
        '{"client_email": "a@b", "private_key": "-----BEGIN PRIVATE KEY-----"}',
        pytest.param(key_file(ec.generate_private_key(ec.SECP256R1())).reveal(), id="a key that is not RSA"),
    ],
)
def test_a_key_file_that_signs_nothing_is_refused_by_name(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        Config(customer_id="1", conversion_actions=ACTIONS, service_account=Secret(text))
    assert refused.value.field == "config.service_account"
    assert text[:20] not in str(refused.value)


def answered(status: int, body: Any, **headers: str) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return oauth.interpret(Response(status, headers, raw))


def test_the_pages_reply_is_a_token_for_an_hour() -> None:
    reply = {"access_token": "ya29.a", "expires_in": 3599, "token_type": "Bearer", "scope": "s"}
    assert answered(200, reply) == Granted(Secret("ya29.a"), 3599.0)


def test_a_reply_that_does_not_say_how_long_is_used_shortly() -> None:
    for more in ({}, {"expires_in": -1}, {"expires_in": "3599"}, {"expires_in": True}):
        assert answered(200, {"access_token": "ya29.a"} | more).expires_in_seconds == 300


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}),
        (401, {"error": "invalid_client"}),
        (400, {"error": "unsupported_grant_type"}),
        (403, {"error": {"code": 403}}),
        (404, b"<html>"),
    ],
)
def test_what_google_refuses_is_the_credentials_fault(status: int, body: Any) -> None:
    refused = answered(status, body)
    assert isinstance(refused, Refused)
    assert refused.fix.endswith(".")


def test_a_refusal_says_what_google_says() -> None:
    refused = answered(400, {"error": "invalid_grant", "error_description": "Revoked."})
    assert refused.reason == "Google refuses the credential: invalid_grant: Revoked."
    assert "connect the account again" in refused.fix


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, {"error": "rate_limit_exceeded"}),
        (500, b""),
        (503, b"<html>"),
        (200, b"<html>"),
        (200, {"access_token": ""}),
        (200, {"access_token": "a\nb"}),
        (200, []),
        (302, b""),
    ],
)
def test_what_passes_is_tried_again(status: int, body: Any) -> None:
    assert isinstance(answered(status, body), Retry)
    assert answered(429, {}, **{"retry-after": "7"}).after_seconds == 7


def test_events_of_two_actions_and_retractions_do_not_share_a_request() -> None:
    groups = [item().group, item(name="lead", source_name="lead").group]
    groups.append(item(name="refund", source_name="refund", order=Order(id="o-1")).group)
    assert len(set(groups)) == 3
    assert item(event_id="e-2").group == groups[0]


def test_click_ids_past_ninety_days_are_dropped_for_both_ways() -> None:
    for connector in (CONNECTOR, *CONNECTOR.variants):
        assert connector.click_id_ages == dict.fromkeys(("gclid", "gbraid", "wbraid"), timedelta(days=90))
        assert connector.consent == {"ad_user_data"}


def test_the_variant_declares_less_than_the_default() -> None:
    [upload] = CONNECTOR.variants
    assert CONNECTOR.identifiers - upload.identifiers == {
        "first_name_sha256",
        "last_name_sha256",
        "country",
        "postal_code",
    }
