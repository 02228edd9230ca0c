"""`/healthz`, `/readyz` and `/metrics`: open, true, and silent about what nobody should read there."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from postback.web import metrics
from postback.web.health import Pulse


async def get(served: Any, path: str) -> tuple[int, str]:
    async with served.http.get(served.url + path) as answer:
        return answer.status, await answer.text()


async def test_a_process_that_serves_is_alive_and_ready(served: Any) -> None:
    assert await get(served, "/healthz") == (200, '{"status":"ok"}')
    assert await get(served, "/readyz") == (200, '{"status":"ok"}')


async def test_without_its_database_it_is_alive_and_not_ready(served: Any) -> None:
    for answer in await asyncio.gather(*(served.call("GET", "/v1/admin/events") for _ in range(20))):
        assert answer[0] == 200
    dsn = served.dsn.reveal()
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    with psycopg.connect(dsn.replace(str(name), "postgres"), autocommit=True) as conn:
        conn.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")  # pyright: ignore
        conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        began = time.monotonic()
        status, body = await get(served, "/readyz")
        assert (status, "database" in body) == (503, True)
        assert time.monotonic() - began < 3
        assert (await get(served, "/healthz"))[0] == 200
        assert (await get(served, "/metrics"))[0] == 200
        began = time.monotonic()
        for answer in await asyncio.gather(*(served.call("GET", "/v1/admin/keys") for _ in range(20))):
            assert (answer[0], answer[1]["error"]["code"]) == (503, "unavailable")
        assert time.monotonic() - began < 3
        conn.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")  # pyright: ignore
    assert (await served.call("GET", "/v1/admin/keys"))[0] == 200
    assert (await get(served, "/readyz"))[0] == 200


async def test_a_schema_older_than_the_program_is_not_ready(served: Any) -> None:
    with psycopg.connect(served.dsn.reveal()) as conn:
        conn.execute("UPDATE alembic_version SET version_num = '0000'")
    status, body = await get(served, "/readyz")
    assert (status, "db migrate" in body) == (503, True)


def test_a_writer_is_stuck_when_events_wait_and_no_flush_ends() -> None:
    def writer(waiting: int, flushes: int) -> Any:
        return SimpleNamespace(waiting_events=waiting, figures=SimpleNamespace(flushes=flushes))

    pulse = Pulse()
    assert not pulse.is_stuck(writer(0, 1), 0)
    assert not pulse.is_stuck(writer(5, 1), 10)
    assert not pulse.is_stuck(writer(5, 1), 15)
    assert pulse.is_stuck(writer(5, 1), 20)
    assert not pulse.is_stuck(writer(5, 2), 30)
    assert not pulse.is_stuck(writer(5, 2), 39)
    assert pulse.is_stuck(writer(5, 2), 40)
    assert not pulse.is_stuck(writer(0, 2), 60)


async def test_metrics_count_events_and_show_the_oldest_pending_delivery(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "DATABASE_SECONDS", 0.0)
    body = {"name": "Jane's hook", "config": {"url": "http://127.0.0.1:9/hook"}}
    _, destination = await served.call("POST", "/v1/admin/integration-catalog/webhook/install", body)
    event = {"event": "purchase", "event_id": "e1"}
    for _ in range(2):
        await served.call("POST", "/v1/events", event)
    await asyncio.sleep(0.05)
    status, text = await get(served, "/metrics")
    assert status == 200
    assert 'postback_events_total{result="accepted"} 1.0' in text
    assert 'postback_events_total{result="duplicate"} 1.0' in text
    assert 'postback_http_requests_total{path="/v1/events",status="202"} 2.0' in text
    labels = f'connector="webhook",destination="{destination["id"]}"'
    waiting = next(line for line in text.splitlines() if line.startswith("postback_oldest_pending_seconds{"))
    assert labels in waiting
    assert 0 < float(waiting.split()[-1]) < 60
    assert f'postback_destination_state{{{labels},state="active"}} 1.0' in text
    assert "postback_database_up 1.0" in text


async def test_metrics_hold_no_key_no_name_and_no_path_that_was_made_up(served: Any) -> None:
    body = {"name": "Jane's hook", "config": {"url": "http://127.0.0.1:9/hook"}}
    await served.call("POST", "/v1/admin/integration-catalog/webhook/install", body)
    await get(served, "/made/up/4711")
    await get(served, "/v1/admin/keys/4711")
    await get(served, "/v1/events/4711")
    _, text = await get(served, "/metrics")
    for secret in (served.keys.admin_key, served.keys.admin_key[-4:], "Jane", "4711"):
        assert secret not in text
    assert 'path="other",status="404"' in text


async def test_the_database_is_asked_at_most_once_in_five_seconds(served: Any) -> None:
    assert metrics.DATABASE_SECONDS >= 5
    await get(served, "/metrics")
    body = {"name": "x", "config": {"url": "http://127.0.0.1:9/hook"}}
    _, destination = await served.call("POST", "/v1/admin/integration-catalog/webhook/install", body)
    assert destination["id"] not in (await get(served, "/metrics"))[1]
