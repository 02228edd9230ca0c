"""Promises that only whole processes can break: one id from everywhere at once, exact revocation, no plaintext at rest,
one destination's trouble staying its own."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.faults.hub import CONFIGS, Hub, installation, purchase

pytestmark = pytest.mark.long(15)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with installation(api_processes=2) as hub:
        yield hub


async def test_200_clients_with_one_id_over_two_processes_make_one_event(hub: Hub) -> None:
    await hub.install("webhook")

    async def client() -> dict[str, object]:
        headers = {"Authorization": f"Bearer {hub.keys['api_key']}"}
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.post(f"{hub.url}/v1/events", json=purchase("the-same")) as answer,
        ):
            assert answer.status == 202
            return await answer.json()

    answers = await asyncio.gather(*(client() for _ in range(200)))
    assert sorted(str(a["status"]) for a in answers) == ["accepted"] + ["duplicate"] * 199
    assert {a["event_id"] for a in answers} == {"the-same"}
    assert await hub.rows("SELECT count(*)::int FROM event") == [(1,)]
    await hub.until_settled()
    assert len(await hub.received("webhook")) == 1


async def test_no_request_begun_after_a_revocation_was_answered_succeeds(hub: Hub) -> None:
    made = await hub.admin("POST", "/v1/admin/keys", {"label": "leaked", "scopes": ["ingest"]}, expect=201)
    revoked_at: float | None = None
    late: list[int] = []
    accepted = 0
    loop = asyncio.get_running_loop()

    async def hammer(number: int) -> None:
        nonlocal accepted
        count = 0
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {made['key']}"}) as http:
            while revoked_at is None or loop.time() < revoked_at + 1.5:
                began = loop.time()
                async with http.post(f"{hub.url}/v1/events", json=purchase(f"r-{number}-{count}")) as answer:
                    if revoked_at is not None and began > revoked_at:
                        late.append(answer.status)
                    accepted += answer.status == 202
                count += 1

    clients = [asyncio.create_task(hammer(n)) for n in range(8)]
    await asyncio.sleep(1.5)
    await hub.admin("DELETE", f"/v1/admin/keys/{made['id']}", expect=204)
    revoked_at = loop.time()
    await asyncio.gather(*clients)
    assert accepted > 50
    assert len(late) > 20
    assert set(late) == {401}
    assert await hub.rows("SELECT count(*)::int FROM event") == [(accepted,)]


async def test_planted_plaintext_is_found_nowhere(hub: Hub) -> None:
    for connector in CONFIGS:
        await hub.install(connector)
    await hub.fault("webhook", "reject_event", times=1)
    planted = {
        "email": "planted.person@secret-mail.example",
        "phone": "+14155557788",
        "first_name": "Plantedfirst",
        "last_name": "Plantedlast",
        "client_ip_address": "198.51.100.77",
        "client_user_agent": "PlantedAgent/1.0",
        "city": "Plantedtown",
        "user_id": "planted-user-7788",
    }
    event = purchase("plain-1", user_data=planted, visitor_id="v-plain", session_id="s-plain")
    event["properties"] = {"note": "write to planted.person@secret-mail.example", "email": planted["email"]}
    event["url"] = "https://shop.example.com/thanks?email=planted.person%40secret-mail.example"
    answers = [str(await hub.post(event)), str(await hub.post(event, path="/v1/events?dry_run=1"))]
    broken = purchase("plain-2", user_data=planted | {"email": 7})
    answers.append(str(await hub.post(broken)))
    await hub.until_settled()
    for path in ("events", "deliveries", "destinations", "keys", "ledger", "integration-catalog"):
        shown = await hub.admin("GET", f"/v1/admin/{path}")
        answers.append(str(shown))
        for item in shown.get("items", [])[:5] if path in ("events", "deliveries", "destinations") else []:
            answers.append(str(await hub.admin("GET", f"/v1/admin/{path}/{item['id']}")))
    async with hub.http.get(f"{hub.url}/metrics") as metrics:
        answers.append(await metrics.text())
    await hub.stop()

    needles = [value for name, value in planted.items() if name != "user_id"] + [
        "planted.person%40",
        planted["user_id"],
        "planted-platform-token",
        "planted-platform-secret",
        hub.keys["api_key"],
        hub.keys["admin_key"],
        hub.keys["owner_password"],
    ]
    forms = {form for text in needles for form in _forms(text)}
    files = [hub.log, *(p for p in hub.data_dir.rglob("*") if p.is_file() and p.name != "seal.key")]
    assert any("pg_wal" in str(file) for file in files)
    for file in files:
        content = file.read_bytes().lower()
        found = [form for form in forms if form in content]
        assert not found, f"{file.name} holds {found}"
    everything = "\n".join(answers).lower().encode()
    assert not [form for form in forms if form in everything]
    # The search itself finds what may be there.
    wal = b"".join(p.read_bytes() for p in (hub.data_dir / "postgres" / "pg_wal").iterdir() if p.is_file())
    assert hashlib.sha256(planted["email"].encode()).hexdigest().encode() in wal


def _forms(text: str) -> list[bytes]:
    """A value as it is, in lower case, in base64 at each of the three offsets, and in hex."""
    plain = text.lower().encode()
    forms = [plain, plain.hex().encode()]
    for pad in range(3):
        encoded = base64.b64encode(b"\0" * pad + text.encode())
        forms.append(encoded[4 if pad else 0 : -4].lower())
    return [form for form in forms if len(form) >= 8]


async def test_a_black_hole_beside_a_living_destination_holds_up_only_its_own(hub: Hub) -> None:
    live = await hub.install("meta")
    dead = await hub.install("webhook")
    await hub.fault("webhook", "hang")
    for start in range(0, 2000, 500):
        events = [purchase(f"bh-{n}") for n in range(start, start + 500)]
        status, _ = await hub.post({"events": events})
        assert status == 202
    await hub.until_settled(destination=live, seconds=30)
    assert await hub.rows(f"SELECT status, count(*)::int FROM delivery WHERE destination_id = '{live}' GROUP BY 1") == [
        ("delivered", 2000)
    ]
    [(open_,)] = await hub.rows(
        f"SELECT count(*)::int FROM delivery WHERE destination_id = '{dead}' AND status IN ('queued', 'retrying')"
    )
    assert open_ == 2000
    code, text = await hub.ledger()
    assert code == 0, text
