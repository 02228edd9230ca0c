"""Which addresses may be connected to: public ones only, unless the deployment says otherwise.

The list is the one of Standard Webhooks' reference server (Svix), and fec0::/10. `ipaddress.is_global` alone passes
multicast, NAT64, 6to4 and others (seen on Python 3.11.7), so both are asked. A name is resolved here, every answer is
checked, and the connection goes to the address that was checked: a name that changes in between is of no use to anyone.
"""

import asyncio
import ipaddress
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from yarl import URL

from postback.errors import PostbackError

KNOWN_SECONDS, KNOWN_MAX = 10.0, 1000
THREADS = 32
PORTS = frozenset({443, 80, 8443})
FIX = (
    "Give this destination a public https address on port 443, 80 or 8443; to reach your own network, set "
    "POSTBACK_DANGEROUS_ALLOW_PRIVATE_DESTINATIONS=1 at each start, and for each command that says this: it reads its "
    "own environment."
)
_BLOCKED = [
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
        "192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 "
        "::/128 ::1/128 64:ff9b::/96 64:ff9b:1::/48 100::/64 2001:db8::/32 3fff::/20 2002::/16 5f00::/16 fc00::/7 "
        "fe80::/10 fec0::/10 ff00::/8"
    ).split()
]


class Blocked(PostbackError):
    """The destination's address is one that may not be connected to."""

    code = "address_blocked"


def is_blocked(address: str) -> bool:
    """Whether an IP address, as text, is none of the public internet's."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return not ip.is_global or any(ip in network for network in _BLOCKED if network.version == ip.version)


def check(url: URL) -> None:
    """Raises Blocked for a URL that no public receiver has: other schemes and ports, a user, a literal address within.

    Takes the URL as the HTTP client has read it: two readers of one text may differ. Odd forms of addresses (`0x7f.1`,
    `2130706433`) are read as the system reads them.
    """
    host = url.raw_host
    if url.scheme != "https" or not host:
        raise Blocked(f"Only https is sent to, not {url.scheme or 'an address without a scheme'}.")
    if url.raw_user is not None or url.raw_password is not None:
        raise Blocked("The address of this destination holds a user or a password.")
    if url.port not in PORTS:
        raise Blocked(f"Port {url.port} is not sent to.")
    if (literal := _literal(host)) is not None and is_blocked(literal):
        raise Blocked(f"{literal} is not an address of the public internet.")


def _literal(host: str) -> str | None:
    """The address that a host written as one means, in any form that the system's resolver takes; None for a name."""
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except (OSError, UnicodeEncodeError):
        return None


def _look_up(host: str, port: int) -> list[tuple[Any, ...]]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class Resolver:
    """Resolves names; what was found and checked is kept for a few seconds, and asked for once at a time.

    In threads of its own: uvloop's are four, and a dead name server holds one for many seconds.
    """

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._known: dict[tuple[str, int], tuple[float, asyncio.Future[list[str]]]] = {}
        self._threads = ThreadPoolExecutor(THREADS, "resolver")

    def close(self) -> None:
        """Ask for nothing more; what hangs is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, host: str, port: int) -> list[str]:
        """A host's addresses. Raises Blocked where any of them is, unless private ones are allowed; none: not found."""
        now = time.monotonic()
        until, found = self._known.get((host, port), (0.0, None))
        # One that hangs is not asked for again.
        if found is None or (found.done() and (until < now or found.cancelled() or found.exception() is not None)):
            found = asyncio.ensure_future(self._resolve(host, port))
            if len(self._known) >= KNOWN_MAX:
                self._known = {key: known for key, known in self._known.items() if not known[1].done()}
            self._known[host, port] = (now + KNOWN_SECONDS, found)
        return await asyncio.shield(found)

    async def _resolve(self, host: str, port: int) -> list[str]:
        try:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._threads, _look_up, host, port)
        except (OSError, UnicodeError):
            return []
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        for address in addresses:
            if not self._allow_private and is_blocked(address):
                raise Blocked(f"The host resolves to {address}, which is not an address of the public internet.")
        return addresses
