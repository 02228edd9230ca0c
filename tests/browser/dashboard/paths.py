"""The dashboard's pages, as its routes say, with the ids that the API lists."""

import re
from typing import Any

from tests.browser.dashboard.looking import quoted
from tests.web.dashboard.routes import ROUTES
from tests.web.dashboard.test_walls import LISTS, NAMED

# Not for who is signed in, or no page.
OTHER = {"/app/sign-in", "/app/join/{token}", "/app/static/{name}", "/app/{rest}", "/app/live/stream"}
CONNECTORS = ("webhook", "google_ads")
GETS = [path for method, path in ROUTES if method == "GET" and path not in OTHER]
POSTS = [path for method, path in ROUTES if method == "POST"]


async def addresses(space: Any, **named: list[str]) -> list[str]:
    """Every page of a workspace; of things that have a status one of each, of what lies below them one. `named`: ids that no list gives."""
    found: list[str] = []
    for path in GETS:
        if "{" not in path:
            found.append(path)
            continue
        ids = await _ids(space, path, named)
        for id_ in ids if path.endswith("}") else ids[:1]:
            found.append(re.sub(r"{\w+}", quoted(id_), path))
    return found


async def _ids(space: Any, path: str, named: dict[str, list[str]]) -> list[str]:
    head = path.split("/")[2]
    if "{connector}" in path:
        return list(CONNECTORS)
    if head in named or head in NAMED:
        return named.get(head, [])
    items = (await space.call("GET", f"{LISTS.get(head, head)}?limit=200"))["items"]
    if head == "deliveries":
        items = [one for status in ("delivered", "failed", "held", "retrying", "skipped")
                 for one in (await space.call("GET", f"deliveries?limit=1&status={status}"))["items"]]  # fmt: skip
    assert items, f"no list gives an id for {path}: give `addresses` one, or fill in more"
    kinds = {(one.get("status"), bool(one.get("revoked_at"))): str(one["id"]) for one in reversed(items)}
    return list(kinds.values())


def route_of(address: str, routes: list[str]) -> str | None:
    """Which route an address is of; those without parameters first."""
    for route in sorted(routes, key=lambda path: path.count("{")):
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", route), address.partition("?")[0]):
            return route
    return None
