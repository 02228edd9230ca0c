"""`/v1/admin/goals`: numbered, by events or a filter; a default value that is not 0 is none."""

from typing import Any

import pytest

GOALS = "/v1/admin/goals"


async def made(served: Any, **fields: Any) -> Any:
    status, goal = await served.call("POST", GOALS, {"name": "Trials", **fields})
    assert status == 201, goal
    return goal


async def test_a_new_goal_has_a_number_and_is_the_first_sites(served: Any) -> None:
    goal = await made(served, events=["start_trial"])
    assert isinstance(goal["id"], int)
    assert goal | {"id": 0} == {
        "id": 0, "site": served.keys.site, "name": "Trials", "events": ["start_trial"], "filter": None,
        "default_value": None, "currency": None, "active": True, "window_days": None, "direct_rule": "product",
    }  # fmt: skip
    assert await served.call("GET", f"{GOALS}/{goal['id']}") == (200, goal)
    assert (await served.call("GET", GOALS))[1]["items"][-1] == goal


async def test_numbers_are_not_given_again(served: Any) -> None:
    first = await made(served)
    assert (await served.call("DELETE", f"{GOALS}/{first['id']}"))[0] == 204
    assert (await made(served))["id"] > first["id"]


async def test_events_are_named_as_after_aliases(served: Any) -> None:
    goal = await made(served, events=["Order Completed", "purchase", "Quiz Done"])
    assert goal["events"] == ["purchase", "Quiz Done"]


@pytest.mark.parametrize("value", [0, 0.0, 12.5, 1e3, None])
async def test_a_default_value_of_none_is_not_0(served: Any, value: float | None) -> None:
    goal = await made(served, default_value=value)
    assert goal["default_value"] == value
    assert (goal["default_value"] is None) == (value is None)


async def test_a_change_leaves_what_it_does_not_name_and_null_takes_away(served: Any) -> None:
    goal = await made(served, default_value=5, currency="eur", filter="value > 10", window_days=30)
    assert goal["currency"] == "EUR"
    path = f"{GOALS}/{goal['id']}"
    assert await served.call("PATCH", path, {"active": False}) == (200, goal | {"active": False})
    _, bare = await served.call("PATCH", path, {"default_value": None, "filter": None, "window_days": None})
    assert bare == goal | {"active": False, "default_value": None, "filter": None, "window_days": None}
    assert (await served.call("GET", path))[1] == bare


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"events": [""]}, "events[0]"),
        ({"events": ["x" * 101]}, "events[0]"),
        ({"events": "purchase"}, "events"),
        ({"filter": ""}, "filter"),
        ({"filter": "   "}, "filter"),
        ({"filter": "x" * 1001}, "filter"),
        ({"filter": "valeu > 10.0"}, "filter"),
        ({"filter": "value + 1.0"}, "filter"),
        ({"default_value": "12.50"}, "default_value"),
        ({"default_value": -1}, "default_value"),
        ({"default_value": 1.234}, "default_value"),
        ({"default_value": 1.5, "currency": "JPY"}, "default_value"),
        ({"currency": "gold"}, "currency"),
        ({"active": "yes"}, "active"),
        ({"window_days": 0}, "window_days"),
        ({"direct_rule": "none"}, "direct_rule"),
    ],
)
async def test_a_field_that_cannot_be_used_is_named_and_changes_nothing(served: Any, sent: Any, field: str) -> None:
    _, before = await served.call("GET", GOALS)
    path = f"{GOALS}/{before['items'][0]['id']}"
    for method, where, body in (("POST", GOALS, {"name": "x", **sent}), ("PATCH", path, sent)):
        status, answer = await served.call(method, where, body)
        assert (status, answer["error"]["field"]) == (422, field)
    assert (await served.call("GET", GOALS))[1] == before


async def test_a_site_that_is_not_the_workspaces_own_is_named(served: Any) -> None:
    _, other = await served.call("POST", "/v1/admin/workspaces", {"name": "other"})
    status, body = await served.call("POST", GOALS, {"name": "x", "site": other["site"]})
    assert (status, body["error"]["field"]) == (422, "site")


@pytest.mark.parametrize("number", [0, 999_999, 2**63, 10**30])
async def test_a_number_that_no_goal_has_is_404(served: Any, number: int) -> None:
    for method in ("GET", "PATCH", "DELETE"):
        body = {} if method == "PATCH" else None
        assert (await served.call(method, f"{GOALS}/{number}", body))[0] == 404
