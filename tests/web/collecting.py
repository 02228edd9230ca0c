"""Posts to `/collect` as the tag does, and what is kept of them."""

import json
from datetime import UTC, datetime
from typing import Any

import psycopg

COLLECT = "/collect"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:146.0) Gecko/20100101 Firefox/146.0"
ORIGIN = "https://shop.example"
NOW = datetime.now(UTC)


def ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def event(name: str = "page_view", **fields: Any) -> dict[str, Any]:
    return {"event": name, "event_id": f"{name}-1", "occurred_at": NOW.isoformat(), "url": f"{ORIGIN}/"} | fields


def batch(served: Any, *events: dict[str, Any], **about: Any) -> dict[str, Any]:
    usual = {
        "site_key": served.keys.site_key, "sent_at": datetime.now(UTC).isoformat(), "visitor_id": "v_1",
        "session_id": "s_1",
    }  # fmt: skip
    return usual | about | {"events": list(events)}


async def post(served: Any, body: Any, **headers: str) -> tuple[int, Any, Any]:
    sent = {"Content-Type": "text/plain;charset=UTF-8", "User-Agent": FIREFOX, "Origin": ORIGIN} | headers
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with served.http.post(served.url + COLLECT, data=data, headers=sent) as answer:
        return answer.status, await answer.json(content_type=None), answer.headers


async def taken(served: Any, *events: dict[str, Any], **about: Any) -> dict[str, Any]:
    status, body, _ = await post(served, batch(served, *(events or (event(),)), **about))
    assert status == 200, body
    return body


def rows(served: Any, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(served.dsn.reveal()) as conn:
        return conn.execute(query.encode()).fetchall()


def stored(served: Any) -> list[dict[str, Any]]:
    return [json.loads(body) for (body,) in rows(served, "SELECT body FROM event ORDER BY id")]


def identifiers(served: Any) -> dict[str, list[Any]]:
    """Of the only visitor."""
    [(found,)] = rows(served, "SELECT identifiers FROM visitor")
    return found
