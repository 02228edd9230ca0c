"""Workspaces are walls: every path of the admin API, as /openapi.json lists them, tried with another workspace's keys
and ids. A new path is covered without being named here, if its body has an example; and no example is wrong.
"""

import re
from typing import Any

import pytest

ADMIN = "/v1/admin/"
# The installation's own: read by every workspace; what is made of the catalog is the maker's.
SHARED = {"GET integration-catalog/{connector}", "POST integration-catalog/{connector}/install", "GET plans/{plan_id}"}
OF_INSTALLATION = {"plan", "plans", "workspaces"}
# Values for what no list gives.
KNOWN = {"connector": "webhook", "order_id": "o1", "visitor": "visitor of o1"}
# What changes because somebody looks.
VOLATILE = ("last_used_at", "last_used_from", "calls_24h", "errors_24h", "said")

UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
NOBODY = "01a1fbf7-086b-7ab2-9996-26a150972041"
Operation = dict[str, Any]


class Hub:
    """The installation, two workspaces in it with the same things in each, and what /openapi.json says."""

    def __init__(self, served: Any, document: Operation) -> None:
        self.served = served
        self.document = document
        self.operations: list[tuple[str, str, Operation]] = [
            (method.upper(), path.removeprefix(ADMIN), operation)
            for path, methods in document["paths"].items()
            if path.startswith(ADMIN)
            for method, operation in methods.items()
        ]
        self.lists = [path for method, path, _ in self.operations if method == "GET" and "{" not in path]

    async def call(self, method: str, path: str, body: Any = None, *, key: str) -> tuple[int, Any]:
        return await self.served.call(method, ADMIN + path, body, key=key)

    async def fill(self, key: str, order_id: str) -> None:
        """One of everything, by the examples."""
        wanted = [
            (path, example(operation))
            for method, path, operation in self.operations
            if method == "POST"
            and ("{" not in path or path.startswith("integration-catalog/"))
            and path not in OF_INSTALLATION
        ]
        # What names other things is made after them.
        for path, body in sorted(wanted, key=lambda one: bool(made_up(one[1]))):
            status, answer = await self.call("POST", concrete(path, KNOWN), await self.fitting(body, key), key=key)
            assert status in (200, 201), (path, answer)
        event = {"event": "purchase", "order_id": order_id, "visitor_id": f"visitor of {order_id}"}
        assert (await self.served.call("POST", "/v1/events", event, key=key))[0] == 202

    async def ids(self, path: str, key: str) -> list[str]:
        """Of the things that a path's parameter names: what the list before it shows."""
        head, _, rest = path.partition("/{")
        if (name := rest.partition("}")[0]) in KNOWN:
            return [KNOWN[name]]
        status, page = await self.call("GET", f"{head}?limit=500", key=key)
        found = [str(item["id"]) for item in page["items"]] if status == 200 else []
        assert found, f"no list gives a {name} for {path}: name one in KNOWN"
        return found

    async def fitting(self, body: Any, key: str) -> Any:
        """An example with ids of this workspace's own things in place of its made-up ones."""
        return body and body | {name: (await self.ids(f"{name}s/{{}}", key))[0] for name in made_up(body)}

    async def state(self, key: str) -> dict[str, Any]:
        """All that a workspace's lists show."""
        found: dict[str, Any] = {}
        for path in self.lists:
            status, page = await self.call("GET", path, key=key)
            assert status == 200, (path, page)
            found[path] = without(page, VOLATILE)
        return found


def example(operation: Operation) -> Any:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return None
    assert "example" in content, f"{operation['operationId']} has no example of its body"
    return content["example"]


def made_up(body: Any) -> list[str]:
    return [name for name, value in (body or {}).items() if isinstance(value, str) and re.fullmatch(UUID, value)]


def concrete(path: str, values: dict[str, str] | str) -> str:
    return re.sub(r"{(\w+)}", lambda found: values if isinstance(values, str) else values[found[1]], path)


