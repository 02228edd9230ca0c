"""A platform that takes everything, faster than anyone can send: `python -m bench.sink PORT`.

POST /meta/...     200 {"events_received": n}, n being the events in the body
POST /hole/...     no answer, ever
POST anything      200 {}
GET /_sink/stats   what came, by first part of the path: see `Tally`
POST /_sink/reset  forget it
"""

import asyncio
import base64
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any, cast

import httptools
import uvloop


@dataclass
class Tally:
    """What came to one place. `first_at` in seconds since 1970; `connections`: the most at once."""

    requests: int = 0
    events: int = 0
    body_bytes: int = 0
    first_at: float = 0.0
    connections: int = 0


@dataclass
class Largest:
    """The largest request that came to one place."""

    path: str = ""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    events: int = 0

    def shown(self) -> dict[str, Any]:
        headers = {name.decode().lower(): value.decode() for name, value in self.headers}
        return vars(self) | {"headers": headers, "body": base64.b64encode(self.body).decode()}


tallies: dict[str, Tally] = {}
largest: dict[str, Largest] = {}
open_connections: dict[str, set["Connection"]] = {}


class Connection(asyncio.Protocol):
    """One client. Requests are answered in order; what the path says is known before the body."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.parser = httptools.HttpRequestParser(self)
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.chunks: list[bytes] = []

    def connection_lost(self, exc: Exception | None) -> None:
        for connections in open_connections.values():
            connections.discard(self)

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers.clear()
        self.chunks.clear()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, chunk: bytes) -> None:
        self.chunks.append(chunk)

    def on_message_complete(self) -> None:
        place = self.url.split(b"/", 2)[1].split(b"?")[0].decode()
        if place == "_sink":
            self.answer(own_answer(self.url))
            return
        body = b"".join(self.chunks)
        events = body.count(b'"event_name"') if place == "meta" else 1
        tally = tallies.get(place)
        if tally is None:
            tally = tallies[place] = Tally(first_at=time.time())
        if place not in largest or len(body) > len(largest[place].body):
            largest[place] = Largest(self.url.decode(), self.headers.copy(), body, events)
        tally.requests += 1
        tally.events += events
        tally.body_bytes += len(body)
        connections = open_connections.setdefault(place, set())
        connections.add(self)
        tally.connections = max(tally.connections, len(connections))
        if place == "meta":
            self.answer(b'{"events_received":%d,"messages":[],"fbtrace_id":"bench"}' % events)
        elif place != "hole":
            self.answer(b"{}")

    def answer(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        self.transport.write(head + body)


def own_answer(url: bytes) -> bytes:
    if url == b"/_sink/reset":
        tallies.clear()
        largest.clear()
        return b"{}"
    if url.startswith(b"/_sink/largest/"):
        return json.dumps(largest[url.rpartition(b"/")[2].decode()].shown()).encode()
    return json.dumps({place: vars(tally) for place, tally in tallies.items()}).encode()


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
