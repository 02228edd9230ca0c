"""Proxies that are believed of whose request they hand on: those of the setting `trusted_proxies`."""

import ipaddress
from typing import Any

from postback.settings import networks


class Proxies:
    def __init__(self, trusted: str) -> None:
        """Raises ValueError where these are no networks."""
        self._networks = networks(trusted)

    def hold(self, address: str | None) -> bool:
        """Whether an address is a trusted proxy's."""
        if not self._networks or (ip := _ip(address)) is None:
            return False
        return any(ip in network for network in self._networks)

    def client(self, forwarded_for: str, peer: str | None) -> str:
        """Whose request it is that comes from `peer`: the last address in X-Forwarded-For that is no such proxy's."""
        if self.hold(peer):
            for text in reversed(forwarded_for.split(",")):
                if (found := text.strip()) and not self.hold(found):
                    return found if _ip(found) else peer or ""
        return peer or ""


def line_of(address: str) -> str:
    """By what somebody's calls are counted: the address, of IPv6 its /64, as one line of a provider's has all of it."""
    if ":" not in address or not isinstance(ip := _ip(address), ipaddress.IPv6Address):
        return address
    return str(ip.ipv4_mapped or ipaddress.IPv6Address(int(ip) >> 64 << 64))


def _ip(text: str | None) -> Any:
    try:
        return ipaddress.ip_address(text or "")
    except ValueError:
        return None
