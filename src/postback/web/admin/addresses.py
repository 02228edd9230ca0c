"""Addresses in a config, refused at once where the sender would refuse them too.

Names are not resolved here: the sender does, and checks every address that it connects to.
"""

from msgspec import Struct
from yarl import URL

from postback.delivery import addresses
from postback.delivery.addresses import Blocked
from postback.errors import Invalid
from postback.settings import Settings

URL_FIELDS = ("url", "endpoint")
LOCAL_NAMES = (".localhost", ".local", ".internal", ".localdomain", ".home.arpa")


def refuse_private(config: Struct, settings: Settings) -> None:
    """Raises Invalid naming `config.<name>`: no web address, or a private one where those are not allowed."""
    for name in URL_FIELDS:
        if (text := getattr(config, name, None)) is None:
            continue
        field = f"config.{name}"
        try:
            url = URL(text)
            host, _ = url.raw_host, url.port
        except ValueError:
            raise _no_address(field) from None
        if not host or url.scheme not in ("http", "https"):
            raise _no_address(field)
        if settings.dangerous_allow_private_destinations:
            continue
        try:
            addresses.check(url)
        except Blocked as blocked:
            raise Invalid(f"{blocked.message} {addresses.FIX}", field=field) from None
        if f".{host.lower().rstrip('.')}".endswith(LOCAL_NAMES):
            raise Invalid(f"{host} is a name within your own network. {addresses.FIX}", field=field)


def _no_address(field: str) -> Invalid:
    return Invalid("This must be a web address, such as https://example.com/path.", field=field)
