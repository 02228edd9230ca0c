import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postback.sandbox import Answer, Request, google_ads
from tests.sandbox.bodies import ABSENT, put, told

NOW = 1_795_200_010.0  # 2026-11-20T18:40:10Z
DAY = 86_400
# reference/destinations/google_ads.md, section 7, verbatim
EXAMPLE = b"""\
{"destinations":[{"operatingAccount":{"accountType":"GOOGLE_ADS","accountId":"1234567890"},
  "loginAccount":{"accountType":"GOOGLE_ADS","accountId":"9876543210"},"productDestinationId":"555666777"}],
 "encoding":"HEX","validateOnly":false,
 "events":[{"transactionId":"ord-7001","eventTimestamp":"2026-11-20T14:00:00Z","eventSource":"WEB",
  "conversionValue":59.9,"currency":"USD","adIdentifiers":{"gclid":"Cj0KCQexample"},
  "userData":{"userIdentifiers":[
   {"emailAddress":"d6117306485ed0e50afab3ac871e98f81699151f30281527d63ff5f233656c69"},
   {"phoneNumber":"36a2cef4ff9bf7a1abd2a93359136b870393be4106e6c5d19b72ff564f9deca4"},
   {"address":{"givenName":"81f8f6dde88365f3928796ec7aa53f72820b06db8664f5fe76a7eb13e24546a2",
    "familyName":"799ef92a11af918e3fb741df42934f3b568ed2d93ac1df74f1b8d41a27932a6f","regionCode":"US","postalCode":"94103"}}]},
  "consent":{"adUserData":"CONSENT_GRANTED","adPersonalization":"CONSENT_GRANTED"}}]}"""
REFUND = b"""\
{"partialFailure":true,"conversionAdjustments":[
 {"adjustmentType":"RETRACTION","conversionAction":"customers/1234567890/conversionActions/555666777",
  "orderId":"ord-7001","adjustmentDateTime":"2026-11-21 09:30:00+00:00"},
 {"adjustmentType":"RESTATEMENT","conversionAction":"customers/1234567890/conversionActions/555666777",
  "orderId":"ord-7002","adjustmentDateTime":"2026-11-21 09:30:00+00:00",
  "restatementValue":{"adjustedValue":40.0,"currencyCode":"USD"}}]}"""
CONVERSION = {
    "conversionAction": "customers/1234567890/conversionActions/555666777",
    "conversionDateTime": "2026-11-20 14:00:00+00:00",
    "orderId": "ord-7001",
    "gclid": "Cj0KCQexample",
    "userIdentifiers": [{"hashedEmail": "a" * 64, "userIdentifierSource": "FIRST_PARTY"}],
    "consent": {"adUserData": "GRANTED"},
}
INGEST = "/v1/events:ingest"
UPLOAD = "/v26/customers/1234567890:uploadClickConversions"
ADJUST = "/v26/customers/1234567890:uploadConversionAdjustments"


def post(
    path: str, body: object, *, now: float = NOW, token: str = "ya29.any", media: str = "application/json", **more: str
) -> Answer:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    headers = {"content-type": media, "authorization": f"Bearer {token}", **more}
    return google_ads.answer(Request("POST", path, {}, headers, raw), now)


def form(**fields: str) -> Answer:
    raw = "&".join(f"{name}={value}" for name, value in fields.items()).encode()
    media = "application/x-www-form-urlencoded"
    return google_ads.answer(Request("POST", "/token", {}, {"content-type": media}, raw), NOW)


def changed(path: str, value: object) -> dict[str, Any]:
    """The example, one field changed: `/` is the body, `:` its event."""
    body = json.loads(EXAMPLE)
    put(body if path[0] == "/" else body["events"][0], path[1:], value)
    return body


def test_the_worked_request_is_taken_as_it_stands() -> None:
    answer = post(INGEST, EXAMPLE)
    assert (answer.status, list(told(answer)), answer.events, answer.problems) == (200, ["requestId"], 1, ())


def test_a_request_to_validate_only_is_judged_and_not_counted() -> None:
    answer = post(INGEST, changed("/validateOnly", True))
    assert (answer.status, told(answer), answer.events) == (200, {}, 0)
    wrong = changed(":currency", "usd") | {"validateOnly": True}
    assert post(INGEST, wrong).status == 400


