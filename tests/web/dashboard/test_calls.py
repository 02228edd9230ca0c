"""Every change that the dashboard makes is a call of the admin API, which the page that offers it names 'as curl'."""

import html
import re
from typing import Any

from tests.web.dashboard.routes import ROUTES

ADMIN = "/v1/admin"
# What is of a browser's session, and no call of the API: a key has no session, and no password.
OF_SESSION = {
    "/app/sign-in", "/app/sign-out", "/app/sign-out-everywhere", "/app/join/{token}", "/app/account/password",
    "/app/look-at", "/app/theme",
}  # fmt: skip
# Of each route that changes something: the page that offers it, and the calls that it makes.
CALLS = {
    "/app/start/key": ("/app/start", "POST keys"),
    "/app/start/site": ("/app/start", "PATCH sites/{site}"),
    "/app/keys/new": ("/app/keys/new", "POST keys"),
    "/app/keys/{id_}/rotate": ("/app/keys/{key}", "POST keys/{key}/rotate"),
    "/app/keys/{id_}/revoke": ("/app/keys/{key}", "DELETE keys/{key}"),
    "/app/members": ("/app/members", "POST members"),
    "/app/members/{id_}": ("/app/members/{member}", "PATCH members/{member}", "DELETE members/{member}"),
    "/app/goals/new": ("/app/goals/new", "POST goals"),
    "/app/goals/{id_}": ("/app/goals/{goal}", "PATCH goals/{goal}", "DELETE goals/{goal}"),
    "/app/sites/new": ("/app/sites/new", "POST sites"),
    "/app/sites/{id_}": ("/app/sites/{site}", "PATCH sites/{site}", "DELETE sites/{site}"),
    "/app/event-types/new": ("/app/event-types/new", "POST event-types"),
    "/app/event-types/{id_}": ("/app/event-types/{type}", "PATCH event-types/{type}", "DELETE event-types/{type}"),
    "/app/integrations/library/{connector}": (
        "/app/integrations/library/webhook", "POST integration-catalog/webhook/install",
    ),
    "/app/integrations/{id_}": (
        "/app/integrations/{to} /app/integrations/{to}/settings /app/integrations/{paused}",
        "POST destinations/{to}/probe", "POST destinations/{to}/pause", "POST destinations/{paused}/resume",
        "PATCH destinations/{to}", "DELETE destinations/{to}",
    ),
    "/app/integrations/{id_}/test": ("/app/integrations/{to}/test", "POST destinations/{to}/test-event"),
    "/app/integrations/{id_}/blueprint": (
        "/app/integrations/{to}/blueprint",
        "POST destinations/{to}/test", "PATCH destinations/{to}", "POST destinations/{to}/blueprint/rollback",
    ),
    "/app/integrations/{id_}/replay": ("/app/integrations/{to}/replay", "POST replays"),
    "/app/integrations/{id_}/backfill": ("/app/integrations/{to}/backfill", "POST backfills"),
    "/app/replays/{id_}": ("/app/replays/{replay}", "PATCH replays/{replay}"),
    "/app/find": ("/app/find", "POST find"),
    "/app/privacy": ("/app/privacy", "POST privacy/exports", "POST privacy/erasures"),
    "/app/settings": ("/app/settings", "PATCH workspace"),
    "/app/deliveries/{delivery}": ("/app/deliveries/{delivery}", "POST replays"),
    "/app/backfills/{id_}": ("/app/backfills/{backfill}", "PATCH backfills/{backfill}"),
}  # fmt: skip


async def made(served: Any) -> dict[str, str]:
    """One of everything; ids by what `CALLS` calls them."""
    hook = {"config": {"url": "https://hooks.example.com/"}}
    ids = {"site": served.keys.site, "goal": "1"}
    for name, path, body in (
        ("to", "integration-catalog/webhook/install", hook),
        ("paused", "integration-catalog/webhook/install", hook),
        ("key", "keys", {"label": "x", "scopes": ["ingest"]}),
        ("member", "members", {"email": "a@example.com", "role": "admin"}),
        ("type", "event-types", {"name": "quiz"}),
        ("replay", "replays", {}),
    ):
        status, thing = await served.call("POST", f"{ADMIN}/{path}", body)
        assert status == 201, thing
        ids[name] = thing["id"]
    status, thing = await served.call("POST", f"{ADMIN}/backfills", {"destination": ids["to"]})
    assert status == 201, thing
    assert (await served.call("POST", f"{ADMIN}/destinations/{ids['paused']}/pause"))[0] == 200
    convert = {"config": {"account_id": "1", "project_id": "2", "api_key": "k"}}
    assert (await served.call("POST", f"{ADMIN}/integration-catalog/convert/install", convert))[0] == 201
    assert (await served.call("POST", "/v1/events", {"event": "lead", "consent": {"analytics": False}}))[0] == 202
    _, skipped = await served.call("GET", f"{ADMIN}/deliveries?status=skipped")
    return ids | {"backfill": thing["id"], "delivery": skipped["items"][0]["id"]}


async def test_every_change_is_named_as_the_call_that_makes_it(served: Any, owner: Any) -> None:
    changing = {path for method, path in ROUTES if method == "POST"} - OF_SESSION
    assert changing == set(CALLS), "a page that changes something names its call: add both here, or say why not"
    ids = await made(served)
    for pages, *wanted in CALLS.values():
        named: set[str] = set()
        for path in pages.format(**ids).split():
            page = await owner.get(path)
            assert page.status == 200, path
            found = re.findall(r"curl (?:-X (\w+) )?'?http://[^/\s]+/v1/admin/([^\s'?]+)", html.unescape(page.html))
            named |= {f"{method or 'GET'} {call}" for method, call in found}
        for call in wanted:
            assert call.format(**ids) in named, pages
