"""A value that must never be shown: a key, a platform's token, a signing secret.

Formatting a Secret gives a random stand-in, never the value, so that a request built with f-strings holds none.
The sender swaps stand-ins for values on the way to the network; whatever logs the request swaps them for a mask.
"""

import secrets as _random

import msgspec

MASK = "[secret]"


class Secret:
    """One secret value. `reveal()` is for signing and for the sender; everything else sees the stand-in, which may be
    given where requests are built before the value is known."""

    __slots__ = ("_value", "stand_in")

    def __init__(self, value: str, stand_in: str | None = None) -> None:
        self._value = value
        self.stand_in = stand_in or f"pbsecret{_random.token_hex(12)}"

    def reveal(self) -> str:
        return self._value

    def __str__(self) -> str:
        return self.stand_in

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


def of(config: msgspec.Struct) -> list[Secret]:
    """The secrets among a config's fields, nested structs included."""
    found: list[Secret] = []
    for name in config.__struct_fields__:
        value = getattr(config, name)
        if isinstance(value, Secret):
            found.append(value)
        elif isinstance(value, msgspec.Struct):
            found += of(value)
    return found


def decode_hook(kind: type, value: object) -> object:
    """msgspec's `dec_hook` for structs with Secret fields."""
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise NotImplementedError(f"no way to decode {kind.__name__}")
