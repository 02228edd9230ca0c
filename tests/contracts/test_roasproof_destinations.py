"""ROASproof's document from end to end: its POST, and the same with every identifier that it lists, reach Meta, Google
and TikTok together, hash for hash as the worked examples of the platforms' pages."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.contracts.clients import all_settle_as, curl, logged
from tests.contracts.documents import FOLDER, curls, run
from tests.delivery.stand_ins import StandIns

ROASPROOF = ("https://app.roasproof.com", "YOUR_API_KEY")
AT = datetime.now(UTC).replace(microsecond=0)
AGENT = "Mozilla/5.0 (X11; Linux x86_64)"
URL = "https://shop.example.com/thanks"
CONFIGS: dict[str, dict[str, Any]] = {
    "meta": {"dataset_id": "123456789012345", "access_token": "EAAB-example"},
    "google_ads": {
        "customer_id": "1234567890", "conversion_actions": {"purchase": "555666777"},
        "client_id": "123.apps.googleusercontent.com", "client_secret": "GOCSPX-s3cr3t", "refresh_token": "1//0refresh",
    },
    "tiktok": {"pixel_code": "C3QABCDEF7U123456789", "access_token": "tt-example"},
}  # fmt: skip

# What is typed, and what the pages make of it: Google drops gmail's dots and tag, Meta the plus of a phone.
EMAIL, PHONE, CUSTOMER = "Jane.Doe+promo@Gmail.com", "+1 (415) 555-0123", "user-48151"
EMAIL_AS_IS = "5f0d1df1fc49e30424381b57b1d4c73e067772a4267dde043a19b026935602c8"
EMAIL_GOOGLE = "d6117306485ed0e50afab3ac871e98f81699151f30281527d63ff5f233656c69"
PHONE_DIGITS = "413ba75461ab5f99d36820e561ea97e2bd80f9cb586f7ecea6cf4c496518950a"
PHONE_PLUS = "36a2cef4ff9bf7a1abd2a93359136b870393be4106e6c5d19b72ff564f9deca4"
CUSTOMER_HASH = "0d645cc06eba0a8c1387065bc50d982b9c0834959f0807ceedf1178342a5acd9"
JANE = "81f8f6dde88365f3928796ec7aa53f72820b06db8664f5fe76a7eb13e24546a2"
DOE = "799ef92a11af918e3fb741df42934f3b568ed2d93ac1df74f1b8d41a27932a6f"
ZIP = "91dc2519ea98c5002cf2091e6a12b772eafdce9dca618e626d7d3b8275361789"
FBC, FBP = f"fb.1.{int(AT.timestamp()) - 3600}000.IwAR2example", "fb.1.1795180000000.1116446470"

EVENT: dict[str, Any] = {
    "event": "purchase", "event_id": "ord-7001:purchase", "value": 59.90, "currency": "USD", "url": URL,
    "occurred_at": AT.isoformat(),
    "user_data": {
        "email": EMAIL, "phone": PHONE, "visitor_id": "v-1", "client_ip_address": "203.0.113.9",
        "client_user_agent": AGENT,
    },
    "custom_data": {"order_number": "ord-7001"},
}  # fmt: skip
# All that the document lists, and the names and places that Postback takes beside.
EVERYTHING = EVENT["user_data"] | {
    "external_id": CUSTOMER, "first_name": "Jane", "last_name": "Doe", "date_of_birth": "1990-04-15", "gender": "F",
    "city": "San Francisco", "state": "CA", "postal_code": "94103", "country": "US",
    "fbc": FBC, "fbp": FBP, "fbclid": "IwAR2example", "gclid": "Cj0KCQexample", "wbraid": "w-1", "gbraid": "g-1",
    "ttclid": "E.C.P.example",
}  # fmt: skip


@pytest.fixture
async def platforms(served: Any, stand_ins: StandIns) -> StandIns:
    """The stand-ins, each with a destination."""
    for connector, config in CONFIGS.items():
        body = {"name": connector, "config": config | {"endpoint": stand_ins[connector].endpoint}}
        path = f"/v1/admin/integration-catalog/{connector}/install"
        assert (await served.call("POST", path, body))[0] == 201
    return stand_ins


async def post(served: Any, event: dict[str, Any]) -> None:
    answered = await curl(f"{served.url}/api/v1/events", event, {"Authorization": f"Bearer {served.keys.api_key}"})
    assert is_queued_thrice(*answered), answered


def is_queued_thrice(status: int, answer: Any) -> bool:
    queued = {(one["connector"], one["status"]) for one in answer["destinations"]}
    return (status, answer["status"], queued) == (202, "accepted", {(name, "queued") for name in CONFIGS})


async def arrived(platforms: StandIns) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The one event of Meta's, Google's and TikTok's one request."""
    events: list[dict[str, Any]] = []
    for platform, path, key in (("meta", "", "data"), ("google_ads", "ingest", "events"), ("tiktok", "", "data")):
        [request] = await platforms[platform].requests(path)
        assert request["status"] == 200
        [event] = request["body"][key]
        events.append(event)
    meta, google, tiktok = events
    return meta, google, tiktok


