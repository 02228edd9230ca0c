"""Google Ads: OAuth, the Data Manager API and the uploads of the Google Ads API, on one prefix.

    POST /token                                                 form; an access token for an hour
    POST /v1/events:ingest                                      up to 2,000 events, all taken or none
    POST /v23 to v26/customers/{id}:uploadClickConversions      up to 2,000 rows, each judged alone (partialFailure)
    POST /v23 to v26/customers/{id}:uploadConversionAdjustments the same

Auth: `Authorization: Bearer`. Any well-formed credential is right; a token of this stand-in's own ends after its hour.
What Google would find out only later (too old, consent denied) is in the answer's `problems`. What the page leaves open
is refused: an unknown field, a time more than a minute ahead. Shapes: `google_ads_events.py`, `google_ads_uploads.py`.
Source: reference/destinations/google_ads.md, Data Manager API v1, Google Ads API v26, read 2026-11-21.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl

import msgspec

from postback.sandbox import forms
from postback.sandbox import google_ads_events as ingest
from postback.sandbox import google_ads_uploads as uploads
from postback.sandbox.google_ads_events import Fault
from postback.sandbox.platform import Answer, Json, Platform, Refusal, Request, Unreadable, in_json, read

TOKEN_PATH, INGEST_PATH = "/token", "/v1/events:ingest"
UPLOAD_PATH = re.compile(r"/v(2[3-6])/customers/([0-9]{1,20}):(uploadClickConversions|uploadConversionAdjustments)")
TOKEN_SECONDS = 3599
AUDIENCE = "https://oauth2.googleapis.com/token"
SCOPES = frozenset({"https://www.googleapis.com/auth/datamanager", "https://www.googleapis.com/auth/adwords"})
JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
MAX_ROWS = 2000
OURS = re.compile(r"ya29\.sandbox-([0-9a-f]{1,16})")
DOMAIN = "datamanager.googleapis.com"
STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
}


def answer(request: Request, now: float) -> Answer:
    """Google's answer to a request."""
    if request.path == TOKEN_PATH and request.method == "POST":
        return _token(request, now)
    upload = UPLOAD_PATH.fullmatch(request.path)
    if request.method != "POST" or not (upload or request.path == INGEST_PATH):
        return _error(404, "Requested entity was not found.")
    if not _is_authorised(request, now):
        return _error(401, "Request had invalid authentication credentials.")
    if request.media_type != "application/json":
        return _error(400, "The body must be JSON.")
    if upload is None:
        return _ingest(request, now)
    version, customer, call = upload.groups()
    if not re.fullmatch(r"[0-9]{1,20}", request.headers.get("login-customer-id", "0")):
        return _error(400, "The header login-customer-id holds digits only.")
    return _upload(request, f"v{version}", customer, call, now)


def refuse(request: Request, refusal: Refusal, now: float) -> Answer:
    """Google's own words for a fault."""
    is_token, upload = request.path == TOKEN_PATH, UPLOAD_PATH.fullmatch(request.path)
    match refusal:
        case "429":
            return _oauth(429, "rate_limit_exceeded") if is_token else _error(429, "Quota exceeded.")
        case "500":
            return _oauth(500, "internal_failure") if is_token else _error(500, "Internal error encountered.")
        case "auth" if is_token:
            return _oauth(400, "invalid_grant", "Token has been expired or revoked.")
        case "auth":
            return _error(401, "Request had invalid authentication credentials.")
        case "reject_event" if is_token:  # it holds no event
            return answer(request, now)
        case "reject_event" if upload:
            fault = Fault("", "INVALID_ARGUMENT", "A row of this request was refused on demand.")
            return _error(400, "Request contains an invalid argument.", _failure(f"v{upload[1]}", [fault], ""))
        case "reject_event":
            return _violated([Fault("events", "INVALID_ARGUMENT", "An event was refused on demand.")])


# OAuth.


def _token(request: Request, now: float) -> Answer:
    if request.media_type != "application/x-www-form-urlencoded":
        return _oauth(400, "invalid_request", "The body must be a form.")
    try:
        form = dict(parse_qsl(request.raw.decode(), keep_blank_values=True, strict_parsing=True))
    except ValueError:
        return _oauth(400, "invalid_request", "The form cannot be read.")
    match form:
        case {"grant_type": "refresh_token", **rest}:
            for field in ("client_id", "client_secret", "refresh_token"):
                if not forms.is_token(rest.get(field)):
                    return _oauth(400, "invalid_request", f"Missing required parameter: {field}")
        case {"grant_type": grant, "assertion": assertion} if grant == JWT_GRANT:
            if wrong := _wrong_assertion(assertion, now):
                return _oauth(400, "invalid_grant", wrong)
        case _:
            return _oauth(400, "unsupported_grant_type", "Invalid grant_type.")
    granted = {"access_token": f"ya29.sandbox-{int(now * 1_000_000):x}", "expires_in": TOKEN_SECONDS}
    return in_json(200, {**granted, "scope": " ".join(sorted(SCOPES)), "token_type": "Bearer"})


