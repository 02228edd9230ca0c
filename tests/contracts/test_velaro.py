"""Velaro's tables over HTTP: what gets recorded, the errors, the troubleshooting. Each test is named after its row."""

from typing import Any

import psycopg

from tests.contracts.clients import cap, made, newest, run_curl, sold

PATH = "/Conversions/record"


async def record(served: Any, body: object, **more: Any) -> tuple[int, Any]:
    return await served.call("POST", more.pop("path", PATH), body, key=more.pop("key", served.keys.api_key), **more)


def is_refusal(answer: Any, *words: str) -> bool:
    return answer.keys() == {"success", "error"} and not answer["success"] and all(w in answer["error"] for w in words)


async def test_the_path_is_taken_in_any_case_of_its_letters(served: Any, goal: int) -> None:
    for path in ("/conversions/record", "/CONVERSIONS/RECORD", "/Conversions/Record"):
        status, answer = await record(served, {"goalId": goal}, path=path)
        assert (status, answer["success"]) == (200, True)
        async with served.http.get(served.url + path) as other:
            assert (other.status, other.headers["Allow"]) == (405, "POST")


async def test_field_goal_id_is_required_and_a_number(served: Any) -> None:
    for body in ({}, {"goalId": "123"}, {"goalId": None}, {"goalId": 1.5}, {"goalId": 0}, [{"goalId": 123}]):
        status, answer = await record(served, body)
        assert status == 400
        assert is_refusal(answer, "goalId") or (isinstance(body, list) and is_refusal(answer, "list"))


async def test_field_visitor_id_joins_the_session_of_the_browser(served: Any, goal: int) -> None:
    seen = {"event": "page_view", "visitor_id": "v-1", "session_id": "chat-1", "click_ids": {"gclid": "g-1"}}
    assert (await served.call("POST", "/v1/events", seen))[0] == 202
    await record(served, {"goalId": goal, "visitorId": "chat-1"})
    assert (await newest(served))["identifiers"] == {"gclid": "session"}
    await record(served, {"goalId": goal, "visitorId": "v-1"})
    assert (await newest(served))["identifiers"] == {"gclid": "visitor"}
    status, _ = await record(served, {"goalId": goal, "visitorId": "nobody yet"})
    assert status == 200
    status, answer = await record(served, {"goalId": goal, "visitorId": "x" * 257})
    assert (status, is_refusal(answer, "visitorId")) == (400, True)


async def test_field_amount_is_a_number_and_exact(served: Any, goal: int) -> None:
    status, _ = await record(served, b'{"goalId": 123, "amount": 99.10}', headers={"Content-Type": "application/json"})
    assert status == 200
    assert str((await newest(served))["value"]) == "99.1"
    for wrong in ("99.00", "a lot", -1, [1], True):
        status, answer = await record(served, {"goalId": goal, "amount": wrong})
        assert (status, is_refusal(answer, "amount")) == (400, True), wrong


async def test_field_amount_may_be_blank(served: Any, goal: int) -> None:
    for blank in ("", "  ", None):
        status, answer = await record(served, {"goalId": goal, "amount": blank})
        assert (status, answer["success"]) == (200, True)


async def test_field_integration_order_id_tells_a_repeat_of_the_same_goal(served: Any, goal: int) -> None:
    _, first = await record(served, {"goalId": goal, "integrationOrderId": "INV-1", "amount": 10})
    status, second = await record(served, {"goalId": goal, "integrationOrderId": "INV-1", "amount": 10})
    assert (status, first["duplicate"], second["duplicate"]) == (200, False, True)
    _, other = await record(served, {"goalId": goal, "integrationOrderId": "INV-2"})
    assert (other["success"], other["duplicate"]) == (True, False)


async def test_without_an_integration_order_id_each_post_is_a_new_conversion(served: Any, goal: int) -> None:
    posts = [await record(served, {"goalId": goal, **more}) for more in ({}, {}, {"integrationOrderId": ""})]
    assert [answer["duplicate"] for _, answer in posts] == [False] * 3
    assert len({answer["conversionId"] for _, answer in posts}) == 3


