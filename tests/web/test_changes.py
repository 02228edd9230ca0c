"""Changes of the configuration: none is lost, none is made over what the caller has not seen, each is written down."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

ADMIN = "/v1/admin"
HOOK = {"name": "hook", "config": {"url": "http://127.0.0.1:9/hook", "secret": "whsec_c2VjcmV0c2VjcmV0c2VjcmV0"}}


class Thing:
    """Something of the configuration: where it lies, and two changes of it that do not touch each other."""

    def __init__(self, path: str, one: dict[str, Any], other: dict[str, Any]) -> None:
        self.path, self.one, self.other = path, one, other


@pytest.fixture(params=["site", "goal", "event type", "plan", "destination"])
async def thing(request: pytest.FixtureRequest, served: Any) -> Thing:
    path, body, one, other = {
        "site": ("sites", {"name": "a"}, {"name": "b"}, {"window_days": 30}),
        "goal": ("goals", {"name": "a"}, {"name": "b"}, {"active": False}),
        "event type": ("event-types", {"name": "quiz"}, {"billable": True}, {"required": ["order_id"]}),
        "plan": ("plans", {"name": "a", "monthly_cap": 1}, {"name": "b"}, {"overage": True}),
        "destination": ("integration-catalog/webhook/install", HOOK, {"name": "b"}, {"status": "paused"}),
    }[request.param]
    status, made = await served.call("POST", f"{ADMIN}/{path}", body)
    assert status == 201, made
    return Thing(f"{ADMIN}/{path if '/' not in path else 'destinations'}/{made['id']}", one, other)


async def tag_of(served: Any, thing: Thing) -> str:
    headers = {"Authorization": f"Bearer {served.keys.admin_key}"}
    async with served.http.get(served.url + thing.path, headers=headers) as answer:
        assert answer.status == 200
        return answer.headers["ETag"]


async def test_of_many_changes_at_once_none_is_lost(served: Any, thing: Thing) -> None:
    for _ in range(5):
        answers = await asyncio.gather(
            *(served.call("PATCH", thing.path, change) for change in [thing.one, thing.other] * 4)
        )
        assert {status for status, _ in answers} == {200}
        _, now = await served.call("GET", thing.path)
        assert now == now | thing.one | thing.other


async def test_fields_of_a_config_changed_at_once_are_all_kept(served: Any) -> None:
    meta = {"config": {"dataset_id": "1", "access_token": "t"}}
    _, made = await served.call("POST", f"{ADMIN}/integration-catalog/meta/install", meta)
    path = f"{ADMIN}/destinations/{made['id']}"
    for number in range(10):
        sent = {"dataset_id": str(number), "test_event_code": f"TEST{number}"}
        await asyncio.gather(*(served.call("PATCH", path, {"config": {name: sent[name]}}) for name in sent))
        _, now = await served.call("GET", path)
        assert {name: now["config"][name] for name in sent} == sent


async def test_a_change_with_the_tag_that_was_read_is_made(served: Any, thing: Thing) -> None:
    before = await tag_of(served, thing)
    headers = {"Authorization": f"Bearer {served.keys.admin_key}", "If-Match": f'"0", W/{before}'}
    async with served.http.patch(served.url + thing.path, json=thing.one, headers=headers) as answer:
        assert answer.status == 200
        assert answer.headers["ETag"] == await tag_of(served, thing) != before
    assert (await served.call("PATCH", thing.path, thing.other, headers={"If-Match": "*"}))[0] == 200


async def test_a_change_over_what_changed_since_is_412_and_changes_nothing(served: Any, thing: Thing) -> None:
    stale = {"If-Match": await tag_of(served, thing)}
    await served.call("PATCH", thing.path, thing.one)
    _, now = await served.call("GET", thing.path)
    for method, body in (("PATCH", thing.other), ("DELETE", None)):
        status, answer = await served.call(method, thing.path, body, headers=stale)
        assert (status, answer["error"]["code"]) == (412, "precondition_failed")
    assert (await served.call("GET", thing.path))[1] == now
    headers = {"If-Match": await tag_of(served, thing)}
    assert (await served.call("DELETE", thing.path, headers=headers))[0] == 204


async def test_of_changes_with_one_tag_one_is_made(served: Any, thing: Thing) -> None:
    headers = {"If-Match": await tag_of(served, thing)}
    answers = await asyncio.gather(
        *(served.call("PATCH", thing.path, change, headers=headers) for change in [thing.one, thing.other] * 4)
    )
    assert sorted(status for status, _ in answers) == [200] + [412] * 7


async def audit(served: Any, **query: str) -> list[dict[str, Any]]:
    _, body = await served.call("GET", f"{ADMIN}/audit", params=query)
    return body["items"]


async def test_each_change_is_written_down_with_who_when_before_and_after(served: Any, thing: Thing) -> None:
    started = datetime.now(UTC)
    _, before = await served.call("GET", thing.path)
    _, after = await served.call("PATCH", thing.path, thing.one)
    await served.call("DELETE", thing.path)
    removed, changed, created = await audit(served, noun_id=str(before["id"]))
    assert [entry["action"] for entry in (created, changed, removed)] == ["created", "changed", "removed"]
    assert (created["before"], created["after"]) == (None, before)
    assert (changed["before"], changed["after"]) == (before, after)
    assert (removed["before"], removed["after"]) == (after, None)
    assert changed["actor"] == f"key admin ...{served.keys.admin_key[-4:]}"
    assert abs((datetime.fromisoformat(changed["at"]) - started).total_seconds()) < 60


async def test_what_changes_nothing_or_is_refused_is_not_written_down(served: Any, thing: Thing) -> None:
    written = len(await audit(served))
    assert (await served.call("PATCH", thing.path, {}))[0] == 200
    await served.call("PATCH", thing.path, thing.one, headers={"If-Match": '"0"'})
    await served.call("PATCH", thing.path, {"name": 7, "billable": 7})
    assert len(await audit(served)) == written


async def test_pause_and_resume_are_written_down(served: Any) -> None:
    _, made = await served.call("POST", f"{ADMIN}/integration-catalog/webhook/install", HOOK)
    for step in ("pause", "pause", "resume"):
        assert (await served.call("POST", f"{ADMIN}/destinations/{made['id']}/{step}"))[0] == 200
    assert [entry["action"] for entry in await audit(served, noun="destination")] == ["resumed", "paused", "created"]


async def test_keys_are_written_down_and_no_secret_of_anything(served: Any, tx: Any) -> None:
    _, key = await served.call("POST", f"{ADMIN}/keys", {"label": "shop", "scopes": ["ingest"]})
    _, new = await served.call("POST", f"{ADMIN}/keys/{key['id']}/rotate", {"grace_seconds": 60})
    for _ in range(2):
        await served.call("DELETE", f"{ADMIN}/keys/{new['id']}")
    await served.call(
        "POST", f"{ADMIN}/integration-catalog/webhook/install", {"config": {"url": "http://127.0.0.1:9/"}}
    )
    _, hook = await served.call("POST", f"{ADMIN}/integration-catalog/webhook/install", HOOK)
    secret = "whsec_bW9yZXNlY3JldG1vcmVzZWNyZXQ="
    await served.call("PATCH", f"{ADMIN}/destinations/{hook['id']}", {"config": {"secret": secret}})
    entries = await audit(served, noun="key")
    assert [(entry["action"], entry["noun_id"]) for entry in entries] == [
        ("revoked", new["id"]),
        ("created", new["id"]),
        ("rotated", key["id"]),
        ("created", key["id"]),
    ]
    assert entries[0]["after"]["revoked_at"] is not None
    written = str(await (await tx.execute("SELECT * FROM audit")).fetchall())
    for text in (key["key"], new["key"], HOOK["config"]["secret"], secret, served.keys.admin_key):
        assert text not in written
    assert written.count("whsec_") == 0


async def test_the_log_is_the_workspaces_own_and_walked_by_cursor(served: Any) -> None:
    _, neighbour = await served.call("POST", f"{ADMIN}/workspaces", {"name": "neighbour"})
    for number in range(3):
        await served.call("POST", f"{ADMIN}/goals", {"name": f"goal {number}"}, key=neighbour["admin_key"])
    assert [entry["noun"] for entry in await audit(served)] == ["workspace"]
    names, cursor = [], ""
    while cursor is not None:
        path = f"{ADMIN}/audit?noun=goal&limit=2{cursor and '&cursor=' + cursor}"
        _, page = await served.call("GET", path, key=neighbour["admin_key"])
        names += [entry["after"]["name"] for entry in page["items"]]
        cursor = page["next_cursor"]
    assert names == ["goal 2", "goal 1", "goal 0"]
