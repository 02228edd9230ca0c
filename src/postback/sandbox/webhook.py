"""A receiver of Standard Webhooks 1.0.0: `POST` to any path, JSON, three signed headers.

It knows no secret, so it judges the form of the headers and the timestamp (unix seconds, at most 5 minutes off),
not the signature itself. Answers 200 `{"received": true}`, 400 where the form is wrong, 401 for the fault `auth`.
Source: reference/destinations/webhook.md, Standard Webhooks 1.0.0, read 2026-11-21.
"""

import base64
import binascii
import re

import msgspec

from postback.sandbox.platform import Answer, Platform, Refusal, Request, in_json

TOLERANCE_SECONDS = 300
SIGNATURE_BYTES = {"v1": 32, "v1a": 64}  # HMAC-SHA256, ed25519
MESSAGE_ID = re.compile(r"[!-~]+")
TIMESTAMP = re.compile(r"[0-9]{1,12}")


def answer(request: Request, now: float) -> Answer:
    """200, or 400 with what is wrong."""
    if request.method != "POST":
        return _error(405, "Webhooks are sent by POST.", {"allow": "POST"})
    if wrong := _wrong(request, now):
        return _error(400, wrong)
    return in_json(200, {"received": True}, events=1)


def refuse(_: Request, refusal: Refusal, __: float) -> Answer:
    """What a receiver behind a plain web framework would say."""
    match refusal:
        case "429":
            return _error(429, "Too many requests.")
        case "500":
            return _error(500, "Internal server error.")
        case "auth":
            return _error(401, "No signature matches.")
        case "reject_event":
            return _error(400, "This event was refused on demand.")


def _wrong(request: Request, now: float) -> str | None:
    """The first thing that is wrong, as a sentence; None if nothing is."""
    message_id = request.headers.get("webhook-id", "")
    timestamp = request.headers.get("webhook-timestamp", "")
    if not MESSAGE_ID.fullmatch(message_id) or "." in message_id:
        return "webhook-id is missing, or has a dot or a blank in it."
    if not TIMESTAMP.fullmatch(timestamp):
        return "webhook-timestamp is missing or no integer of unix seconds."
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        return "webhook-timestamp is more than 5 minutes off."
    if wrong := _wrong_signatures(request.headers.get("webhook-signature", "")):
        return wrong
    if request.media_type != "application/json":
        return "content-type is not application/json."
    try:
        msgspec.json.decode(request.raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "The body is not JSON in UTF-8."
    return None


def _wrong_signatures(header: str) -> str | None:
    known = 0
    for entry in header.split(" "):
        version, comma, signature = entry.partition(",")
        if not version or not comma or not signature:
            return "webhook-signature is not a list of version,base64 with single blanks between."
        if version not in SIGNATURE_BYTES:
            continue  # verifiers skip versions that they do not know
        if _decoded_length(signature) != SIGNATURE_BYTES[version]:
            return f"webhook-signature: {version} is not the base64 of {SIGNATURE_BYTES[version]} bytes."
        known += 1
    return None if known else "webhook-signature has no v1 and no v1a."


def _decoded_length(signature: str) -> int | None:
    try:
        return len(base64.b64decode(signature, validate=True))
    except (binascii.Error, ValueError):
        return None


def _error(status: int, text: str, headers: dict[str, str] | None = None) -> Answer:
    plain = in_json(status, {"error": text})
    return msgspec.structs.replace(plain, headers={**plain.headers, **(headers or {})})


PLATFORM = Platform("webhook", answer, refuse)