def without(value: Any, names: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {name: without(inner, names) for name, inner in value.items() if name not in names}
    return [without(inner, names) for inner in value] if isinstance(value, list) else value


@pytest.fixture
async def hub(served: Any) -> Hub:
    return Hub(served, (await served.call("GET", "/openapi.json"))[1])


@pytest.fixture
async def neighbour(hub: Hub) -> dict[str, str]:
    """The other workspace's keys; both workspaces are filled."""
    owner = hub.served.keys.admin_key
    _, made = await hub.call("POST", "workspaces", {"name": "neighbour"}, key=owner)
    await hub.call("POST", "plans", {"name": "plan", "monthly_cap": 10}, key=owner)
    await hub.fill(made["admin_key"], "o2")
    await hub.fill(owner, KNOWN["order_id"])
    return made


async def test_nothing_of_another_workspace_is_reached_by_its_id(hub: Hub, neighbour: dict[str, str]) -> None:
    owner = hub.served.keys.admin_key
    targets = {path: await hub.ids(path, owner) for _, path, _ in hub.operations if "{" in path}
    before = await hub.state(owner)
    for method, path, operation in hub.operations:
        if "{" not in path or f"{method} {path}" in SHARED:
            continue
        for id_ in targets[path]:
            for key, expected in ((neighbour["admin_key"], {403, 404}), (neighbour["api_key"], {403})):
                status, answer = await hub.call(method, concrete(path, id_), example(operation), key=key)
                assert status in expected, (method, path, answer)
                assert len(id_) < 30 or id_ not in str(answer), (method, path, answer)
    assert await hub.state(owner) == before


async def test_no_list_shows_anything_of_another_workspace_however_it_is_narrowed(
    hub: Hub, neighbour: dict[str, str]
) -> None:
    theirs = neighbour["admin_key"]
    lists = {(path, "") for path in hub.lists if path not in OF_INSTALLATION}
    ids = {
        id_
        for path in hub.lists
        if path not in OF_INSTALLATION
        for item in (await hub.call("GET", f"{path}?limit=500", key=hub.served.keys.admin_key))[1].get("items", [])
        if "id" in item
        for id_ in [str(item["id"])]
        if len(id_) > 30
    }
    for method, path, operation in hub.operations:
        for parameter in operation.get("parameters", []):
            if method == "GET" and "{" not in path and parameter["schema"].get("format") == "uuid":
                lists |= {(path, f"?{parameter['name']}={id_}") for id_ in ids if len(id_) == 36}
    for path, query in sorted(lists):
        status, page = await hub.call("GET", path + query, key=theirs)
        assert status in (200, 403, 404, 422), (path, page)
        shown = str(page)
        assert not [id_ for id_ in ids if id_ in shown], (path, query)
        if query and status == 200:
            assert page["items"] == [], (path, query)


async def test_no_body_names_anything_of_another_workspace(hub: Hub, neighbour: dict[str, str]) -> None:
    theirs = neighbour["admin_key"]
    schemas = hub.document["components"]["schemas"]
    tried = 0
    for method, path, operation in hub.operations:
        if method not in ("POST", "PATCH", "PUT") or path.split("/")[0] in OF_INSTALLATION:
            continue
        if "requestBody" not in operation:
            continue
        ref = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        for name, schema in schemas[ref.rpartition("/")[2]]["properties"].items():
            kinds = [schema, *schema.get("anyOf", [])]
            if name in OF_INSTALLATION or not any(kind.get("format") == "uuid" for kind in kinds):
                continue
            where = concrete(path, (await hub.ids(path, theirs))[0]) if "{" in path else path
            for id_ in await hub.ids(f"{name}s/{{}}", hub.served.keys.admin_key):
                body = await hub.fitting(example(operation), theirs) | {name: id_}
                status, answer = await hub.call(method, where, body, key=theirs)
                assert status in (403, 404, 422), (method, path, name, answer)
                tried += 1
    assert tried


async def test_every_example_of_a_change_is_taken(hub: Hub, neighbour: dict[str, str]) -> None:
    owner = hub.served.keys.admin_key
    for method, path, operation in hub.operations:
        if "{" in path and "requestBody" in operation:
            where = concrete(path, (await hub.ids(path, owner))[0])
            status, answer = await hub.call(method, where, example(operation), key=owner)
            assert status in (200, 201, 202), (method, path, answer)


async def test_every_path_needs_a_key(hub: Hub) -> None:
    for method, path, operation in hub.operations:
        kinds = {one["name"]: one["schema"].get("type") for one in operation.get("parameters", [])}
        values = {name: "1" if kind == "integer" else NOBODY for name, kind in kinds.items()}
        for key in ("", "pb_live_none"):
            answer = await hub.call(method, concrete(path, values), example(operation), key=key)
            assert answer[0] == 401, (method, path, answer)
