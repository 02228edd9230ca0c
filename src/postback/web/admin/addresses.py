"""Addresses in a config: refused where they plainly lead into a private network.

This spares people a destination that could never work. The protection itself is the sender's, which looks at every
address that it connects to, after resolving.
"""

from ipaddress import ip_address
from urllib.parse import urlsplit

from msgspec import Struct

from postback.errors import Invalid
from postback.settings import Settings

URL_FIELDS = ("url", "endpoint")
LOCAL_NAMES = (".localhost", ".local", ".internal", ".localdomain", ".home.arpa")


def refuse_private(config: Struct, settings: Settings) -> None:
    """Raises Invalid naming `config.<name>` for what is no web address, or a private one where those are not allowed."""
    for name in URL_FIELDS:
        if (url := getattr(config, name, None)) is None:
            continue
        host = _host(url, f"config.{name}")
        if not settings.dangerous_allow_private_destinations and _is_private(host):
            raise Invalid(
                f"{host} is a private address; destinations must be public, unless this deployment sets "
                "POSTBACK_DANGEROUS_ALLOW_PRIVATE_DESTINATIONS=1.",
                field=f"config.{name}",
            )


def _host(url: str, field: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = parts = None
    if not host or parts is None or parts.scheme not in ("http", "https"):
        raise Invalid("This must be a web address, such as https://example.com/path.", field=field)
    if parts.username is not None or parts.password is not None:
        raise Invalid("A web address here may hold no user name and password.", field=field)
    return host


def _is_private(host: str) -> bool:
    name = host.rstrip(".").lower()
    try:
        address = ip_address(name.partition("%")[0])
    except ValueError:
        # 127.1, 0x7f000001 and 2130706433 are addresses to a resolver; no public name ends in a number.
        last = name.rpartition(".")[2]
        return last.isdigit() or last.startswith("0x") or f".{name}".endswith(LOCAL_NAMES)
    mapped = getattr(address, "ipv4_mapped", None)
    return not (mapped or address).is_global