def _wrong_assertion(assertion: str, now: float) -> str | None:
    """What is wrong with a JWT, but for its signature, whose key is not known here."""
    parts = assertion.split(".")
    if len(parts) != 3 or not parts[2]:
        return "Invalid JWT: it has not three parts."
    try:
        head, claims = (msgspec.json.decode(_part(part)) for part in parts[:2])
        signature = _part(parts[2])
    except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error, ValueError):
        return "Invalid JWT: it cannot be read."
    if not isinstance(head, dict) or not isinstance(claims, dict):
        return "Invalid JWT: its parts must be objects."
    if head.get("alg") != "RS256" or head.get("typ") != "JWT" or len(signature) < 128:
        return "Invalid JWT Signature."
    if "@" not in str(claims.get("iss", "")) or claims.get("aud") != AUDIENCE:
        return "Invalid JWT: iss or aud."
    issued_at, expires_at = claims.get("iat"), claims.get("exp")
    if not isinstance(issued_at, int) or not isinstance(expires_at, int):
        return "Invalid JWT: iat and exp are unix seconds."
    if not issued_at - 60 <= now < expires_at <= issued_at + 3600:
        return "Invalid JWT: Token must be a short-lived token."
    if not set(str(claims.get("scope", "")).split()) & SCOPES:
        return "Invalid OAuth scope."
    return None


def _part(text: str) -> bytes:
    return base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)


def _is_authorised(request: Request, now: float) -> bool:
    if request.bearer is None:
        return False
    ours = OURS.fullmatch(request.bearer)
    return ours is None or now < int(ours[1], 16) / 1_000_000 + TOKEN_SECONDS


def _oauth(status: int, error: str, description: str = "") -> Answer:
    return in_json(status, {"error": error} | ({"error_description": description} if description else {}))


# The Data Manager API.


def _ingest(request: Request, now: float) -> Answer:
    """Fast-fail: one invalid field refuses the whole request."""
    try:
        body = read(ingest.READ_INGEST.decode, request.raw)
    except Unreadable as error:
        return _violated([ingest.fault_of(error)])
    faults = ingest.ingest_faults(body)
    events = [ingest.read_event(raw, f"events[{index}]", faults, now) for index, raw in enumerate(body.events)]
    if len(body.events) > MAX_ROWS:
        faults.append(Fault("events", "TOO_MANY_EVENTS", f"At most {MAX_ROWS} events."))
    if faults:
        return _violated(faults)
    if body.validate_only:
        return in_json(200, {})
    lost = [problem for index, event in enumerate(events) if event and (problem := ingest.silent(index, event, now))]
    taken = {"requestId": f"req-{int(now * 1_000_000):x}"}
    return in_json(200, taken, events=len(events) - len(lost), problems=tuple(lost))


def _violated(faults: Sequence[Fault]) -> Answer:
    violations = [{"field": f.field, "description": f.description, "reason": f.reason} for f in faults]
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "INVALID_ARGUMENT", "domain": DOMAIN}
    bad = {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations}
    seen = {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "req-refused"}
    return _error(400, "There was a problem with the request.", {**info, "metadata": {}}, bad, seen)


# The Google Ads API.


def _upload(request: Request, version: str, customer: str, call: str, now: float) -> Answer:
    """Each row alone, if partialFailure says so; else one that is wrong refuses all."""
    kind = uploads.UPLOADS[call]
    try:
        body = read(kind.read, request.raw)
    except Unreadable as error:
        return _error(400, f"Invalid JSON payload received: {error}")
    if not 1 <= len(body.rows) <= MAX_ROWS:
        fault = Fault("", kind.too_many if body.rows else "REQUIRED", f"1 to {MAX_ROWS} rows.")
        return _error(400, "Request contains an invalid argument.", _failure(version, [fault], kind.error))
    faults: list[Fault] = []
    for index, row in enumerate(body.rows):
        found = kind.check(row, customer, body.rows[:index], now)
        faults += [Fault(str(index), reason, description) for reason, description in found]
    if faults and not body.partial_failure:
        return _error(400, "Request contains an invalid argument.", _failure(version, faults, kind.error, kind.field))
    failed = {int(fault.field) for fault in faults}
    echoed: list[Mapping[str, Json]] = [
        {} if index in failed or body.validate_only else uploads.echo(row) for index, row in enumerate(body.rows)
    ]
    told: dict[str, object] = {} if body.validate_only and not faults else {"results": echoed, "jobId": "2147483999"}
    if faults:
        details = [_failure(version, faults, kind.error, kind.field)]
        told["partialFailureError"] = {"code": 3, "message": "Multiple errors in 'details'.", "details": details}
    return in_json(200, told, events=0 if body.validate_only else len(body.rows) - len(failed))


def _failure(version: str, faults: Sequence[Fault], kind: str, field: str = "") -> dict[str, object]:
    errors: list[dict[str, object]] = []
    for fault in faults:
        error: dict[str, object] = {"errorCode": {kind or "requestError": fault.reason}, "message": fault.description}
        if field and fault.field:
            index = {"index": int(fault.field)} if fault.field != "0" else {}  # protobuf leaves a zero out
            error["location"] = {"fieldPathElements": [{"fieldName": field, **index}]}
        errors.append(error)
    return {"@type": f"type.googleapis.com/google.ads.googleads.{version}.errors.GoogleAdsFailure", "errors": errors}


def _error(status: int, message: str, *details: object) -> Answer:
    error: dict[str, object] = {"code": status, "message": message, "status": STATUSES[status]}
    return in_json(status, {"error": error | ({"details": details} if details else {})})


PLATFORM = Platform("google_ads", answer, refuse)
