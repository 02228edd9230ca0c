"""Which addresses may be connected to."""

import asyncio
import socket
import threading
from typing import Any

import pytest
from yarl import URL

from postback.delivery import addresses
from postback.delivery.addresses import Blocked, Resolver

# One address of every network of the block list, and its edges where they are easy to miss.
BLOCKED = """
0.0.0.0 0.255.255.255 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254 169.254.169.254
172.16.0.1 172.31.255.255 192.0.0.1 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9
224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
:: ::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:a9fe:a9fe 64:ff9b::a00:1 64:ff9b:1::1 100::1
2001:db8::1 3fff::1 2002:a00:1::1 5f00::1 fc00::1 fd12:3456::1 fe80::1 fe80::1%eth0 fec0::1 ff02::1
""".split()
ALLOWED = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 128.0.0.1 169.253.255.255 172.15.255.255 172.32.0.1
192.167.255.255 193.0.0.1 223.255.255.255 2606:4700::1 2a00:1450:4001::8a ::ffff:8.8.8.8
""".split()


@pytest.mark.parametrize("address", BLOCKED)
def test_an_address_that_is_not_of_the_public_internet_is_blocked(address: str) -> None:
    assert addresses.is_blocked(address)


@pytest.mark.parametrize("address", ALLOWED)
def test_a_public_address_is_not_blocked(address: str) -> None:
    assert not addresses.is_blocked(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/", "ftp://example.com/", "https://user@example.com/", "https://a:b@example.com/",
        "https://example.com:22/", "https://example.com:5432/", "https://127.0.0.1/", "https://[::1]/",
        "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/", "https://0x7f.1/", "https://2130706433/",
        "https://0177.0.0.1/", "https://127.1/", "https://0/", "https://169.254.169.254/latest/meta-data",
        "https://0xa9fea9fe/", "https://10.0.0.1:8443/", "https://１２７.0.0.1/", "https://127。0。0。1/",
    ],
)  # fmt: skip
def test_a_url_that_no_public_receiver_has_is_refused(url: str) -> None:
    with pytest.raises(Blocked) as error:
        addresses.check(URL(url))
    assert error.value.message


@pytest.mark.parametrize(
    "url", ["https://example.com/a?b=c", "https://example.com:8443/", "https://8.8.8.8/", "https://example.com:80/"]
)
def test_a_public_url_is_taken(url: str) -> None:
    addresses.check(URL(url))


async def test_a_name_is_refused_where_any_of_its_addresses_is_private() -> None:
    resolve = Resolver(allow_private=False)
    for host in ("localhost", "127.0.0.1", "0x7f.1", "2130706433", "::1", "10.1.2.3"):
        with pytest.raises(Blocked):
            await resolve(host, 443)


async def test_private_names_resolve_where_the_deployment_allows_them() -> None:
    resolve = Resolver(allow_private=True)
    assert "127.0.0.1" in await resolve("localhost", 443)
    assert await resolve("8.8.8.8", 443) == ["8.8.8.8"]
    assert await resolve("no-such-host.invalid", 443) == []


async def test_names_that_hang_hold_up_no_other_and_are_not_asked_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    free = threading.Event()

    def look_up(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        if host.startswith("dead"):
            free.wait(5)
            return []
        return [(0, 0, 0, "", ("8.8.8.8", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    resolve = Resolver(allow_private=False)
    hanging = [asyncio.create_task(resolve(f"dead{n % 8}.test", 443)) for n in range(40)]
    await asyncio.sleep(0.05)
    async with asyncio.timeout(1):
        assert await resolve("alive.test", 443) == ["8.8.8.8"]
    assert len(asked) == 9
    free.set()
    assert await asyncio.gather(*hanging) == [[]] * 40
    resolve.close()
