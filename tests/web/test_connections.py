"""Connections past the limit: answered, closed, and forgotten."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

ASK = b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 500000\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(served: Any, count: int) -> AsyncIterator[list[Streams]]:
    where = urlsplit(served.url)
    opened = [await asyncio.open_connection(where.hostname, where.port) for _ in range(count)]
    try:
        yield opened
    finally:
        for _, writer in opened:
            writer.close()


async def answers(streams: Streams) -> bytes:
    """The status line of an answer; empty where the connection was closed without one."""
    reader, writer = streams
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
    try:
        return await asyncio.wait_for(reader.readline(), 5)
    except ConnectionError:
        return b""


@pytest.mark.parametrize("served", [{"connections_max": 3}], indirect=True)
async def test_a_connection_past_the_limit_is_told_503_and_closed_and_the_others_go_on(served: Any) -> None:
    async with connected(served, 3) as within:
        for streams in within:
            assert await answers(streams) == b"HTTP/1.1 200 OK\r\n"
            await streams[0].readuntil(b"\r\n\r\n")
        async with connected(served, 1) as [(reader, writer)]:
            # While it still sends its body: the answer reaches it all the same.
            writer.write(ASK + b" " * 500_000)
            answer = (await asyncio.wait_for(reader.read(), 5)).lower()
        assert answer.startswith(b"http/1.1 503 service unavailable\r\n")
        assert b"\r\nretry-after: 1\r\n" in answer
        assert b"\r\nconnection: close\r\n" in answer
        assert b'"code":"unavailable"' in answer
        # Many at once, all silent: none is kept.
        async with connected(served, 300) as crowd:
            ends = await asyncio.gather(
                *(asyncio.wait_for(reader.read(), 5) for reader, _ in crowd), return_exceptions=True
            )
            assert all(end == b"" or isinstance(end, ConnectionError) for end in ends), ends
    while (status := (await served.call("GET", "/healthz"))[0]) != 200:
        assert status == 503
    status, text = await served.call("GET", "/metrics")
    assert status == 200
    assert 'status="503"' in text
