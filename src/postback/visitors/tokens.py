"""pb_vid: what carries a visitor to another domain, or into a new tab, in the address of a link. Pure.

base64url of `version (1 byte) | expiry (unix seconds, 4) | nonce (8) | length of the visitor id (1) | visitor id |
session id | BLAKE2b MAC (16)`. The MAC's key is made of the installation's link key, and it covers the workspace, whose
id is not in the token: in another workspace it is no token. Whoever holds one within five minutes may be linked to the
visitor, the first of them alone (`links.claim`).
"""

import binascii
import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode

from msgspec import Struct

LIFE_SECONDS = 300
NONCE_BYTES = 8
MAX_CHARS = 600
_VERSION = 1
_MAC_BYTES = 16
_FIXED = 1 + 4 + NONCE_BYTES + 1


class Token(Struct, frozen=True):
    visitor_id: str
    session_id: str
    nonce: bytes


def make(link_key: bytes, workspace: bytes, visitor_id: str, session_id: str, now: float, nonce: bytes) -> str:
    """`workspace`: its 16 bytes; `now`: unix seconds; ids are ASCII of at most 128 characters."""
    visitor = visitor_id.encode("ascii")
    expiry = int(now) + LIFE_SECONDS
    body = (
        bytes((_VERSION,)) + expiry.to_bytes(4) + nonce + bytes((len(visitor),)) + visitor + session_id.encode("ascii")
    )
    return urlsafe_b64encode(body + _mac(link_key, workspace, body)).rstrip(b"=").decode()


def read(link_key: bytes, workspace: bytes, text: str, now: float) -> Token | None:
    """None for one that was edited, has expired, or is another workspace's or installation's."""
    if len(text) > MAX_CHARS:
        return None
    try:
        sent = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None
    body, mac = sent[:-_MAC_BYTES], sent[-_MAC_BYTES:]
    if len(body) < _FIXED or not hmac.compare_digest(mac, _mac(link_key, workspace, body)):
        return None
    if body[0] != _VERSION or int.from_bytes(body[1:5]) < now:
        return None
    end = _FIXED + body[_FIXED - 1]
    return Token(body[_FIXED:end].decode("ascii"), body[end:].decode("ascii"), body[5 : 5 + NONCE_BYTES])


def _mac(link_key: bytes, workspace: bytes, body: bytes) -> bytes:
    key = hashlib.blake2b(b"pb_vid", digest_size=32, key=link_key).digest()
    return hashlib.blake2b(workspace + body, digest_size=_MAC_BYTES, key=key).digest()