async def test_the_event_reaches_meta_google_and_tiktok_together(served: Any, platforms: StandIns, worker: Any) -> None:
    await post(served, EVENT)
    async with worker:
        await all_settle_as(served, *["delivered"] * 3)
    meta, google, tiktok = await arrived(platforms)
    assert meta == {
        "event_name": "Purchase", "event_time": int(AT.timestamp()), "event_id": "ord-7001:purchase",
        "action_source": "website", "event_source_url": URL,
        "user_data": {
            "em": [EMAIL_AS_IS], "ph": [PHONE_DIGITS], "client_ip_address": "203.0.113.9", "client_user_agent": AGENT,
        },
        "custom_data": {"value": 59.9, "currency": "USD", "order_id": "ord-7001", "order_number": "ord-7001"},
    }  # fmt: skip
    assert google == {
        "transactionId": "ord-7001", "eventTimestamp": f"{AT:%Y-%m-%dT%H:%M:%SZ}", "eventSource": "WEB",
        "conversionValue": 59.9, "currency": "USD",
        "userData": {"userIdentifiers": [{"emailAddress": EMAIL_GOOGLE}, {"phoneNumber": PHONE_PLUS}]},
    }  # fmt: skip
    assert tiktok == {
        "event": "Purchase", "event_time": int(AT.timestamp()), "event_id": "ord-7001:purchase",
        "user": {"email": [EMAIL_AS_IS], "phone": [PHONE_PLUS], "ip": "203.0.113.9", "user_agent": AGENT},
        "page": {"url": URL}, "limited_data_use": False,
        "properties": {"value": 59.9, "currency": "USD", "order_id": "ord-7001"},
    }  # fmt: skip


async def test_with_every_identifier_each_platform_gets_those_it_understands_hash_for_hash(
    served: Any, platforms: StandIns, worker: Any
) -> None:
    await post(served, EVENT | {"user_data": EVERYTHING})
    async with worker:
        await all_settle_as(served, *["delivered"] * 3)
    meta, google, tiktok = await arrived(platforms)
    assert meta["user_data"] == {
        "em": [EMAIL_AS_IS], "ph": [PHONE_DIGITS], "external_id": [CUSTOMER_HASH], "client_ip_address": "203.0.113.9",
        "client_user_agent": AGENT, "fbc": FBC, "fbp": FBP, "fn": [JANE], "ln": [DOE],
        "db": ["5be1507be4da222549f321c7d5a4513e1287238d5ddc83622a12ff5e155bbe1b"],
        "ge": ["252f10c83610ebca1a059c0bae8255eba2f95be4d1d7bcfa89d7248a82d9f111"],
        "ct": ["1a6bd4d9d79dc0a79b53795c70d3349fa9e38968a3fbefbfe8783efb1d2b6aac"],
        "st": ["6959097001d10501ac7d54c0bdb8db61420f658f2922cc26e46d536119a31126"], "zp": [ZIP],
        "country": ["79adb2a2fce5c6ba215fe5f27f532d4e7edbac4b6a5e09e1ef3a08084a904621"],
    }  # fmt: skip
    assert google["adIdentifiers"] == {"gclid": "Cj0KCQexample"}
    address = {"givenName": JANE, "familyName": DOE, "regionCode": "US", "postalCode": "94103"}
    people = [{"emailAddress": EMAIL_GOOGLE}, {"phoneNumber": PHONE_PLUS}, {"address": address}]
    assert google["userData"] == {"userIdentifiers": people}
    assert tiktok["user"] == {
        "email": [EMAIL_AS_IS], "phone": [PHONE_PLUS], "external_id": [CUSTOMER_HASH], "ip": "203.0.113.9",
        "user_agent": AGENT, "ttclid": "E.C.P.example", "first_name": JANE, "last_name": DOE, "zip_code": ZIP,
        "city": "sanfrancisco", "state": "ca", "country": "us",
    }  # fmt: skip


