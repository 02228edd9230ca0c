"""Sealing: what must stay readable is kept encrypted, and what links people is kept as a keyed hash.

A sealed blob is `key id (4 bytes) | nonce (12) | AES-256-GCM ciphertext and tag`; the key id is the beginning of the
key's SHA-256. Keys rotate: the first seals, all open. Nonces are random: give a key at most 2^32 blobs (NIST SP
800-38D, 8.3), then put a new one in front. A link key is BLAKE2b-128 keyed with the installation's key, the workspace
as salt and the kind as personalisation. Randomness is the caller's.
"""

import binascii
import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from postback.errors import PostbackError

KEY_BYTES = 32
_ID_BYTES = 4
_NONCE_BYTES = 12


class SealError(PostbackError):
    """A seal key that is malformed, a blob sealed by a key that is not here, or one that was altered."""

    code = "seal_broken"


class Sealer:
    """Seals with the first key, opens with any. `random_bytes(n)` gives n unpredictable bytes, new ones each time."""

    __slots__ = ("_encrypt", "_id", "_openers", "random_bytes")

    @property
    def current(self) -> bytes:
        """The id of the key that seals: 4 bytes, with which its blobs begin."""
        return self._id

    @property
    def older(self) -> list[bytes]:
        """Ids of the keys that only open, newest first."""
        return [id_ for id_ in self._openers if id_ != self._id]

    def __init__(self, keys: Sequence[bytes], random_bytes: Callable[[int], bytes]) -> None:
        if not keys:
            raise SealError("There is no seal key: one is needed to keep readable data encrypted.")
        self._openers = {_key_id(key): AESGCM(key) for key in keys}
        self._id = _key_id(keys[0])
        self._encrypt = self._openers[self._id].encrypt
        self.random_bytes = random_bytes

    def seal(self, plain: bytes, aad: bytes | None = None) -> bytes:
        nonce = self.random_bytes(_NONCE_BYTES)
        return self._id + nonce + self._encrypt(nonce, plain, aad)

    def unseal(self, blob: bytes, aad: bytes | None = None) -> bytes:
        """What was sealed; SealError where the key is not here, or blob or `aad` is not what it was."""
        opener = self._openers.get(bytes(blob[:_ID_BYTES]))
        if opener is None:
            name = bytes(blob[:_ID_BYTES]).hex()
            raise SealError(f"The seal key {name} is not among the keys given: add it to POSTBACK_SEAL_KEYS.")
        body = _ID_BYTES + _NONCE_BYTES
        try:
            return opener.decrypt(bytes(blob[_ID_BYTES:body]), bytes(blob[body:]), aad)
        except (InvalidTag, ValueError) as broken:
            raise SealError("The sealed data was altered, or is not what it is taken for.") from broken

    def reseal(self, blob: bytes) -> bytes | None:
        """The same sealed by the newest key; None where it is, or where it does not open."""
        if self.is_current(blob) or bytes(blob[:_ID_BYTES]) not in self._openers:
            return None
        return self.seal(self.unseal(blob))

    def is_current(self, blob: bytes) -> bool:
        """Whether the newest key sealed it."""
        return bytes(blob[:_ID_BYTES]) == self._id


class Vault(Struct, frozen=True):
    """What opens sealed data, and the key that link keys are made under."""

    sealer: Sealer
    link_key: bytes


def _key_id(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise SealError(f"A seal key has {KEY_BYTES} bytes.")
    return hashlib.sha256(key).digest()[:_ID_BYTES]


def parse_keys(text: str) -> list[bytes]:
    """Keys from base64url text, comma separated, newest first."""
    keys: list[bytes] = []
    for place, part in enumerate(filter(None, (part.strip() for part in text.split(","))), 1):
        try:
            key = urlsafe_b64decode(part + "=" * (-len(part) % 4))
        except (binascii.Error, ValueError):
            key = b""
        # Decoding skips what is no base64: only a text that comes back the same was whole.
        if len(key) != KEY_BYTES or urlsafe_b64encode(key).rstrip(b"=") != part.rstrip("=").encode():
            raise SealError(f"Seal key {place} is not {KEY_BYTES} bytes in base64url.")
        keys.append(key)
    return keys


def new_key(random_bytes: bytes) -> str:
    """A key's text, as `parse_keys` reads it, from 32 random bytes."""
    if len(random_bytes) != KEY_BYTES:
        raise SealError(f"A seal key has {KEY_BYTES} bytes.")
    return urlsafe_b64encode(random_bytes).rstrip(b"=").decode()


def link_key(installation_key: bytes, workspace: bytes, kind: str, value: str) -> bytes:
    """The 16 bytes that stand for one identifier of one kind in one workspace (its UUID's 16 bytes)."""
    return hashlib.blake2b(
        value.encode(), digest_size=16, key=installation_key, salt=workspace, person=kind.encode()
    ).digest()
