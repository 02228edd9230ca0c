"""`/v1/admin/replays` and `backfills`: counted, made, watched, stopped; refusals name the field."""

from typing import Any

import psycopg
import pytest

REPLAYS, BACKFILLS = "/v1/admin/replays", "/v1/admin/backfills"
NOBODY = "01a1fbf7-086b-7ab2-9996-26a150972041"


async def install(served: Any, name: str = "hook") -> str:
    body = {"name": name, "config": {"url": f"http://127.0.0.1:9/{name}"}}
    status, destination = await served.call("POST", "/v1/admin/integration-catalog/webhook/install", body)
    assert status == 201
    return destination["id"]


async def send(served: Any, count: int = 3, event: str = "purchase") -> None:
    events = [{"event": event, "event_id": f"{event}{number}"} for number in range(count)]
    assert (await served.call("POST", "/v1/events", {"events": events}))[0] == 202


def settle(served: Any, status: str, reason: str | None = None) -> None:
    statement = "UPDATE delivery SET status = %s, reason = %s, settled_at = now() WHERE status = 'queued'"
    with psycopg.connect(served.dsn.reveal()) as conn:
        conn.execute(statement, (status, reason))


@pytest.fixture
async def failed(served: Any) -> Any:
    """A destination, three deliveries that failed and one that was delivered."""
    destination = await install(served)
    await send(served)
    settle(served, "failed", "no email")
    await send(served, 1, "lead")
    settle(served, "delivered")
    return destination


async def test_a_dry_run_counts_and_makes_nothing(served: Any, failed: str) -> None:
    count = {"total": 3, "may_count_twice": 0, "complete": True}
    for body in (
        {},
        {"destination": failed},
        {"status": "failed"},
        {"status": ["failed", "skipped"]},
        {"reason": "no"},
    ):
        assert await served.call("POST", REPLAYS, body | {"dry_run": True}) == (200, count), body
    body = {"dry_run": True, "include_delivered": True}
    assert (await served.call("POST", REPLAYS, body))[1]["total"] == 4
    assert (await served.call("POST", REPLAYS, body | {"status": "delivered"}))[1]["total"] == 1
    assert (await served.call("POST", REPLAYS, body | {"name": "lead"}))[1]["total"] == 1
    assert (await served.call("POST", REPLAYS, body | {"site": served.keys.site}))[1]["total"] == 4
    assert (await served.call("POST", REPLAYS, body | {"to": "2020-01-01"}))[1]["total"] == 0
    other = await install(served, "other")
    body = {"destination": other, "dry_run": True}
    assert (await served.call("POST", REPLAYS, body))[1]["total"] == 0
    assert (await served.call("POST", BACKFILLS, body))[1]["total"] == 4
    assert (await served.call("POST", BACKFILLS, body | {"name": "lead"}))[1]["total"] == 1
    for path in (REPLAYS, BACKFILLS):
        assert (await served.call("GET", path))[1]["items"] == []


async def test_a_replay_is_made_watched_stopped_and_resumed(served: Any, failed: str) -> None:
    asked = {"destination": failed, "status": "failed", "reason": "no", "from": "2026-01-01", "name": "purchase"}
    status, replay = await served.call("POST", REPLAYS, asked)
    assert status == 201
    assert (replay["status"], replay["total"], replay["done"], replay["reason"]) == ("running", 3, 0, None)
    assert replay["destinations"] == [failed]
    since = {"from": "2026-01-01T00:00:00Z"}
    assert replay["filter"] == {"status": ["failed"], "reason": "no", "name": "purchase"} | since
    assert replay["created_by"].startswith("key ")
    path = f"{REPLAYS}/{replay['id']}"
    assert await served.call("GET", path) == (200, replay)
    for _ in range(2):  # repeating is harmless
        assert (await served.call("DELETE", path))[0] == 204
    assert (await served.call("GET", path))[1]["status"] == "stopped"
    for wanted in ("running", "running", "stopped", "running"):
        status, changed = await served.call("PATCH", path, {"status": wanted})
        assert (status, changed["status"]) == (200, wanted)
    assert (await served.call("GET", f"{BACKFILLS}/{replay['id']}"))[0] == 404


async def test_a_replay_waits_for_a_destination_that_is_paused_and_says_so(served: Any, failed: str) -> None:
    await served.call("POST", f"/v1/admin/destinations/{failed}/pause")
    _, replay = await served.call("POST", REPLAYS, {})
    assert replay["reason"] == "waits: hook is paused"


async def test_what_is_done_cannot_be_resumed(served: Any, failed: str) -> None:
    _, backfill = await served.call("POST", BACKFILLS, {"destination": failed})
    with psycopg.connect(served.dsn.reveal()) as conn:
        conn.execute("UPDATE job SET status = 'done', position = '{}'")
    status, body = await served.call("PATCH", f"{BACKFILLS}/{backfill['id']}", {"status": "running"})
    assert (status, body["error"]["code"]) == (409, "conflict")
    assert (await served.call("DELETE", f"{BACKFILLS}/{backfill['id']}"))[0] == 204
    assert (await served.call("GET", f"{BACKFILLS}/{backfill['id']}"))[1]["status"] == "done"