async def test_field_integration_source_is_a_label(served: Any, goal: int) -> None:
    status, _ = await record(served, {"goalId": goal, "integrationSource": "stripe"})
    assert status == 200
    status, answer = await record(served, {"goalId": goal, "integrationSource": 5})
    assert (status, is_refusal(answer, "integrationSource")) == (400, True)


async def test_a_site_id_in_the_body_is_ignored(served: Any, goal: int) -> None:
    for site in (999, "another", None, [1]):
        status, answer = await record(served, {"goalId": goal, "siteId": site})
        assert (status, answer["success"]) == (200, True)


async def test_error_401_the_key_is_missing_or_invalid(served: Any) -> None:
    status, answer = await run_curl("-X", "POST", served.url + PATH, "-d", "{}")
    assert (status, is_refusal(answer, "API key", "Authorization: Bearer")) == (401, True)
    status, answer = await record(served, {"goalId": 123}, key="vel_live_unknown")
    assert (status, is_refusal(answer, "key")) == (401, True)


async def test_troubleshooting_401_though_the_key_looks_right(served: Any) -> None:
    status, answer = await record(served, {"goalId": 123}, key="vel_test_staging")
    assert (status, is_refusal(answer, "test key", "live")) == (401, True)


async def test_troubleshooting_a_copied_key_with_white_space_around_it(served: Any) -> None:
    # What stands after the key is cut off by HTTP itself.
    status, answer = await record(served, {"goalId": 123}, key=f" {served.keys.api_key}")
    assert (status, is_refusal(answer, "white space", "copy")) == (401, True)


async def test_troubleshooting_worked_yesterday_but_the_key_was_revoked(served: Any, goal: int) -> None:
    _, made = await served.call("POST", "/v1/admin/keys", {"label": "shop", "scopes": ["ingest"], "prefix": "vel"})
    assert made["key"].startswith("vel_live_")
    assert (await record(served, {"goalId": goal}, key=made["key"]))[0] == 200
    await served.call("DELETE", f"/v1/admin/keys/{made['id']}")
    status, answer = await record(served, {"goalId": goal}, key=made["key"])
    assert (status, is_refusal(answer, "key")) == (401, True)


async def test_rotating_makes_a_replacement_and_ends_the_old_key(served: Any, goal: int) -> None:
    _, old = await served.call("POST", "/v1/admin/keys", {"label": "shop", "scopes": ["ingest"], "prefix": "vel"})
    _, new = await served.call("POST", f"/v1/admin/keys/{old['id']}/rotate", {})
    assert new["label"] == "shop"
    assert (await record(served, {"goalId": goal}, key=old["key"]))[0] == 401
    assert (await record(served, {"goalId": goal}, key=new["key"]))[0] == 200


async def test_field_amount_blank_or_absent_is_the_goals_configured_value(served: Any, goal: int) -> None:
    blanks: list[dict[str, Any]] = [{}, {"amount": None}, {"amount": ""}, {"amount": "  "}]
    for blank in blanks:
        assert (await record(served, {"goalId": goal} | blank))[0] == 200
    assert await sold(served) == [(goal, 40, "USD")] * len(blanks)


async def test_field_amount_0_is_kept_as_0(served: Any, goal: int) -> None:
    for amount in (0, 12.5):
        assert (await record(served, {"goalId": goal, "amount": amount}))[0] == 200
    assert [float(value) for _, value, _ in await sold(served)] == [0, 12.5]


async def test_a_goal_without_a_configured_value_records_a_conversion_without_one(served: Any) -> None:
    goal = await made(served, "goals", {"name": "Chat started"})
    assert (await record(served, {"goalId": goal["id"]}))[0] == 200
    assert await sold(served) == [(goal["id"], None, None)]


async def test_a_duplicate_answers_the_first_conversion_id_and_records_nothing(served: Any, goal: int) -> None:
    _, first = await record(served, {"goalId": goal, "integrationOrderId": "INV-1", "amount": 10})
    for amount in (10, 99, None):
        status, again = await record(served, {"goalId": goal, "integrationOrderId": "INV-1", "amount": amount})
        assert (status, again) == (200, first | {"duplicate": True})
    other = await made(served, "goals", {"name": "Another"})
    _, new = await record(served, {"goalId": other["id"], "integrationOrderId": "INV-1"})
    assert (new["duplicate"], new["conversionId"] != first["conversionId"]) == (False, True)
    assert [goal for goal, _, _ in await sold(served)] == [goal, other["id"]]


