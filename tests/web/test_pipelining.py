"""Requests of one connection are answered in their order, whichever way each of them goes."""

import asyncio
import json
from itertools import product
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from postback.web import protocol

GOOD, INVALID, UNKNOWN_KEY, QUESTION, LONG = "good", "invalid", "unknown key", "question", "long"
STATUS = {GOOD: 202, INVALID: 422, UNKNOWN_KEY: 401, QUESTION: 200, LONG: 202}
THREES = [kinds for kinds in product(STATUS, repeat=3) if kinds[0] != kinds[1] or kinds[1] == GOOD]


def request(kind: str, key: str, id_: str) -> bytes:
    if kind == QUESTION:
        return b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    event: dict[str, Any] = {"event": "lead", "event_id": id_}
    if kind == INVALID:
        event["occurred_at"] = "never"
    if kind == LONG:
        event["properties"] = {"pad": "x" * 300_000}  # more than one read takes
    body = json.dumps(event).encode()
    key = "pb_live_" + "0" * 40 if kind == UNKNOWN_KEY else key
    head = f"POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, Any]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
    return int(head.split()[1]), json.loads(await reader.readexactly(length))


@pytest.mark.parametrize("pause", [False, True])
async def test_answers_come_in_the_order_of_the_requests(served: Any, pause: bool) -> None:
    await served.call("POST", "/v1/events", {"event": "lead"})  # so that its key is known, and the next goes directly
    async with asyncio.TaskGroup() as group:
        for kinds in THREES:
            group.create_task(three(served, kinds, pause=pause))


async def three(served: Any, kinds: tuple[str, ...], *, pause: bool) -> None:
    where = urlsplit(served.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    sent = [request(kind, served.keys.api_key, f"{pause}-{kinds}-{place}") for place, kind in enumerate(kinds)]
    for some in sent if pause else [b"".join(sent)]:
        writer.write(some)
        await asyncio.sleep(0)
    async with asyncio.timeout(20):
        for place, kind in enumerate(kinds):
            status, said = await answer(reader)
            assert status == STATUS[kind], (kinds, place)
            if kind in (GOOD, LONG):
                assert said["event_id"] == f"{pause}-{kinds}-{place}"
    writer.close()


async def test_a_request_whose_sender_hangs_up_at_once_harms_nobody(served: Any) -> None:
    where = urlsplit(served.url)
    await served.call("POST", "/v1/events", {"event": "lead"})
    for n in range(20):
        for kind in (GOOD, INVALID, UNKNOWN_KEY):
            _, writer = await asyncio.open_connection(where.hostname, where.port)
            writer.write(request(kind, served.keys.api_key, f"gone-{n}"))
            writer.transport.abort() if n % 2 else writer.close()
    status, said = await served.call("POST", "/v1/events", {"event": "lead", "event_id": "after"})
    assert (status, said["event_id"]) == (202, "after")


@pytest.mark.parametrize("kind", [GOOD, INVALID, UNKNOWN_KEY])
async def test_what_is_no_http_ends_the_connection_and_what_came_whole_before_it_is_kept(
    served: Any, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    where = urlsplit(served.url)
    await served.call("POST", "/v1/events", {"event": "lead"})
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(request(kind, served.keys.api_key, "before") + b"\0no http\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 400")
    writer.close()
    if kind == GOOD:
        while (await served.call("GET", "/v1/events/before"))[0] != 200:
            await asyncio.sleep(0.01)
    assert (await served.call("POST", "/v1/events", {"event": "lead"}))[0] == 202
    assert "failed" not in capfd.readouterr().err


@pytest.mark.parametrize("kind", [GOOD, INVALID, UNKNOWN_KEY])
async def test_a_server_that_stops_answers_what_came_whole_and_closes(
    served: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = urlsplit(served.url)
    await served.call("POST", "/v1/events", {"event": "lead"})
    take_all = protocol._take_all

    def stopped_first(app: Any) -> None:
        for one in app.arrived:
            one.shutdown()
        take_all(app)

    monkeypatch.setattr(protocol, "_take_all", stopped_first)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(request(kind, served.keys.api_key, "last"))
    said = (await asyncio.wait_for(reader.read(), 2)).lower()
    assert said.startswith(f"http/1.1 {STATUS[kind]} ".encode())
    assert b"connection: close" in said
    writer.close()


def test_one_that_cannot_be_taken_is_closed_and_harms_no_other() -> None:
    told: list[str] = []

    class Held:
        def __init__(self, name: str, fails: bool) -> None:
            self.name, self.fails, self.transport = name, fails, self

        def close(self) -> None:
            told.append(f"{self.name} closed")

        def take_arrived(self) -> None:
            if self.fails:
                raise RuntimeError
            told.append(f"{self.name} taken")

    holder: Any = SimpleNamespace(arrived=[Held("first", True), Held("second", False)])
    protocol._take_all(holder)
    assert told == ["first closed", "second taken"]
