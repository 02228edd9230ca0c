"""`postback serve` on an empty folder, the platforms' stand-ins beside it, and people of workspaces in it."""

import asyncio
import json
import os
import re
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
from playwright.async_api import Browser, BrowserContext

from postback import sandbox
from postback.web.admin.signed_in import COOKIE

PATIENCE_SECONDS = 30
PASSWORD = "correct horse battery"


class Hub:
    """`said`: what the first start printed. `stand_ins`: where the sandbox is."""

    def __init__(self, url: str, said: str, stand_ins: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self.said = said
        self.stand_ins = stand_ins
        self._http = http
        self.admin_key = self._printed(r"admin key +(\S+)")
        self.owner_email = self._printed(r"owner +(\S+)")
        self.owner_password = self._printed(r"owner +\S+ +(\S+)")

    def _printed(self, pattern: str) -> str:
        found = re.search(pattern, self.said)
        assert found, self.said
        return found[1]

    async def call(self, method: str, path: str, body: object = None, *, key: str | None = None) -> Any:
        """JSON of a call of the API, which must succeed."""
        headers = {"Authorization": f"Bearer {key or self.admin_key}"}
        async with self._http.request(method, self.url + path, json=body, headers=headers) as answer:
            text = await answer.text()
            assert answer.status < 300, (method, path, answer.status, text[:2000])
            return json.loads(text) if text else None

    async def fault(self, platform: str, mode: str, **more: object) -> None:
        body = {"platform": platform, "mode": mode, **more}
        async with self._http.put(f"{self.stand_ins}/_sandbox/faults", json=body) as answer:
            assert answer.status == 200

    async def workspace(self, name: str) -> "Workspace":
        """A new one, without anything in it."""
        made = await self.call("POST", "/v1/admin/workspaces", {"name": name})
        space = Workspace(self, made)
        space.cookie = await space.join(f"{name}@example.com", "owner")
        return space


class Workspace:
    """What is called here is called by its admin key. `cookie`: its owner's session."""

    def __init__(self, hub: Hub, made: dict[str, str]) -> None:
        self.hub = hub
        self.id = made["id"]
        self.name = made["name"]
        self.site = made["site"]
        self.site_key = made["site_key"]
        self.api_key = made["api_key"]
        self.admin_key = made["admin_key"]
        self.cookie = ""

    async def call(self, method: str, path: str, body: object = None) -> Any:
        return await self.hub.call(method, f"/v1/admin/{path}", body, key=self.admin_key)

    async def send(self, events: Sequence[dict[str, Any]]) -> None:
        for first in range(0, len(events), 1000):
            body = {"events": events[first : first + 1000]}
            answer = await self.hub.call("POST", "/v1/events", body, key=self.api_key)
            refused = [one for one in answer["results"] if one["status"] == "invalid"]
            assert not refused, refused[:3]

    async def install(self, connector: str, name: str, **config: object) -> str:
        """A destination that sends to its stand-in; its id."""
        where = f"{self.hub.stand_ins}/{connector}"
        config = {"url": where} | config if connector == "webhook" else {"endpoint": where} | config
        body = {"name": name, "variant": "default", "config": config, "delivery_mode": "server_side"}
        made = await self.call("POST", f"integration-catalog/{connector}/install", body)
        return made["id"]

    async def join(self, email: str, role: str) -> str:
        """The session's cookie of somebody of a role."""
        made = await self.call("POST", "members", {"email": email, "role": role})
        form = {"password": PASSWORD}
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http,
            http.post(self.hub.url + made["link"], data=form, allow_redirects=False) as answer,
        ):
            assert answer.status == 303, await answer.text()
            return answer.cookies[COOKIE].value

    async def person(self, browser: Browser, **options: Any) -> BrowserContext:
        """A browser in which the owner is signed in."""
        context = await browser.new_context(base_url=self.hub.url, **options)
        context.set_default_timeout(8_000)
        await context.add_cookies([{"name": COOKIE, "value": self.cookie, "url": self.hub.url, "httpOnly": True}])
        return context


async def until(holds: Callable[[], Awaitable[Any]], seconds: float = PATIENCE_SECONDS) -> Any:
    """What it gives as soon as that is true."""
    deadline = time.monotonic() + seconds
    while not (found := await holds()):
        assert time.monotonic() < deadline, "did not come about"
        await asyncio.sleep(0.1)
    return found


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Hub]:
    """What users start, as they start it; it ends in order."""
    stand_ins = await sandbox.start()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("POSTBACK_")}
    ours = {
        "POSTBACK_DANGEROUS_ALLOW_PRIVATE_DESTINATIONS": "1",
        "POSTBACK_SHARED_BUFFERS_MB": "64",
        "POSTBACK_COLLECT_ADDRESS_PER_MINUTE": "0",
        "POSTBACK_COLLECT_SITE_PER_MINUTE": "0",
    }
    said = folder / "said"
    with said.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "postback", "serve", "--port", str(port), "--data-dir", str(folder / "data"),
            stdout=out, stderr=out, env=kept | ours,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        async with aiohttp.ClientSession() as http:

            async def ready() -> bool:
                assert process.returncode is None, said.read_text()
                with suppress(aiohttp.ClientError):
                    async with http.get(f"{url}/readyz") as answer:
                        return answer.status == 200
                return False

            await until(ready, 90)
            yield Hub(url, said.read_text(), stand_ins.url, http)
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 60) == 0
        await stand_ins.stop()
