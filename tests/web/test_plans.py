"""`/v1/admin/plans` and who has one: made by the installation, read by any admin."""

from typing import Any

import pytest

PLANS, WORKSPACES, SITES = "/v1/admin/plans", "/v1/admin/workspaces", "/v1/admin/sites"
NOBODY = "01a1fbf7-086b-7ab2-9996-26a150972041"


async def made(served: Any, **fields: Any) -> Any:
    status, plan = await served.call("POST", PLANS, {"name": "Starter", "monthly_cap": 100, **fields})
    assert status == 201, plan
    return plan


async def test_a_plan_is_made_changed_and_removed(served: Any) -> None:
    plan = await made(served)
    assert plan | {"id": ""} == {"id": "", "name": "Starter", "monthly_cap": 100, "overage": False}
    path = f"{PLANS}/{plan['id']}"
    assert await served.call("PATCH", path, {"overage": True}) == (200, plan | {"overage": True})
    assert await served.call("GET", path) == (200, plan | {"overage": True})
    assert (await served.call("GET", PLANS))[1]["items"] == [plan | {"overage": True}]
    assert await served.call("DELETE", path) == (204, None)
    assert (await served.call("GET", path))[0] == 404


async def test_a_plan_in_use_stays_until_nothing_has_it(served: Any) -> None:
    plan = await made(served)
    path = f"{PLANS}/{plan['id']}"
    for owner in (f"{WORKSPACES}/{served.keys.workspace}", f"{SITES}/{served.keys.site}"):
        status, capped = await served.call("PATCH", owner, {"plan": plan["id"]})
        assert (status, capped["plan"]) == (200, plan["id"])
        assert (await served.call("GET", owner))[1] == capped
        assert (await served.call("DELETE", path))[0] == 409
        assert (await served.call("PATCH", owner, {}))[1] == capped
        assert (await served.call("PATCH", owner, {"plan": None}))[1]["plan"] is None
    assert (await served.call("DELETE", path))[0] == 204


async def test_a_removed_site_lets_its_plan_go(served: Any) -> None:
    plan = await made(served)
    _, site = await served.call("POST", SITES, {"name": "x", "plan": plan["id"]})
    assert site["plan"] == plan["id"]
    await served.call("DELETE", f"{SITES}/{site['id']}")
    assert (await served.call("DELETE", f"{PLANS}/{plan['id']}"))[0] == 204


async def test_a_plan_that_is_not_there_is_given_to_nobody(served: Any) -> None:
    status, body = await served.call("PATCH", f"{WORKSPACES}/{served.keys.workspace}", {"plan": NOBODY})
    assert (status, body["error"]["field"]) == (422, "plan")
    assert (await served.call("PATCH", f"{WORKSPACES}/{NOBODY}", {"plan": None}))[0] == 404


async def test_a_name_is_taken_once(served: Any) -> None:
    await made(served)
    other = await made(served, name="Large")
    for method, path in (("POST", PLANS), ("PATCH", f"{PLANS}/{other['id']}")):
        status, body = await served.call(method, path, {"name": "Starter", "monthly_cap": 1})
        assert (status, body["error"]["field"]) == (409, "name")


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"name": ""}, "name"),
        ({"monthly_cap": -1}, "monthly_cap"),
        ({"monthly_cap": 1.5}, "monthly_cap"),
        ({"monthly_cap": None}, "monthly_cap"),
        ({"monthly_cap": 10**13}, "monthly_cap"),
        ({"overage": 1}, "overage"),
    ],
)
async def test_a_field_that_cannot_be_used_is_named(served: Any, sent: Any, field: str) -> None:
    status, body = await served.call("POST", PLANS, {"name": "x", "monthly_cap": 1, **sent})
    assert (status, body["error"]["field"]) == (422, field)


async def test_only_the_installation_makes_plans_and_gives_them_any_admin_reads(served: Any) -> None:
    plan = await made(served)
    _, neighbour = await served.call("POST", WORKSPACES, {"name": "neighbour"})
    theirs, path = neighbour["admin_key"], f"{PLANS}/{plan['id']}"
    assert (await served.call("GET", PLANS, key=theirs))[1]["items"] == [plan]
    assert (await served.call("GET", path, key=theirs))[0] == 200
    for method, where, body in (
        ("POST", PLANS, {"name": "mine", "monthly_cap": 10**9}),
        ("PATCH", path, {"monthly_cap": 10**9}),
        ("DELETE", path, None),
        ("GET", WORKSPACES, None),
        ("PATCH", f"{WORKSPACES}/{neighbour['id']}", {"plan": None}),
    ):
        assert (await served.call(method, where, body, key=theirs))[0] == 403
    assert (await served.call("GET", PLANS))[1]["items"] == [plan]


async def test_workspaces_are_listed_oldest_first(served: Any) -> None:
    await served.call("POST", WORKSPACES, {"name": "second"})
    _, listed = await served.call("GET", WORKSPACES)
    assert [workspace["name"] for workspace in listed["items"]] == ["default", "second"]
    first = listed["items"][0]
    assert (first["id"], first["organization_id"], first["plan"]) == (
        served.keys.workspace, served.keys.organization_id, None,
    )  # fmt: skip
