"""Google Ads from end to end: posted to the hub, joined, sent with an access token to Google's stand-in, OAuth included."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.delivery.delivering import until, working_beside
from tests.delivery.stand_ins import GOOGLE_ADS, StandIn

COUNT = 12
# The page's worked hashes.
EMAIL = "d6117306485ed0e50afab3ac871e98f81699151f30281527d63ff5f233656c69"
PHONE = "36a2cef4ff9bf7a1abd2a93359136b870393be4106e6c5d19b72ff564f9deca4"
JANE = "81f8f6dde88365f3928796ec7aa53f72820b06db8664f5fe76a7eb13e24546a2"
DOE = "799ef92a11af918e3fb741df42934f3b568ed2d93ac1df74f1b8d41a27932a6f"


async def installed(served: Any, google: StandIn, variant: str = "default", **more: Any) -> str:
    body = {"variant": variant, "config": GOOGLE_ADS | {"endpoint": google.endpoint} | more}
    status, made = await served.call("POST", "/v1/admin/integration-catalog/google_ads/install", body)
    assert status == 201, made
    return made["id"]


async def post(served: Any, *events: dict[str, Any]) -> None:
    status, body = await served.call("POST", "/v1/events", {"events": list(events)}, key=served.keys.api_key)
    assert (status, {result["status"] for result in body["results"]}) == (202, {"accepted"}), body


async def deliveries(served: Any, **filters: str) -> list[dict[str, Any]]:
    query = "&".join(f"{name}={value}" for name, value in filters.items())
    _, page = await served.call("GET", f"/v1/admin/deliveries?limit=200&{query}")
    return page["items"]


async def all_are(served: Any, status: str, count: int) -> None:
    async def so() -> bool:
        return [delivery["status"] for delivery in await deliveries(served)] == [status] * count

    await until(so)


PURCHASE = {
    "event": "Order Completed",
    "event_id": "ord-7001:purchase",
    "value": 59.9,
    "currency": "USD",
    "order_id": "ord-7001",
    "action_source": "website",
    "click_ids": {"gclid": "Cj0KCQexample", "fbclid": "nobody-elses"},
    "user_data": {
        "email": "Jane.Doe+promo@Gmail.com",
        "phone": "+1 (415) 555-0123",
        "first_name": "Jane",
        "last_name": "Doe",
        "country": "US",
        "postal_code": "94103",
        "city": "San Francisco",
        "external_id": "user-48151",
        "client_ip_address": "203.0.113.9",
        "client_user_agent": "Mozilla/5.0",
    },
    "consent": {"ad_user_data": True, "ad_personalization": True},
}


@pytest.fixture
def worker(served: Any) -> Any:
    return working_beside(served)


async def test_a_purchase_with_every_identifier_arrives_as_the_page_shows_it(
    served: Any, google: StandIn, worker: Any
) -> None:
    await installed(served, google)
    await post(served, PURCHASE)
    async with worker:
        await all_are(served, "delivered", 1)
    [token] = await google.requests("/token")
    form = {"grant_type": "refresh_token"} | {n: GOOGLE_ADS[n] for n in ("client_id", "client_secret", "refresh_token")}
    assert token["body"] == form
    [request] = await google.requests("events:ingest")
    assert request["headers"]["authorization"].startswith("Bearer ya29.sandbox-")
    [event] = request["body"].pop("events")
    assert request["body"] == {
        "destinations": [
            {
                "operatingAccount": {"accountType": "GOOGLE_ADS", "accountId": "1234567890"},
                "loginAccount": {"accountType": "GOOGLE_ADS", "accountId": "9876543210"},
                "productDestinationId": "555666777",
            }
        ],
        "encoding": "HEX",
        "validateOnly": False,
    }
    assert event.pop("eventTimestamp")
    address = {"givenName": JANE, "familyName": DOE, "regionCode": "US", "postalCode": "94103"}
    assert event == {
        "transactionId": "ord-7001",
        "eventSource": "WEB",
        "conversionValue": 59.9,
        "currency": "USD",
        "adIdentifiers": {"gclid": "Cj0KCQexample"},
        "userData": {"userIdentifiers": [{"emailAddress": EMAIL}, {"phoneNumber": PHONE}, {"address": address}]},
        "consent": {"adUserData": "CONSENT_GRANTED", "adPersonalization": "CONSENT_GRANTED"},
    }


async def test_a_refused_token_holds_the_destination_and_a_patch_with_a_good_one_delivers_the_queue(
    served: Any, google: StandIn, worker: Any
) -> None:
    id_ = await installed(served, google)
    path = f"/v1/admin/destinations/{id_}"
    await google.fault("auth", match="1%2F%2F0refresh")
    await post(served, *(PURCHASE | {"event_id": f"e{n}", "order_id": f"o{n}"} for n in range(COUNT)))
    async with worker:

        async def is_held() -> bool:
            return (await served.call("GET", path))[1]["status"] == "held"

        await until(is_held)
        _, destination = await served.call("GET", path)
        assert "invalid_grant" in destination["reason"]
        assert "connect the account again" in destination["fix"]
        await post(served, PURCHASE)
        await all_are(served, "held", COUNT + 1)
        assert await google.requests("events:ingest") == []
        status, _ = await served.call("PATCH", path, {"config": {"refresh_token": "1//0good"}})
        assert status == 200
        await all_are(served, "delivered", COUNT + 1)
    arrived = [e["transactionId"] for r in await google.requests("events:ingest") for e in r["body"]["events"]]
    assert sorted(arrived) == sorted([*(f"o{n}" for n in range(COUNT)), "ord-7001"])
    _, ledger = await served.call("GET", "/v1/admin/ledger")
    assert all(hour["difference"] == 0 for hour in ledger["items"])


async def test_no_credential_and_no_token_is_in_the_log(served: Any, google: StandIn, worker: Any) -> None:
    await installed(served, google)
    await post(served, PURCHASE)
    async with worker:
        await all_are(served, "delivered", 1)
    [delivery] = await deliveries(served)
    _, one = await served.call("GET", f"/v1/admin/deliveries/{delivery['id']}")
    [attempt] = one["attempts"]
    assert attempt["response"].startswith('{"requestId":"req-')
    assert "Bearer [secret]" in str(attempt["request"])
    for hidden in ("ya29.", "1//0refresh", "GOCSPX", "94103", "pbsecret"):
        assert hidden not in str(one)


async def test_a_dry_run_shows_the_request_and_asks_for_no_token(served: Any, google: StandIn) -> None:
    await installed(served, google)
    _, body = await served.call("POST", "/v1/events?dry_run=1", PURCHASE, key=served.keys.api_key)
    [shown] = body["destinations"]
    assert shown["request"]["headers"]["authorization"] == "Bearer [secret]"
    assert shown["request"]["body"]["events"][0]["transactionId"] == "ord-7001"
    assert await google.requests() == []


async def test_a_service_account_signs_for_its_token(served: Any, google: StandIn, worker: Any) -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {"client_email": "p@project.iam.gserviceaccount.com", "private_key": pem, "private_key_id": "k1"}
    user = dict.fromkeys(("client_id", "client_secret", "refresh_token"))
    await installed(served, google, service_account=json.dumps(account), **user)
    await post(served, PURCHASE)
    async with worker:
        await all_are(served, "delivered", 1)
    [token] = await google.requests("/token")
    assert token["status"] == 200
    assert token["body"].keys() == {"grant_type", "assertion"}


async def test_a_refund_takes_the_conversion_back_by_the_google_ads_api(
    served: Any, google: StandIn, worker: Any
) -> None:
    await installed(served, google)
    await post(served, {"event": "refund", "event_id": "r-1", "order_id": "ord-7001"})
    async with worker:
        await all_are(served, "delivered", 1)
    [request] = await google.requests("uploadConversionAdjustments")
    assert request["path"] == "/google_ads/v26/customers/1234567890:uploadConversionAdjustments"
    assert request["headers"]["login-customer-id"] == "9876543210"
    [row] = request["body"]["conversionAdjustments"]
    assert (row["adjustmentType"], row["orderId"]) == ("RETRACTION", "ord-7001")


async def test_of_a_partial_refund_the_conversion_gets_what_is_left_and_of_the_rest_a_retraction(
    served: Any, google: StandIn, worker: Any
) -> None:
    await installed(served, google)
    refund = {"event": "refund", "order_id": "ord-7001", "currency": "USD"}
    await post(served, PURCHASE)
    async with worker:
        await all_are(served, "delivered", 1)
        await post(served, refund | {"event_id": "r-1", "value": 19.9})
        await all_are(served, "delivered", 2)
        await post(served, refund | {"event_id": "r-2", "value": 40})
        await all_are(served, "delivered", 3)
        await post(served, refund | {"event_id": "r-3", "value": 1, "order_id": "nobodys"})

        async def is_skipped() -> bool:
            return "skipped" in {one["status"] for one in await deliveries(served)}

        await until(is_skipped)
    rows = [r["body"]["conversionAdjustments"][0] for r in await google.requests("uploadConversionAdjustments")]
    assert [(row["adjustmentType"], row.get("restatementValue")) for row in rows] == [
        ("RESTATEMENT", {"adjustedValue": 40.0, "currencyCode": "USD"}),
        ("RETRACTION", None),
    ]
    [skipped] = await deliveries(served, status="skipped")
    assert skipped["reason"] == "the order that this refunds a part of is not known"


async def test_what_google_validates_only_is_delivered_and_not_counted(
    served: Any, google: StandIn, worker: Any
) -> None:
    await installed(served, google, validate_only=True)
    await post(served, PURCHASE)
    async with worker:
        await all_are(served, "delivered", 1)
    assert await google.accepted() == 0


@pytest.mark.parametrize("variant", ["default", "upload"])
async def test_a_probe_proves_the_credential_and_counts_nothing(served: Any, google: StandIn, variant: str) -> None:
    path = f"/v1/admin/destinations/{await installed(served, google, variant)}/probe"
    _, proof = await served.call("POST", path)
    assert (proof["ok"], proof["reason"]) == (True, "Google takes the credential and knows the account.")
    assert await google.accepted() == 0
    await google.fault("auth", match="grant_type")
    _, proof = await served.call("POST", path)
    assert (proof["ok"], proof["outcome"]) == (False, "refused")
    assert "invalid_grant" in proof["reason"]
    await google.fault("500", match="grant_type")
    _, proof = await served.call("POST", path)
    assert (proof["ok"], proof["outcome"]) == (False, "not_sent")


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"customer_id": "123-456-7890"}, "config.customer_id"),
        ({"conversion_actions": {}}, "config.conversion_actions"),
        ({"conversion_actions": {"purchase": "AW-1/x"}}, "config.conversion_actions[...]"),
        ({"refresh_token": None}, "config.refresh_token"),
        ({"service_account": "{}"}, "config.client_id"),
        ({"client_id": None, "client_secret": None, "refresh_token": None}, "config.refresh_token"),
        (
            {"client_id": None, "client_secret": None, "refresh_token": None, "service_account": "{}"},
            "config.service_account",
        ),
    ],
)
async def test_a_config_that_cannot_work_is_refused_by_field(served: Any, config: dict[str, Any], field: str) -> None:
    path = "/v1/admin/integration-catalog/google_ads/install"
    status, body = await served.call("POST", path, {"config": GOOGLE_ADS | config})
    assert (status, body["error"]["field"]) == (422, field), body
