"""Google's OAuth: an access token for a refresh token, or for a service account's signature. Good for an hour.

The refresh token is refused with 400 `invalid_grant` once it was revoked or has expired, the client with 401.
"""

import re
from base64 import urlsafe_b64encode
from datetime import datetime
from typing import Any

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import Struct

from postback.connectors import FORM, Granted, Refused, Request, Response, Retry, said
from postback.errors import Invalid
from postback.secret import Secret

HOST, PATH = "https://oauth2.googleapis.com", "/token"
SCOPES = "https://www.googleapis.com/auth/datamanager https://www.googleapis.com/auth/adwords"
JWT_SECONDS = 3600
LEAST_SECONDS = 300.0  # of a token that does not say how long it is good for

_TOKEN = re.compile(r"[!-~]+").fullmatch
_FIXES = {
    "invalid_grant": "The refresh token or the key was revoked, or has expired: connect the account again and give a "
    "new one.",
    "invalid_client": "Check client_id and client_secret, and that the client still exists in Google Cloud.",
}
_FIX = "Check the credential in this destination's configuration, or connect the account again."


class _KeyFile(Struct, frozen=True):
    """What we read of a service account's key file."""

    client_email: str
    private_key: str
    private_key_id: str = ""


def check_key_file(key_file: Secret) -> None:
    """Raises Invalid for a text that signs nothing."""
    _opened(key_file)


def by_refresh_token(host: str, client_id: str, client_secret: str, refresh_token: str) -> Request:
    """`client_secret` and `refresh_token` by their stand-ins."""
    form = {
        "grant_type": "refresh_token",
        "client_id": client_id,
        "client_secret": client_secret,
        "refresh_token": refresh_token,
    }
    return _request(host, form)


def by_key_file(host: str, key_file: Secret, now: datetime) -> Request:
    """The signature is for Google's own address, wherever the request goes."""
    read, key = _opened(key_file)
    issued_at = int(now.timestamp())
    head = {"alg": "RS256", "typ": "JWT", "kid": read.private_key_id}
    claims = {
        "iss": read.client_email,
        "scope": SCOPES,
        "aud": f"{HOST}{PATH}",
        "iat": issued_at,
        "exp": issued_at + JWT_SECONDS,
    }
    signed = f"{_part(msgspec.json.encode(head))}.{_part(msgspec.json.encode(claims))}"
    signature = key.sign(signed.encode(), PKCS1v15(), SHA256())
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": f"{signed}.{_part(signature)}"}
    return _request(host, form)


def interpret(response: Response) -> Granted | Retry | Refused:
    """429 and 5xx pass; every other refusal is the credential's."""
    match response.json:
        case {"access_token": str(token)} as answer if response.status == 200 and _TOKEN(token):
            return Granted(Secret(token), _seconds(answer.get("expires_in")))
        case body if response.status == 429 or response.status >= 500 or response.status < 400:
            reason = f"Google gave no access token: answered {response.status}"
            return Retry(reason, response.retry_after_seconds, throttled=response.status == 429)
        case body:
            error = body.get("error") if isinstance(body, dict) else None
            code = error if isinstance(error, str) else f"answered {response.status}"
            more = body.get("error_description") if isinstance(body, dict) else None
            return Refused(said("Google refuses the credential", code, more), _FIXES.get(code, _FIX))


def _request(host: str, form: dict[str, str]) -> Request:
    return Request(method="POST", url=f"{host}{PATH}", form=form, headers={"content-type": FORM})


def _seconds(value: Any) -> float:
    """A whole number of seconds, up to a day."""
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        return LEAST_SECONDS
    return float(min(value, 86_400))


def _opened(key_file: Secret) -> tuple[_KeyFile, RSAPrivateKey]:
    problem = Invalid("It is not the JSON key file of a service account.", field="config.service_account")
    try:
        read = msgspec.json.decode(key_file.reveal(), type=_KeyFile)
        key = load_pem_private_key(read.private_key.encode(), None, unsafe_skip_rsa_key_validation=True)
    except (msgspec.DecodeError, UnicodeError, ValueError, TypeError, UnsupportedAlgorithm):
        raise problem from None
    if not isinstance(key, RSAPrivateKey):
        raise problem
    return read, key


def _part(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
