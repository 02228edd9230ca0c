"""A sandbox on a free port, its clock at the time of the pages' examples, and one event right for each platform."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from postback import sandbox

NOW = 1_795_200_010.0
RIGHT = {
    "meta": (
        "/meta/v26.0/1234/events?access_token=EAAB",
        {
            "data": [
                {
                    "event_name": "Lead",
                    "event_time": int(NOW) - 5,
                    "event_id": "ev-1",
                    "action_source": "other",
                    "user_data": {"em": ["a" * 64]},
                }
            ]
        },
        {},
    ),
    "tiktok": (
        "/tiktok/open_api/v1.3/event/track/",
        {
            "event_source": "web",
            "event_source_id": "C3QABC",
            "data": [
                {
                    "event": "Lead",
                    "event_time": int(NOW) - 5,
                    "event_id": "ev-1",
                    "user": {"email": "a" * 64},
                    "page": {"url": "https://shop.example.com/"},
                }
            ],
        },
        {"access-token": "tt-example"},
    ),
    "convert": (
        "/convert/v1/projects/20005678/goals",
        {"goal_id": "Order Completed", "visitor_id": "ev-1"},
        {"authorization": "Bearer key"},
    ),
    "ga4": (
        "/ga4/mp/collect?measurement_id=G-ABC1234567&api_secret=s3cr3t",
        {"client_id": "1.2", "events": [{"name": "sign_up", "params": {"session_id": "1", "method": "ev-1"}}]},
        {},
    ),
    "google_ads": (
        "/google_ads/v1/events:ingest",
        {
            "destinations": [
                {
                    "operatingAccount": {"accountType": "GOOGLE_ADS", "accountId": "1234567890"},
                    "productDestinationId": "555666777",
                }
            ],
            "events": [
                {
                    "transactionId": "ev-1",
                    "eventTimestamp": "2026-11-20T14:00:00Z",
                    "adIdentifiers": {"gclid": "Cj0KCQexample"},
                }
            ],
        },
        {"authorization": "Bearer ya29.example"},
    ),
    "webhook": (
        "/webhook/any/path",
        {"type": "conversion.delivered", "data": {"event_id": "ev-1"}},
        {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(NOW)),
            "webhook-signature": "v1,5PTH2SACC3wSRVnewWALjt750HMQJM75fVUK/x15vV4=",
        },
    ),
}


class Caller:
    """Calls a running sandbox."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url, self.session = url, session

    async def call(self, method: str, path: str, **with_: Any) -> tuple[int, Any, Any]:
        """Status, headers, and the body as JSON where it is, else as bytes."""
        async with self.session.request(method, self.url + path, **with_) as response:
            raw = await response.read()
            return response.status, response.headers, json.loads(raw) if "json" in response.content_type else raw

    async def send(self, platform: str, **with_: Any) -> tuple[int, Any, Any]:
        """One right request to the platform."""
        path, body, headers = RIGHT[platform]
        return await self.call("POST", path, json=body, headers=headers, **with_)

    async def fault(self, platform: str, mode: str, **more: Any) -> None:
        status, _, body = await self.call("PUT", "/_sandbox/faults", json={"platform": platform, "mode": mode, **more})
        assert status == 200, body

    async def requests(self, platform: str = "") -> list[dict[str, Any]]:
        status, _, body = await self.call("GET", f"/_sandbox/requests?platform={platform}")
        assert status == 200
        return body["requests"]

    async def stats(self) -> Any:
        return (await self.call("GET", "/_sandbox/stats"))[2]


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    running = await sandbox.start("127.0.0.1", 0, clock=lambda: NOW)
    async with aiohttp.ClientSession() as session:
        yield Caller(running.url, session)
    await running.stop()