def test_the_worked_refund_is_taken_as_it_stands_the_next_day() -> None:
    answer = post(ADJUST, REFUND, now=NOW + DAY)
    assert (answer.status, answer.events) == (200, 2)
    [first, _] = told(answer)["results"]
    assert first == {
        "orderId": "ord-7001",
        "adjustmentType": "RETRACTION",
        "conversionAction": "customers/1234567890/conversionActions/555666777",
        "adjustmentDateTime": "2026-11-21 09:30:00+00:00",
    }


IDENTIFIERS = ":userData.userIdentifiers"
REFUSED: list[tuple[str, str, object, str, str]] = [
    ("an unknown field", ":eventId", "1", "events[0]", "INVALID_ARGUMENT"),
    ("a plain email", f"{IDENTIFIERS}.0.emailAddress", "a@b.co", "events[0].userData.userIdentifiers[0].emailAddress", "INVALID_SHA256_FORMAT"),
    ("an upper-case hash", f"{IDENTIFIERS}.1.phoneNumber", "A" * 64, "events[0].userData.userIdentifiers[1].phoneNumber", "INVALID_SHA256_FORMAT"),
    ("a plain name", f"{IDENTIFIERS}.2.address.givenName", "jane", "events[0].userData.userIdentifiers[2].address.givenName", "INVALID_SHA256_FORMAT"),
    ("a country in words", f"{IDENTIFIERS}.2.address.regionCode", "Germany", "events[0].userData.userIdentifiers[2].address.regionCode", "INVALID_ARGUMENT"),
    ("a city", f"{IDENTIFIERS}.2.address.city", "berlin", "events[0].userData.userIdentifiers[2].address", "INVALID_ARGUMENT"),
    ("an address without its postal code", f"{IDENTIFIERS}.2.address.postalCode", ABSENT, "events[0].userData.userIdentifiers[2].address.postalCode", "REQUIRED_FIELD_MISSING"),
    ("two identifiers in one", f"{IDENTIFIERS}.0.phoneNumber", "a" * 64, "events[0].userData.userIdentifiers[0]", "INVALID_ARGUMENT"),
    ("eleven identifiers", IDENTIFIERS, [{"emailAddress": "a" * 64}] * 11, "events[0].userData.userIdentifiers", "TOO_MANY_USER_IDENTIFIERS"),
    ("a time without a zone", ":eventTimestamp", "2026-11-20T14:00:00", "events[0].eventTimestamp", "EVENT_TIME_INVALID"),
    ("a time in seconds", ":eventTimestamp", 1795200000, "events[0].eventTimestamp", "INVALID_ARGUMENT"),
    ("a time that lies ahead", ":eventTimestamp", "2026-11-20T19:00:00Z", "events[0].eventTimestamp", "EVENT_TIME_INVALID"),
    ("no time", ":eventTimestamp", ABSENT, "events[0].eventTimestamp", "REQUIRED_FIELD_MISSING"),
    ("a currency in lower case", ":currency", "usd", "events[0].currency", "INVALID_CURRENCY_CODE"),
    ("a value without currency", ":currency", ABSENT, "events[0].currency", "REQUIRED_FIELD_MISSING"),
    ("a value in text", ":conversionValue", "59.9", "events[0].conversionValue", "INVALID_ARGUMENT"),
    ("a source of another platform", ":eventSource", "website", "events[0].eventSource", "INVALID_ARGUMENT"),
    ("a consent of the other API", ":consent.adUserData", "GRANTED", "events[0].consent.adUserData", "INVALID_ARGUMENT"),
    ("no encoding", "/encoding", ABSENT, "encoding", "REQUIRED_FIELD_MISSING"),
    ("no destination", "/destinations", [], "destinations", "REQUIRED_FIELD_MISSING"),
    ("an account with hyphens", "/destinations.0.operatingAccount.accountId", "123-456-7890", "destinations[0].operatingAccount.accountId", "INVALID_ARGUMENT"),
    ("no conversion action", "/destinations.0.productDestinationId", ABSENT, "destinations[0].productDestinationId", "REQUIRED_FIELD_MISSING"),
    ("eleven destinations", "/destinations", [json.loads(EXAMPLE)["destinations"][0] | {"reference": str(n)} for n in range(11)], "destinations", "TOO_MANY_DESTINATIONS"),
    ("no events", "/events", [], "events", "REQUIRED_FIELD_MISSING"),
    ("2,001 events", "/events", [json.loads(EXAMPLE)["events"][0]] * 2001, "events", "TOO_MANY_EVENTS"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "field", "reason"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_it_refuses(path: str, value: object, field: str, reason: str) -> None:
    answer = post(INGEST, changed(path, value))
    assert (answer.status, answer.events) == (400, 0)
    error = told(answer)["error"]
    assert error["status"] == "INVALID_ARGUMENT"
    [violations] = [detail["fieldViolations"] for detail in error["details"] if "fieldViolations" in detail]
    assert (field, reason) in [(violation["field"], violation["reason"]) for violation in violations]


def test_an_event_without_an_identifier_of_any_kind_is_refused() -> None:
    body = changed(":userData", ABSENT)
    assert post(INGEST, body).status == 200
    body["events"][0]["adIdentifiers"] = {}
    assert b"NO_IDENTIFIERS_PROVIDED" in post(INGEST, body).body


def test_a_cart_does_not_go_with_a_braid() -> None:
    body = changed(":cartData", {"items": [{"itemId": "sku-1", "quantity": 1, "unitPrice": 5.0}]})
    assert post(INGEST, body).status == 200
    body["events"][0]["adIdentifiers"] = {"gbraid": "x"}
    assert post(INGEST, body).status == 400


def test_one_wrong_event_refuses_all_and_each_wrong_one_is_named() -> None:
    good, bad = json.loads(EXAMPLE)["events"][0], changed(":currency", "usd")["events"][0]
    answer = post(INGEST, changed("/events", [good, bad, good, bad]))
    assert (answer.status, answer.events) == (400, 0)
    assert b"events[1].currency" in answer.body
    assert b"events[3].currency" in answer.body
    assert b"events[0]" not in answer.body


def test_what_google_drops_later_is_among_the_problems() -> None:
    old = post(INGEST, changed(":eventTimestamp", "2026-08-01T00:00:00Z"))
    denied = post(INGEST, changed(":consent.adUserData", "CONSENT_DENIED"))
    assert (old.status, old.events, denied.status, denied.events) == (200, 0, 200, 0)
    codes = [problem.validation_code for answer in (old, denied) for problem in answer.problems or ()]
    assert codes == ["PROCESSING_ERROR_REASON_EVENT_TOO_OLD", "PROCESSING_ERROR_REASON_DENIED_CONSENT"]


ROWS = [
    ("another account's action", {"conversionAction": "customers/1/conversionActions/5"}, "NO_CONVERSION_ACTION_FOUND"),
    ("a time without a zone", {"conversionDateTime": "2026-11-20 14:00:00"}, "INVALID_CONVERSION_DATE_TIME"),
    ("a time that lies ahead", {"conversionDateTime": "2026-11-20 23:00:00+00:00"}, "INVALID_CONVERSION_DATE_TIME"),
    ("91 days", {"conversionDateTime": "2026-08-20 14:00:00+00:00"}, "EXPIRED_EVENT"),
    ("both braids", {"gclid": ABSENT, "gbraid": "a", "wbraid": "b"}, "GBRAID_WBRAID_BOTH_SET"),
    ("a click and a braid", {"gbraid": "a"}, "VALUE_MUST_BE_UNSET"),
    ("nothing to match by", {"gclid": ABSENT, "userIdentifiers": []}, "UNPARSEABLE_GCLID"),
    ("a plain email", {"userIdentifiers": [{"hashedEmail": "a@b.co"}]}, "INVALID_USER_IDENTIFIER"),
    ("six identifiers", {"userIdentifiers": [{"hashedEmail": "a" * 64}] * 6}, "TOO_MANY_USER_IDENTIFIERS"),
    ("an address for an order", {"orderId": "jane@example.com"}, "ORDER_ID_CONTAINS_PII"),
    ("a currency in lower case", {"currencyCode": "usd"}, "INVALID_CURRENCY_CODE"),
]


@pytest.mark.parametrize(("changes", "code"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_a_wrong_row_fails_alone(changes: dict[str, object], code: str) -> None:
    bad = {name: value for name, value in (CONVERSION | changes).items() if value is not ABSENT}
    good = CONVERSION | {"orderId": "ord-0"}
    answer = post(UPLOAD, {"conversions": [good, bad], "partialFailure": True})
    assert (answer.status, answer.events) == (200, 1)
    body = told(answer)
    assert (body["results"][0]["orderId"], body["results"][1]) == ("ord-0", {})
    [failure] = body["partialFailureError"]["details"]
    assert failure["@type"].endswith("v26.errors.GoogleAdsFailure")
    [error] = [e for e in failure["errors"] if e["errorCode"] == {"conversionUploadError": code}]
    assert error["location"]["fieldPathElements"][0] == {"fieldName": "conversions", "index": 1}


def test_the_index_of_the_first_row_is_left_out() -> None:
    bad = CONVERSION | {"orderId": "a@b.co"}
    [error] = told(post(UPLOAD, {"conversions": [bad], "partialFailure": True}))["partialFailureError"]["details"][0][
        "errors"
    ]
    assert error["location"]["fieldPathElements"] == [{"fieldName": "conversions"}]


def test_without_partial_failure_one_wrong_row_refuses_all() -> None:
    body = {"conversions": [CONVERSION, CONVERSION | {"orderId": "a@b.co"}]}
    answer = post(UPLOAD, body)
    assert (answer.status, answer.events) == (400, 0)
    assert b"ORDER_ID_CONTAINS_PII" in answer.body


def test_an_order_twice_in_one_request_is_a_duplicate() -> None:
    answer = post(UPLOAD, {"conversions": [CONVERSION, CONVERSION], "partialFailure": True})
    assert answer.events == 1
    assert b"DUPLICATE_ORDER_ID" in answer.body


def test_rows_that_are_only_validated_are_not_counted() -> None:
    body = {"conversions": [CONVERSION], "partialFailure": True, "validateOnly": True}
    answer = post(UPLOAD, body)
    assert (answer.status, told(answer), answer.events) == (200, {}, 0)


def test_2001_rows_are_too_many() -> None:
    answer = post(UPLOAD, {"conversions": [CONVERSION] * 2001, "partialFailure": True})
    assert answer.status == 400
    assert b"TOO_MANY_CONVERSIONS_IN_REQUEST" in answer.body


PAIR = {"gclid": "x", "conversionDateTime": "2026-11-19 14:00:00+00:00"}
ADJUSTED = [
    ("a retraction with a value", {"restatementValue": {"adjustedValue": 1.0}}, "RESTATEMENT_VALUE_MISMATCH"),
    ("a restatement without one", {"adjustmentType": "RESTATEMENT"}, "RESTATEMENT_VALUE_MISMATCH"),
    ("two keys", {"gclidDateTimePair": PAIR}, "INVALID_ADJUSTMENT_KEY"),
    ("no key", {"orderId": ABSENT}, "INVALID_ADJUSTMENT_KEY"),
    ("no time", {"adjustmentDateTime": ABSENT}, "INVALID_ADJUSTMENT_DATE_TIME"),
    ("user data", {"userIdentifiers": [{"hashedEmail": "a" * 64}]}, "INVALID_USER_IDENTIFIER"),
    (
        "a conversion of 55 days ago",
        {"orderId": ABSENT, "gclidDateTimePair": PAIR | {"conversionDateTime": "2026-09-26 14:00:00+00:00"}},
        "CONVERSION_EXPIRED",
    ),
]


@pytest.mark.parametrize(("changes", "code"), [row[1:] for row in ADJUSTED], ids=[row[0] for row in ADJUSTED])
def test_a_wrong_adjustment_fails_alone(changes: dict[str, object], code: str) -> None:
    good = json.loads(REFUND)["conversionAdjustments"][0]
    bad = {name: value for name, value in (good | changes).items() if value is not ABSENT}
    answer = post(ADJUST, {"conversionAdjustments": [good, bad], "partialFailure": True}, now=NOW + DAY)
    assert (answer.status, answer.events) == (200, 1)
    [failure] = told(answer)["partialFailureError"]["details"]
    assert {"conversionAdjustmentUploadError": code} in [error["errorCode"] for error in failure["errors"]]
    assert failure["errors"][0]["location"]["fieldPathElements"][0] == {
        "fieldName": "conversion_adjustments",
        "index": 1,
    }


@pytest.mark.parametrize("path", [INGEST, UPLOAD, ADJUST])
def test_no_token_is_401_in_googles_shape(path: str) -> None:
    for headers in ({}, {"authorization": "Basic x"}, {"authorization": "Bearer a b"}):
        answer = google_ads.answer(
            Request("POST", path, {}, {"content-type": "application/json"} | headers, b"{}"), NOW
        )
        assert (answer.status, told(answer)["error"]["status"]) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize(
    "path", ["/", "/v1/events", "/v22/customers/1:uploadClickConversions", "/v26/customers/a-1:uploadClickConversions"]
)
def test_other_paths_are_404(path: str) -> None:
    assert post(path, {}).status == 404


def test_other_versions_and_managers_are_taken() -> None:
    path = UPLOAD.replace("v26", "v23")
    assert post(path, {"conversions": [CONVERSION], "partialFailure": True}, **{"login-customer-id": "99"}).events == 1
    assert post(path, {"conversions": [CONVERSION]}, **{"login-customer-id": "9-9"}).status == 400


def test_a_refresh_token_gets_an_access_token_that_is_taken_for_an_hour() -> None:
    answer = form(grant_type="refresh_token", client_id="c", client_secret="s", refresh_token="1//r")
    body = told(answer)
    assert (answer.status, body["expires_in"], body["token_type"]) == (200, 3599, "Bearer")
    assert post(INGEST, EXAMPLE, token=body["access_token"]).status == 200
    assert post(INGEST, EXAMPLE, token=body["access_token"], now=NOW + 3598).status == 200
    assert post(INGEST, EXAMPLE, token=body["access_token"], now=NOW + 3600).status == 401


@pytest.mark.parametrize("missing", ["client_id", "client_secret", "refresh_token", "grant_type"])
def test_a_grant_without_one_of_its_fields_is_400(missing: str) -> None:
    fields = {"grant_type": "refresh_token", "client_id": "c", "client_secret": "s", "refresh_token": "1//r"}
    answer = form(**{name: value for name, value in fields.items() if name != missing})
    assert answer.status == 400
    assert told(answer)["error"] in ("invalid_request", "unsupported_grant_type")


CLAIMS = {
    "iss": "postback@project.iam.gserviceaccount.com",
    "scope": "https://www.googleapis.com/auth/datamanager",
    "aud": "https://oauth2.googleapis.com/token",
    "iat": int(NOW),
    "exp": int(NOW) + 3600,
}
HEAD = {"alg": "RS256", "typ": "JWT", "kid": "k"}


def asserted(claims: dict[str, Any] = CLAIMS, head: dict[str, Any] = HEAD, signature: bytes = b"s" * 256) -> Answer:
    parts = [json.dumps(head).encode(), json.dumps(claims).encode(), signature]
    jwt = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    return form(grant_type=google_ads.JWT_GRANT, assertion=jwt)


def test_a_signed_assertion_gets_an_access_token() -> None:
    assert "access_token" in told(asserted())


@pytest.mark.parametrize(
    "claims",
    [{"aud": "https://example.com"}, {"iss": "nobody"}, {"scope": "email"}, {"exp": int(NOW) + 3700}, {"iat": "now"}, {"exp": int(NOW) - 1}],
)  # fmt: skip
def test_a_wrong_assertion_is_an_invalid_grant(claims: dict[str, Any]) -> None:
    answer = asserted(CLAIMS | claims)
    assert (answer.status, told(answer)["error"]) == (400, "invalid_grant")


def test_an_assertion_that_nobody_signed_is_an_invalid_grant() -> None:
    for answer in (
        asserted(head=HEAD | {"alg": "none"}),
        asserted(signature=b""),
        form(grant_type=google_ads.JWT_GRANT, assertion="a.b"),
    ):
        assert (answer.status, told(answer)["error"]) == (400, "invalid_grant")


def test_faults_are_in_googles_shapes() -> None:
    token, ingest, upload = (Request("POST", path, {}, {}, b"") for path in ("/token", INGEST, UPLOAD))
    assert [google_ads.refuse(token, mode, NOW).status for mode in ("429", "500", "auth")] == [429, 500, 400]
    assert told(google_ads.refuse(token, "auth", NOW))["error"] == "invalid_grant"
    for request in (ingest, upload):
        statuses = [
            told(google_ads.refuse(request, mode, NOW))["error"]["status"]
            for mode in ("429", "500", "auth", "reject_event")
        ]
        assert statuses == ["RESOURCE_EXHAUSTED", "INTERNAL", "UNAUTHENTICATED", "INVALID_ARGUMENT"]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda j: (
        st.lists(j) | st.dictionaries(st.sampled_from(["events", "conversions", "userData", "consent", "orderId"]), j)
    ),
)


@given(anything)
def test_it_answers_any_json(value: object) -> None:
    fields = [changed(path, value) for path in ("/destinations", "/events", ":userData", ":consent", ":eventTimestamp")]
    for body in (value, *fields):
        assert post(INGEST, body).status in (200, 400)
    for path, name, row in ((UPLOAD, "conversions", CONVERSION), (ADJUST, "conversionAdjustments", {"orderId": value})):
        for rows in (value, [value], [row | {"conversionDateTime": value}]):
            assert post(path, {name: rows, "partialFailure": True}).status in (200, 400)
