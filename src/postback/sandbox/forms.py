"""Forms of values that several platforms ask for: hashes, addresses, currencies."""

import functools
import ipaddress
import re

from iso4217 import Currency

SHA256 = r"\A[a-f0-9]{64}\Z"  # \Z, not $: Python's $ also takes a line feed at the end
WEB_ADDRESS = r"\Ahttps?://[^\s/?#]+[^\s]*\Z"

_token = re.compile(r"[!-~]+").fullmatch
_sha256 = re.compile(SHA256).match
_currencies = frozenset(currency.code for currency in Currency)


def is_sha256(value: object) -> bool:
    """64 lower-case hex digits."""
    return isinstance(value, str) and _sha256(value) is not None


def is_token(value: object) -> bool:
    """A credential of its form: printable ASCII without spaces. Any such is right."""
    return isinstance(value, str) and _token(value) is not None


def is_currency(value: object) -> bool:
    """An ISO 4217 code in upper case."""
    return isinstance(value, str) and value in _currencies


@functools.lru_cache(maxsize=4096)
def is_ip(value: str) -> bool:
    """An IPv4 or IPv6 address, without port, mask or zone."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return "%" not in value