async def test_deliveries_are_replayed_by_id(served: Any, failed: str) -> None:
    _, listed = await served.call("GET", "/v1/admin/deliveries?status=failed")
    ids = [delivery["id"] for delivery in listed["items"][:2]]
    assert (await served.call("POST", REPLAYS, {"ids": ids, "dry_run": True}))[1]["total"] == 2
    _, replay = await served.call("POST", REPLAYS, {"ids": ids})
    assert replay["total"] == 2
    assert replay["destinations"] == [failed]
    assert sorted(replay["filter"]["ids"]) == sorted(ids)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (REPLAYS, {"destination": NOBODY}, "destination"),
        (REPLAYS, {"destination": "x"}, "destination"),
        (REPLAYS, {"status": "queued"}, "status"),
        (REPLAYS, {"status": []}, "status"),
        (REPLAYS, {"status": "delivered"}, "include_delivered"),
        (REPLAYS, {"ids": ["x"]}, "ids"),
        (REPLAYS, {"ids": []}, "ids"),
        (REPLAYS, {"ids": [f"{'0' * 32}-{'0' * 32}"]}, "ids"),
        (REPLAYS, {"from": "yesterday"}, "from"),
        (REPLAYS, {"from": "2026-02-01", "to": "2026-01-01"}, "to"),
        (REPLAYS, {"site": NOBODY}, "site"),
        (REPLAYS, {"dry_run": "yes"}, "dry_run"),
        (REPLAYS, {"destinations": []}, "destinations"),
        (BACKFILLS, {}, "destination"),
        (BACKFILLS, {"destination": NOBODY}, "destination"),
        (BACKFILLS, {"destination": NOBODY, "status": "failed"}, "status"),
    ],
)
async def test_what_cannot_be_taken_is_refused_by_name(served: Any, path: str, body: Any, field: str) -> None:
    status, answer = await served.call("POST", path, body)
    assert (status, answer["error"]["field"]) == (422, field), answer
    assert (await served.call("GET", path))[1]["items"] == []


async def test_jobs_are_walked_by_cursor_newest_first(served: Any, failed: str) -> None:
    made = [(await served.call("POST", REPLAYS, {}))[1]["id"] for _ in range(3)]
    await served.call("POST", BACKFILLS, {"destination": failed})
    _, page = await served.call("GET", f"{REPLAYS}?limit=2")
    _, rest = await served.call("GET", f"{REPLAYS}?limit=2&cursor={page['next_cursor']}")
    assert [job["id"] for job in page["items"] + rest["items"]] == made[::-1]
    assert rest["next_cursor"] is None
    assert len((await served.call("GET", BACKFILLS))[1]["items"]) == 1


async def test_another_workspaces_jobs_are_not_there(served: Any, failed: str) -> None:
    _, neighbour = await served.call("POST", "/v1/admin/workspaces", {"name": "neighbour"})
    theirs = neighbour["admin_key"]
    _, replay = await served.call("POST", REPLAYS, {})
    path = f"{REPLAYS}/{replay['id']}"
    for method, body in (("GET", None), ("PATCH", {"status": "stopped"}), ("DELETE", None)):
        assert (await served.call(method, path, body, key=theirs))[0] == 404
    assert (await served.call("GET", REPLAYS, key=theirs))[1]["items"] == []
    status, body = await served.call("POST", REPLAYS, {"destination": failed}, key=theirs)
    assert (status, body["error"]["field"]) == (422, "destination")
    assert (await served.call("POST", REPLAYS, {"dry_run": True}, key=theirs))[1]["total"] == 0
    _, listed = await served.call("GET", "/v1/admin/deliveries")
    status, body = await served.call("POST", REPLAYS, {"ids": [listed["items"][0]["id"]]}, key=theirs)
    assert (status, body["error"]["field"]) == (422, "ids")
    assert (await served.call("GET", path))[1]["status"] == "running"


async def test_what_is_done_with_a_job_is_written_down(served: Any, failed: str) -> None:
    await served.call("POST", REPLAYS, {"dry_run": True})
    _, replay = await served.call("POST", REPLAYS, {})
    path = f"{REPLAYS}/{replay['id']}"
    for method, body in (("DELETE", None), ("DELETE", None), ("PATCH", {"status": "running"})):
        await served.call(method, path, body)
    _, entries = await served.call("GET", "/v1/admin/audit?noun=replay")
    found = [(entry["action"], entry["noun_id"]) for entry in entries["items"]]
    assert found == [(action, replay["id"]) for action in ("resumed", "stopped", "created")]
    assert entries["items"][-1]["after"] == replay
    assert entries["items"][-1]["actor"] == replay["created_by"]


async def test_a_key_that_only_reads_makes_no_job(served: Any, failed: str) -> None:
    _, key = await served.call("POST", "/v1/admin/keys", {"label": "x", "scopes": ["read"]})
    assert (await served.call("POST", REPLAYS, {"dry_run": True}, key=key["key"]))[0] == 403
    assert (await served.call("GET", REPLAYS, key=key["key"]))[0] == 200
