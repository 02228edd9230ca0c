"""Live by server-sent events, on real sockets: what is told, to whom, and how it ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import uvicorn

from postback.db import Tx
from postback.web import live
from postback.web.server import application, configure
from tests.web.dashboard.conftest import Browser

STREAM = "/app/live/stream"


class Stream:
    """One that looks: the messages of its stream, as they come."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def message(self) -> tuple[str, str]:
        """The next event's name and data; empty at the end of the stream."""
        name, data = "message", ""
        async with asyncio.timeout(20):
            async for raw in self.answer.content:
                field, _, value = raw.decode().rstrip("\n").partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    data = value
                elif not field and data:
                    return name, data
        return "", ""

    async def told(self) -> dict[str, Any]:
        name, data = await self.message()
        assert name == "message", data
        return json.loads(data)


@asynccontextmanager
async def looking(browser: Browser, query: str = "") -> AsyncIterator[Stream]:
    async with browser.http.get(browser.url + STREAM + query, timeout=aiohttp.ClientTimeout(60)) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        assert "no-store" in answer.headers["Cache-Control"]
        yield Stream(answer)


async def post(served: Any, *ids: str, **fields: Any) -> None:
    events = [{"event": "purchase", "event_id": id_, "value": 1, "currency": "EUR", **fields} for id_ in ids]
    status, answer = await served.call("POST", "/v1/events", {"events": events})
    assert status == 202, answer


@asynccontextmanager
async def another_process(served: Any) -> AsyncIterator[Any]:
    """A second API on the same database: with its own pool, writer, and socket."""
    async with application(served.settings, served.dsn) as app:
        server = uvicorn.Server(configure(app, port=0))
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield server, task, f"http://127.0.0.1:{port}"
        server.should_exit = True
        await task


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "POLL_SECONDS", 0.1)


async def test_an_event_that_another_process_took_is_told_and_then_what_became_of_it(
    served: Any, owner: Any, tx: Tx
) -> None:
    config = {"config": {"url": "http://127.0.0.1:9/x"}}
    assert (await served.call("POST", "/v1/admin/integration-catalog/webhook/install", config))[0] == 201
    async with another_process(served) as (_, _, url), looking(owner) as stream:
        key = {"Authorization": f"Bearer {served.keys.api_key}"}
        body = {"event": "purchase", "event_id": '"><script>alert(1)</script>', "value": 12.5, "currency": "EUR"}
        async with owner.http.post(f"{url}/v1/events", json=body, headers=key) as answer:
            assert answer.status == 202
        told = await stream.told()
        assert "€12.50" in told["rows"]
        assert '1<span class="word"> queued' in told["rows"]
        assert "<script>" not in told["rows"]
        _, found = await served.call("GET", "/v1/admin/events")
        [event] = found["items"]
        assert event["outcomes"] == {"queued": 1}
        assert f"r-{event['id']}" in told["rows"]
        await tx.execute("UPDATE delivery SET status = 'delivered'")
        [(cell, shown)] = (await stream.told())["changed"].items()
        assert (cell, '1<span class="word"> delivered' in shown) == (f"o-{event['id']}", True)


async def test_twenty_rows_a_second_are_told_and_the_rest_is_counted(served: Any, owner: Any) -> None:
    async with looking(owner) as stream:
        await post(served, *(f"e{n}" for n in range(100)))
        told = await stream.told()
        rows, more = told["rows"].count("<tr "), told["more"]
        while rows + more < 100:
            told = await stream.told()
            rows, more = rows + told["rows"].count("<tr "), more + told["more"]
        assert (rows + more, rows <= 2 * live.SHOWN_MAX) == (100, True)


async def test_a_stream_is_narrowed_as_its_page_is_and_goes_on_where_it_broke(served: Any, owner: Any) -> None:
    async with looking(owner, "?name=lead") as leads, looking(owner, "?status=skipped") as skipped:
        await post(served, "bought")
        await post(served, "asked", event="lead")
        assert "asked" in (first := (await leads.told())["rows"])
        assert "bought" not in first
        await served.call("POST", "/v1/admin/integration-catalog/convert/install", {
            "config": {"account_id": "1", "project_id": "2", "api_key": "k"}, "name": "c"})  # fmt: skip
        await post(served, "late", consent={"analytics": False})
        assert "late" in (await skipped.told())["rows"]
    _, key = await served.call("POST", "/v1/admin/keys", {"label": "Till", "scopes": ["ingest"]})
    async with looking(owner, f"?key={key['id']}") as of_key:
        await post(served, "of another")
        assert (await served.call("POST", "/v1/events", {"event": "lead", "event_id": "own"}, key=key["key"]))[0] == 202
        assert "own" in (first := (await of_key.told())["rows"])
        assert "of another" not in first
    since = {"Last-Event-ID": "2020-01-01T00:00:00+00:00"}
    async with owner.http.get(owner.url + STREAM, headers=since) as answer:
        assert "bought" in (await Stream(answer).told())["rows"]
    assert (await owner.get(f"{STREAM}?status=x")).status == 422


async def test_signing_out_ends_the_stream_and_so_does_another_workspace(
    served: Any, invited: Any, stranger: Any
) -> None:
    await stranger.sign_in(served.keys.owner_email, served.keys.owner_password)
    async with looking(stranger) as stream:
        await stranger.submit("/app", "/app/sign-out")
        assert (await stream.message())[0] == "end"
        assert await stream.message() == ("", "")
    reader = await invited("read_only")
    _, members = await served.call("GET", "/v1/admin/members")
    [member] = [one["id"] for one in members["items"] if one["role"] == "read_only"]
    async with looking(reader) as stream:
        assert (await served.call("DELETE", f"/v1/admin/members/{member}"))[0] == 204
        assert (await stream.message())[0] == "end"
    assert (await stranger.get(STREAM)).status == 303


async def test_a_process_that_stops_ends_its_streams_at_once(served: Any, owner: Any) -> None:
    async with another_process(served) as (server, task, url):
        there = Browser(url)
        await there.sign_in(served.keys.owner_email, served.keys.owner_password)
        async with looking(there) as stream:
            server.should_exit = True
            assert await stream.message() == ("", "")
            await asyncio.wait_for(task, 5)
        await there.http.close()


async def test_one_who_looks_too_many_is_told_so(served: Any, owner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LOOKERS_MAX", 1)
    async with looking(owner) as first:
        async with looking(owner) as second:
            name, said = await second.message()
            assert (name, "close a page" in said) == ("end", True)
        await post(served, "still")
        assert "still" in (await first.told())["rows"]
    while True:  # who left makes room
        async with looking(owner) as again:
            await post(served, "again")
            if (await again.message())[0] == "message":
                break


async def test_another_workspaces_events_are_not_told(served: Any, invited: Any) -> None:
    _, other = await served.call("POST", "/v1/admin/workspaces", {"name": "neighbour"})
    theirs = await invited("owner", key=other["admin_key"])
    async with looking(theirs) as stream, looking(theirs, f"?site={served.keys.site}"):
        await post(served, "ours")
        async with theirs.http.post(f"{theirs.url}/v1/events", json={"event": "lead", "event_id": "theirs"},
                                    headers={"Authorization": f"Bearer {other['api_key']}"}) as answer:  # fmt: skip
            assert answer.status == 202
        told = await stream.told()
        assert ("theirs" in told["rows"], "ours" in told["rows"], told["more"]) == (True, False, 0)
