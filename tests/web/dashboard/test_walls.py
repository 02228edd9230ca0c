"""Workspaces are walls: every page that names a thing, as the routes say, tried by another workspace's owner."""

import re
from typing import Any
from urllib.parse import quote

from tests.web.dashboard.routes import ROUTES

ADMIN = "/v1/admin"
# Where the API lists what a page names, where it does not say so itself.
LISTS = {"integrations": "destinations", "privacy": "privacy/erasures"}
# Not of a workspace; a link that is its own key.
# What no list gives: the ids of what is made below.
NAMED = {"orders": "o/1", "visitors": "v/1"}
# Not of a workspace; a link that is its own key.
OPEN = {"/app/static/{name}", "/app/join/{token}", "/app/integrations/library/{connector}", "/app/{rest}"}


async def test_no_page_shows_or_changes_a_thing_of_another_workspace(served: Any, owner: Any, invited: Any) -> None:
    _, other = await served.call("POST", f"{ADMIN}/workspaces", {"name": "neighbour"})
    theirs = await invited("owner", key=other["admin_key"])
    for path, body in (
        (f"{ADMIN}/integration-catalog/webhook/install", {"config": {"url": "https://hooks.example.com/"}}),
        (f"{ADMIN}/event-types", {"name": "quiz"}),
        (f"{ADMIN}/privacy/erasures", {"email": "nobody@example.com"}),
        ("/v1/events", {"event": "purchase", "order_id": "o/1", "value": 5, "currency": "EUR", "visitor_id": "v/1"}),
    ):
        assert (await served.call("POST", path, body))[0] in (201, 202)
    [webhook] = (await served.call("GET", f"{ADMIN}/destinations"))[1]["items"]
    assert (await served.call("POST", f"{ADMIN}/replays", {"destination": webhook["id"]}))[0] == 201
    assert (await served.call("POST", f"{ADMIN}/backfills", {"destination": webhook["id"]}))[0] == 201
    before = await state(served)
    for method, path in ROUTES:
        if "{" not in path or path in OPEN:
            continue
        head = path.split("/")[2]
        for id_ in [NAMED[head]] if head in NAMED else await ids(served, head):
            where = re.sub(r"{\w+}", quote(id_, safe=""), path)
            if method == "GET":
                assert (await owner.get(where)).status == 200, where
                answer = await theirs.get(where)
            else:
                for do in ("remove", "save", "pause", "probe", "rollback", "begin", "stop"):
                    answer = await theirs.submit(
                        "/app/account", where, do=do, role="admin", name="x", grace_seconds="0", blueprint="{}"
                    )
                    assert answer.status == 404, (where, do)
            assert answer.status == 404, (method, where)
            assert "Not found" in answer.text
    assert await state(served) == before


async def ids(served: Any, head: str) -> list[str]:
    _, page = await served.call("GET", f"{ADMIN}/{LISTS.get(head, head)}")
    assert page["items"], f"no list gives an id for /app/{head}: name it in LISTS"
    return [str(item["id"]) for item in page["items"]]


async def state(served: Any) -> list[Any]:
    lists = ("goals", "sites", "destinations", "members", "event-types", "replays", "backfills")
    return [(await served.call("GET", f"{ADMIN}/{name}"))[1] for name in lists]
