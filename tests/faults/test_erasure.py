"""An erasure on a real hub that is killed in the middle: the person is found by no query, and in no dump, log, export or
answer; what was counted stays counted."""

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from postback.db import tools
from tests.faults.hub import Hub, installation, purchase, run

pytestmark = pytest.mark.long(20)

ERASURES = "/v1/admin/privacy/erasures"
PLANTED = {
    "email": "planted.person@secret-mail.example",
    "phone": "+14155557788",
    "first_name": "Plantedfirst",
    "last_name": "Plantedlast",
    "client_ip_address": "198.51.100.77",
    "client_user_agent": "PlantedAgent/1.0",
    "user_id": "planted-user-7788",
}
FIELDS: dict[str, Any] = {
    "user_data": PLANTED,
    "visitor_id": "v-planted",
    "session_id": "s-planted",
    "click_ids": {"fbclid": "planted-click"},
    "order_id": "order-planted",
    "url": "https://shop.example.com/planted-page",
    "properties": {"gift": "planted-note"},
}
OTHERS = 4000


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with installation(POSTBACK_SEND_TIMEOUT_SECONDS="1") as hub:
        yield hub


async def test_a_planted_person_is_found_nowhere_though_the_worker_is_killed_meanwhile(
    hub: Hub, tmp_path: Path
) -> None:
    await hub.install("meta")
    await hub.fault("meta", "reject_event", times=1)
    assert (await hub.post(purchase("planted-1", **FIELDS)))[0] == 202
    assert (await hub.post({"event": "lead", "event_id": "planted-2", "session_id": "s-planted"}))[0] == 202
    await hub.until_settled()
    webhook = await hub.install("webhook")
    await hub.admin("POST", f"/v1/admin/destinations/{webhook}/pause")
    for start in range(0, OTHERS, 500):
        assert (await hub.post({"events": [purchase(f"o-{n}") for n in range(start, start + 500)]}))[0] == 202
    by_phone = purchase("planted-3", user_data={"phone": PLANTED["phone"]}, visitor_id="v-planted")
    assert (await hub.post(by_phone))[0] == 202
    await hub.until_settled(destination=hub.destinations["meta"])
    before = await aggregates(hub)

    asked = await hub.admin("POST", ERASURES, {"email": PLANTED["email"]}, expect=201)
    deadline = time.monotonic() + 60
    killed = 0
    while (now := await hub.admin("GET", f"{ERASURES}/{asked['id']}"))["status"] != "done":
        assert time.monotonic() < deadline, now
        workers = hub.processes("worker")
        if killed < 2 and workers and now["percent"] > 10 * (killed + 1):
            os.kill(workers[0], signal.SIGKILL)
            killed += 1
        await asyncio.sleep(0.02)
    assert killed
    assert now["removed"]["events"] == 3
    assert await aggregates(hub) == before
    assert (await hub.ledger())[0] == 0

    late = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    assert (await hub.post(purchase("planted-4", **FIELDS, occurred_at=late)))[0] == 202
    await hub.admin("POST", f"/v1/admin/destinations/{webhook}/resume")
    await hub.until_settled()
    assert not [one for one in await hub.received("webhook") if "planted" in one["raw"]]
    assert len(await hub.received("webhook")) == OTHERS
    assert (await hub.ledger())[0] == 0

    answers = [json.dumps(now), await dump(hub)]
    for path in ("events?note=collision", "events", "deliveries", "conversions", "ledger", "audit", "privacy/erasures"):
        answers.append(json.dumps(await hub.admin("GET", f"/v1/admin/{path}")))
    for path in ("admin/orders/order-planted", "events/planted-1"):
        answers.append(json.dumps(await hub.admin("GET", f"/v1/{path}", expect=404)))
    for (id_,) in await hub.rows("SELECT id::text FROM event WHERE name = 'lead' OR event_id = id::text"):
        answers.append(json.dumps(await hub.admin("GET", f"/v1/admin/events/{id_}")))
    answers.append(
        json.dumps(await hub.admin("POST", "/v1/admin/privacy/exports", {"email": PLANTED["email"]}, expect=201))
    )
    code, _, _ = await run("db", "backup", str(tmp_path / "dump"), data_dir=hub.data_dir)
    assert code == 0
    read = [str(tools.binaries(18) / "pg_restore"), "-f", "-", str(tmp_path / "dump")]
    dumped = await asyncio.to_thread(subprocess.run, read, capture_output=True, text=True, check=True)
    answers.append(dumped.stdout)
    answers.append(hub.log.read_text())
    needles = {"planted", "198.51.100.77"} | {hashed(v) for v in (PLANTED["email"], PLANTED["phone"], "plantedfirst")}
    found = {
        (form, place)
        for place, text in enumerate(answers)
        for needle in needles
        for form in (needle, needle.encode().hex())
        if form in text.lower()
    }
    assert not found


def hashed(text: str) -> str:
    return hashlib.sha256(text.lower().encode()).hexdigest()


async def aggregates(hub: Hub) -> list[Any]:
    """What is counted: usage, conversions and their worth, events by name; deliveries but for what waits."""
    return [
        await hub.rows(query)
        for query in (
            "SELECT hour, destination_id, sum(n) FROM usage GROUP BY 1, 2 ORDER BY 1, 2",
            "SELECT goal_id, currency, count(*), sum(value) FROM conversion GROUP BY 1, 2 ORDER BY 1",
            "SELECT name, count(*) FROM event GROUP BY 1 ORDER BY 1",
            "SELECT destination_id, count(*) FROM delivery GROUP BY 1 ORDER BY 1",
        )
    ]


async def dump(hub: Hub) -> str:
    """Every row of every table, by SQL."""
    names = await hub.rows(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1"
    )
    rows = [await hub.rows(f'SELECT t::text FROM "{name}" t') for (name,) in names]
    return "\n".join(text for table in rows for (text,) in table)