async def test_the_delivery_log_says_of_each_identifier_where_it_came_from(
    served: Any, platforms: StandIns, worker: Any
) -> None:
    """Sent with the event, or joined from the visitor; of each platform those that it may have, and no values."""
    seen = {"visitor_id": "v-1", "gclid": "Cj0KCQexample", "ttclid": "E.C.P.older", "external_id": CUSTOMER}
    page = {"event": "page_view", "url": URL, "event_id": "view-1", "user_data": seen}
    await post(served, page)
    await post(served, EVENT | {"user_data": EVENT["user_data"] | {"ttclid": "E.C.P.example"}})
    async with worker:
        await all_settle_as(served, *["delivered"] * 5, "skipped")
    expected = {
        "meta": {
            "email_sha256": "sent", "phone_digits_sha256": "sent", "external_id_sha256": "visitor",
            "client_ip_address": "sent", "client_user_agent": "sent",
        },
        "google_ads": {"email_google_sha256": "sent", "phone_sha256": "sent", "gclid": "visitor"},
        "tiktok": {
            "email_sha256": "sent", "phone_sha256": "sent", "external_id_lower_sha256": "visitor", "ttclid": "sent",
            "client_ip_address": "sent", "client_user_agent": "sent",
        },
    }  # fmt: skip
    for connector, identifiers in expected.items():
        [attempt] = (await logged(served, EVENT["event_id"], connector))["attempts"]
        assert attempt["identifiers"] == identifiers
    _, listed = await served.call("GET", f"/v1/admin/events?event_id={EVENT['event_id']}")
    _, event = await served.call("GET", f"/v1/admin/events/{listed['items'][0]['id']}")
    shown = {name: origin for one in expected.values() for name, origin in one.items()}
    assert shown.items() <= event["identifiers"].items()


async def test_hashed_already_it_arrives_the_same(served: Any, platforms: StandIns, worker: Any) -> None:
    hashed = {"email": EMAIL_AS_IS.upper(), "phone": PHONE_PLUS, "client_user_agent": AGENT}
    await post(served, EVENT | {"user_data": hashed})
    async with worker:
        await all_settle_as(served, *["delivered"] * 3)
    meta, google, tiktok = await arrived(platforms)
    assert meta["user_data"] == {"em": [EMAIL_AS_IS], "ph": [PHONE_PLUS], "client_user_agent": AGENT}
    assert google["userData"] == {"userIdentifiers": [{"emailAddress": EMAIL_AS_IS}, {"phoneNumber": PHONE_PLUS}]}
    assert tiktok["user"] == {"email": [EMAIL_AS_IS], "phone": [PHONE_PLUS], "user_agent": AGENT}


if FOLDER:

    async def test_the_documents_own_post_arrives_with_its_time_and_address_made_true(
        served: Any, platforms: StandIns, worker: Any
    ) -> None:
        """The document's day is past every platform's age by now, and its email was masked when it was published."""
        [example] = curls("roasproof_events.txt")
        example = re.sub(r"\[email\sprotected\]", EMAIL, example.replace("2026-07-03T09:41:00Z", AT.isoformat()))
        assert is_queued_thrice(*await run(example, served, ROASPROOF))
        async with worker:
            await all_settle_as(served, *["delivered"] * 3)
        meta, google, tiktok = await arrived(platforms)
        assert (meta["event_id"], google["transactionId"], tiktok["event_id"]) == (
            "purchase_10023", "10023", "purchase_10023",
        )  # fmt: skip
        assert meta["user_data"]["em"] == tiktok["user"]["email"] == [EMAIL_AS_IS]
        assert google["userData"]["userIdentifiers"][0] == {"emailAddress": EMAIL_GOOGLE}
        for connector in CONFIGS:
            assert (await logged(served, "purchase_10023", connector))["attempts"][0]["outcome"] == "delivered"
