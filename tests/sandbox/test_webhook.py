import base64
import json

import pytest
from standardwebhooks import Webhook

from postback.sandbox import Request, webhook

# reference/destinations/webhook.md, test vectors, verbatim
SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
SENT_AT = 1795169730
BODY = b'{"type":"conversion.delivered","timestamp":"2026-11-20T10:15:30Z","data":{"conversion_id":"conv_01","event":"purchase","value":"129.90","currency":"EUR"}}'
HMAC = "v1,5PTH2SACC3wSRVnewWALjt750HMQJM75fVUK/x15vV4="
ED25519 = "v1a,tUKpTnLrwDPzHeWNzBIhoiZjm5vblm8URvNSP8jRrjAm3FfIzz45t65/NONuc7iBFJKCl5gle6DTuStO2peaAw=="
HEADERS = {
    "content-type": "application/json",
    "webhook-id": "msg_2pbk0000000000000000000001",
    "webhook-timestamp": str(SENT_AT),
    "webhook-signature": HMAC,
}


def answered(body: bytes = BODY, method: str = "POST", **headers: str | None) -> tuple[int, str]:
    changed = HEADERS | {name.replace("_", "-"): value for name, value in headers.items()}
    request = Request(method, "/any", {}, {n: v for n, v in changed.items() if v is not None}, body)
    answer = webhook.answer(request, SENT_AT + 2)
    return answer.status, json.loads(answer.body).get("error", "")


def test_the_test_vector_is_taken_as_it_stands() -> None:
    assert answered() == (200, "")


def test_what_the_reference_library_signs_is_taken() -> None:
    from datetime import UTC, datetime

    signature = Webhook(SECRET).sign(HEADERS["webhook-id"], datetime.fromtimestamp(SENT_AT, UTC), BODY.decode())
    assert signature == HMAC
    assert answered(webhook_signature=signature) == (200, "")


@pytest.mark.parametrize(
    "signature", [ED25519, f"{HMAC} {HMAC}", f"{ED25519} {HMAC}", f"v2,abc {HMAC}"], ids=["v1a", "two", "mixed", "new"]
)
def test_it_takes_signatures(signature: str) -> None:
    assert answered(webhook_signature=signature) == (200, "")


SHORT = "v1," + base64.b64encode(bytes(31)).decode()
REFUSED: list[tuple[str, dict[str, str | None], str]] = [
    ("no id", {"webhook_id": None}, "webhook-id"),
    ("an empty id", {"webhook_id": ""}, "webhook-id"),
    ("a dot in the id", {"webhook_id": "msg.1"}, "webhook-id"),
    ("no timestamp", {"webhook_timestamp": None}, "webhook-timestamp"),
    ("a timestamp with a fraction", {"webhook_timestamp": "1795169730.5"}, "integer"),
    ("a timestamp in milliseconds", {"webhook_timestamp": "1795169730000"}, "integer"),
    ("a timestamp in iso form", {"webhook_timestamp": "2026-11-20T10:15:30Z"}, "integer"),
    ("a stale timestamp", {"webhook_timestamp": str(SENT_AT - 301)}, "5 minutes"),
    ("a timestamp ahead", {"webhook_timestamp": str(SENT_AT + 303)}, "5 minutes"),
    ("no signature", {"webhook_signature": None}, "webhook-signature"),
    ("a signature without version", {"webhook_signature": HMAC[3:]}, "version,base64"),
    ("commas between", {"webhook_signature": f"{HMAC},{HMAC}"}, "base64"),
    ("two blanks between", {"webhook_signature": f"{HMAC}  {HMAC}"}, "single blanks"),
    ("unknown versions only", {"webhook_signature": "v0,abc"}, "no v1"),
    ("a hex signature", {"webhook_signature": "v1," + "ab" * 32}, "32 bytes"),
    ("the url-safe alphabet", {"webhook_signature": HMAC.replace("/", "_")}, "32 bytes"),
    ("no padding", {"webhook_signature": HMAC.rstrip("=")}, "32 bytes"),
    ("a short signature", {"webhook_signature": SHORT}, "32 bytes"),
    ("text", {"content_type": "text/plain"}, "content-type"),
    ("no content type", {"content_type": None}, "content-type"),
]


@pytest.mark.parametrize(("headers", "words"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_it_refuses(headers: dict[str, str | None], words: str) -> None:
    status, error = answered(**headers)
    assert status == 400
    assert words in error


def test_the_body_is_json() -> None:
    assert answered(b"type=lead")[0] == 400
    assert answered(b'"\xff"')[0] == 400


def test_webhooks_are_posted() -> None:
    assert answered(method="GET")[0] == 405
