"""The sandbox on a free port: each platform's stand-in, steered and watched over its own routes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from postback import sandbox

GOOGLE_ADS = {
    "customer_id": "1234567890",
    "login_customer_id": "9876543210",
    "conversion_actions": {"purchase": "555666777", "lead": "555666778"},
    "client_id": "123.apps.googleusercontent.com",
    "client_secret": "GOCSPX-s3cr3t",
    "refresh_token": "1//0refresh",
}


class StandIn:
    """One platform's. `endpoint` is what a destination's config names to reach it."""

    def __init__(self, name: str, url: str, http: aiohttp.ClientSession) -> None:
        self.name, self.endpoint, self._sandbox, self._http = name, f"{url}/{name}", f"{url}/_sandbox", http

    async def fault(self, mode: str, **more: Any) -> None:
        body = {"platform": self.name, "mode": mode, **more}
        async with self._http.put(f"{self._sandbox}/faults", json=body) as answer:
            assert answer.status == 200

    async def requests(self, path: str = "") -> list[dict[str, Any]]:
        """What arrived at paths that hold this text, oldest first."""
        async with self._http.get(f"{self._sandbox}/requests?platform={self.name}") as answer:
            return [request for request in (await answer.json())["requests"] if path in request["path"]]

    async def accepted(self) -> int:
        """How many events it took."""
        async with self._http.get(f"{self._sandbox}/stats") as answer:
            return (await answer.json())[self.name]["events_accepted"]


class StandIns:
    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url, self._http = url, http

    def __getitem__(self, name: str) -> StandIn:
        return StandIn(name, self._url, self._http)


@asynccontextmanager
async def standing_in() -> AsyncIterator[StandIns]:
    running = await sandbox.start("127.0.0.1", 0)
    async with aiohttp.ClientSession() as http:
        yield StandIns(running.url, http)
    await running.stop()