async def test_without_an_integration_order_id_each_post_is_recorded_under_the_id_that_is_answered(
    served: Any, goal: int
) -> None:
    answers = [(await record(served, {"goalId": goal}))[1]["conversionId"] for _ in range(3)]
    with psycopg.connect(served.dsn.reveal()) as conn:
        assert {str(id_) for (id_,) in conn.execute("SELECT id FROM conversion")} == set(answers)


async def test_it_fulfils_the_goal_that_it_names_alone(served: Any, goal: int) -> None:
    # The site's own goal `Leads` takes leads too.
    assert (await record(served, {"goalId": goal}))[0] == 200
    assert [goal for goal, _, _ in await sold(served)] == [goal]
    assert (await newest(served))["name"] == "lead"


async def test_error_403_the_key_is_bound_to_a_different_site_than_the_goal(served: Any, goal: int) -> None:
    other = await made(served, "sites", {"name": "Site B"})
    key = await made(served, "keys", {"label": "B", "scopes": ["ingest"], "site": other["id"], "prefix": "vel"})
    status, answer = await record(served, {"goalId": goal}, key=key["key"])
    assert (status, is_refusal(answer, "goalId", "another site")) == (403, True), answer
    assert await sold(served) == []


async def test_troubleshooting_403_even_with_a_valid_key_is_mended_by_one_of_the_goals_site(served: Any) -> None:
    other = await made(served, "sites", {"name": "Site B"})
    goal = await made(served, "goals", {"name": "Of B", "site": other["id"]})
    for site, expected in ((served.keys.site, 403), (other["id"], 200)):
        key = await made(served, "keys", {"label": site, "scopes": ["ingest"], "site": site, "prefix": "vel"})
        assert (await record(served, {"goalId": goal["id"]}, key=key["key"]))[0] == expected
    # A key of no site records those of any.
    assert (await record(served, {"goalId": goal["id"]}))[0] == 200


async def test_error_400_the_goal_does_not_exist_is_disabled_or_another_workspaces_in_the_same_words(
    served: Any, goal: int
) -> None:
    workspace = await made(served, "workspaces", {"name": "theirs"})
    _, theirs = await served.call("POST", "/v1/admin/goals", {"name": "Theirs"}, key=workspace["admin_key"])
    disabled = await made(served, "goals", {"name": "Off", "active": False})
    told: set[str] = set()
    for id_ in (999_999, disabled["id"], theirs["id"]):
        status, answer = await record(served, {"goalId": id_})
        assert (status, is_refusal(answer, "goalId", str(id_))) == (400, True), answer
        told.add(answer["error"].replace(str(id_), "N"))
    assert len(told) == 1
    assert await sold(served) == []


async def test_error_429_the_monthly_conversion_cap_is_reached(served: Any, goal: int) -> None:
    await cap(served, 2)
    body = {"goalId": goal, "integrationOrderId": "INV-1"}
    for sent in (body, body, {"goalId": goal}):
        assert (await record(served, sent))[0] == 200
    for _ in range(3):
        async with served.http.post(
            served.url + PATH, json={"goalId": goal}, headers={"Authorization": f"Bearer {served.keys.api_key}"}
        ) as sent:
            answer = await sent.json()
            assert (sent.status, is_refusal(answer, "2 billable events", "plan")) == (429, True), answer
            assert 0 < int(sent.headers["Retry-After"]) <= 31 * 24 * 3600
            assert "RateLimit-Limit" not in sent.headers
    assert len(await sold(served)) == 2


async def test_error_429_is_that_of_the_site_where_only_the_site_is_capped(served: Any, goal: int) -> None:
    plan = await made(served, "plans", {"name": "one", "monthly_cap": 1})
    site = await made(served, "sites", {"name": "Capped", "plan": plan["id"]})
    capped = await made(served, "goals", {"name": "There", "site": site["id"]})
    posts = [(await record(served, {"goalId": id_}))[0] for id_ in (capped["id"], capped["id"], goal, goal)]
    assert posts == [200, 429, 200, 200]
