"""What stands in for the hub where a test states what the tag sends: it serves pages under any host name, and takes
batches on `/collect` as the hub does, answering as it is told.
"""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

TAG = Path(__file__).parents[2] / "src/postback/web/static/tag.js"
SITE = "site_1"
PATIENCE_SECONDS = 8


class Recorder:
    """`pages`: path to HTML; `answer`: status and body of the next batches, by what was sent. `port` of any host name.
    `cookie`: set it as the hub does; what `held` holds back is the answers that would.
    """

    def __init__(self) -> None:
        self.batches: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}
        self.pages: dict[str, str] = {}
        self.answer: Callable[[dict[str, Any]], tuple[int, dict[str, Any]]] = lambda body: (200, {})
        self.cookie = False
        self.held = asyncio.Event()
        self.held.set()
        self.port = 0
        self._runner: web.AppRunner | None = None
        self._changed = asyncio.Condition()

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, max_line_size=32_768, max_field_size=32_768)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def url(self, path: str = "/", host: str = "shop.localhost") -> str:
        return f"http://{host}:{self.port}{path}"

    def script(self, attributes: str = "", host: str = "shop.localhost") -> str:
        return f'<script src="http://{host}:{self.port}/tag.js" data-site="{SITE}" {attributes}></script>'

    def page(self, path: str, body: str = "", attributes: str = "") -> None:
        """A page with the tag in its head."""
        self.pages[path] = (
            f"<!doctype html><html><head><title>{path}</title>{self.script(attributes)}</head><body>{body}"
        )

    async def _serve(self, request: web.Request) -> web.Response:
        if request.path.endswith("/collect"):
            return await self._collect(request)
        if request.path.endswith("/tag.js"):
            return web.Response(text=TAG.read_text(), content_type="text/javascript")
        if (found := self.pages.get(request.path)) is None:
            return web.Response(status=404, text="")
        return web.Response(text=found, content_type="text/html", headers=self.headers)

    async def _collect(self, request: web.Request) -> web.Response:
        headers = {
            "Access-Control-Allow-Origin": request.headers.get("Origin", "*"),
            "Access-Control-Allow-Credentials": "true",
        }
        text = await request.text()
        body = json.loads(text) | {"_size": len(text.encode()), "_path": request.path, "_type": request.content_type}
        status, answer = self.answer(body)
        body["_status"] = status
        async with self._changed:
            self.batches.append(body)
            self._changed.notify_all()
        response = web.json_response({"visitor_id": body["visitor_id"]} | answer, status=status, headers=headers)
        if self.cookie and body["consent"].get("analytics") is not False:
            await self.held.wait()
            response.set_cookie("_pb_vid", body["visitor_id"], max_age=34_560_000, samesite="Lax")
        return response

    @property
    def events(self) -> list[dict[str, Any]]:
        """All that came, repeats too, in order of arrival."""
        return [event for batch in self.batches for event in batch["events"]]

    def named(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name]

    async def until(self, holds: Callable[[], Any]) -> Any:
        """Wait for what batches bring; gives what the condition gave."""

        async def wait() -> Any:
            async with self._changed:
                await self._changed.wait_for(holds)
                return holds()

        try:
            return await asyncio.wait_for(wait(), PATIENCE_SECONDS)
        except TimeoutError:
            raise AssertionError(f"did not come; there is {[e['event'] for e in self.events]}") from None

    async def first(self, name: str) -> dict[str, Any]:
        """The first event of this name, waited for."""
        return (await self.until(lambda: self.named(name)))[0]


def path_of(event: dict[str, Any]) -> str:
    parts = urlsplit(event["url"])
    return parts.path + (f"?{parts.query}" if parts.query else "") + (f"#{parts.fragment}" if parts.fragment else "")
