"""Receipts of erasures: JSON that says what was removed and names nobody, signed with Ed25519.

The signing key is derived from the installation's link key, which never changes: a receipt can be verified for as long
as the installation lives, and by anybody who was given the public key.
"""

from base64 import b64decode, b64encode
from hashlib import blake2b

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

_encode = msgspec.json.Encoder(order="deterministic").encode


class Receipt(Struct, frozen=True):
    """`text`: JSON, to the letter as it was signed. `signature` and `public_key`: Ed25519, base64."""

    text: str
    signature: str
    public_key: str


def sign(installation_key: bytes, content: object) -> tuple[str, bytes]:
    """The text to keep, and its signature."""
    text = _encode(content)
    return text.decode(), _key(installation_key).sign(text)


def shown(installation_key: bytes, text: str, signature: bytes) -> Receipt:
    public = _key(installation_key).public_key().public_bytes_raw()
    return Receipt(text, b64encode(signature).decode(), b64encode(public).decode())


def is_genuine(installation_key: bytes, receipt: Receipt) -> bool:
    """Whether this installation signed it, whatever public key it bears."""
    return verifies(receipt, _key(installation_key).public_key().public_bytes_raw())


def verifies(receipt: Receipt, public_key: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(b64decode(receipt.signature), receipt.text.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


def _key(installation_key: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(
        blake2b(digest_size=32, key=installation_key, person=b"erasure receipt").digest()
    )
