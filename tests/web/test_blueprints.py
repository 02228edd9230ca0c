"""Blueprints over HTTP: written, refused, listed, rolled back, tried; and events then go by them."""

from typing import Any

import psycopg
import pytest

CATALOG = "/v1/admin/integration-catalog"
META = {"dataset_id": "1234567890", "access_token": "EAABsecrettoken"}
PURCHASES = {"rules": [{"event": "purchase", "to": "Purchase", "filter": "value >= 10.0"}]}
MARGIN = {"rules": [{"event": "purchase", "value": {"kind": "property", "name": "margin"}}, {"event": "*"}]}
BUYER = {"user_data": {"email": "jo@example.com"}, "action_source": "email"}


async def installed(served: Any, connector: str = "meta", config: dict[str, Any] = META) -> str:
    body = {"name": "mine", "config": config}
    status, destination = await served.call("POST", f"{CATALOG}/{connector}/install", body)
    assert status == 201, destination
    return f"/v1/admin/destinations/{destination['id']}"


async def write(served: Any, path: str, blueprint: Any) -> Any:
    status, destination = await served.call("PATCH", path, {"blueprint": blueprint})
    assert status == 200, destination
    return destination


async def post(served: Any, name: str, **more: Any) -> Any:
    status, receipt = await served.call("POST", "/v1/events", {"event": name, **BUYER, **more})
    assert status == 202, receipt
    return receipt


async def test_the_catalog_shows_each_connectors_default(served: Any) -> None:
    _, meta = await served.call("GET", f"{CATALOG}/meta")
    assert {"event": "purchase", "to": "Purchase"} in meta["blueprint"]["rules"]
    assert meta["blueprint"]["rules"][-1] == {"event": "*"}
    _, webhook = await served.call("GET", f"{CATALOG}/webhook")
    assert webhook["blueprint"] == {"rules": [{"event": "*"}]}


async def test_a_new_destination_has_its_connectors_default_as_version_0(served: Any) -> None:
    path = await installed(served)
    _, entry = await served.call("GET", f"{CATALOG}/meta")
    _, destination = await served.call("GET", path)
    assert (destination["blueprint"], destination["blueprint_version"]) == (entry["blueprint"], 0)
    _, live = await served.call("GET", f"{path}/blueprint")
    assert live == {"version": 0, "blueprint": entry["blueprint"], "created_at": None, "created_by": None}
    _, versions = await served.call("GET", f"{path}/blueprints")
    assert versions == {"items": [], "next_cursor": None}


async def test_what_is_written_is_shown_and_holds_for_the_next_event(served: Any) -> None:
    path = await installed(served)
    destination = await write(served, path, PURCHASES)
    assert (destination["blueprint"], destination["blueprint_version"]) == (PURCHASES, 1)
    assert destination["name"] == "mine"
    lead = (await post(served, "lead"))["destinations"][0]
    assert (lead["status"], lead["reason"]) == ("skipped", "not mapped: the blueprint has no rule for lead")
    # A filter is judged when the delivery is prepared, after the visitor is joined.
    purchase = (await post(served, "purchase", value=5, currency="EUR"))["destinations"][0]
    assert purchase["status"] == "queued"


async def test_a_dry_run_shows_what_the_blueprint_makes(served: Any) -> None:
    path = await installed(served)
    await write(served, path, MARGIN)
    event = {"event": "purchase", "value": 100, "currency": "EUR", "properties": {"margin": 12.345}, **BUYER}
    _, shown = await served.call("POST", "/v1/events?dry_run=1", event)
    data = shown["destinations"][0]["request"]["body"]["data"][0]
    assert data["custom_data"]["value"] == 12.35


async def test_the_same_blueprint_again_is_no_new_version(served: Any) -> None:
    path = await installed(served)
    await write(served, path, PURCHASES)
    assert (await write(served, path, PURCHASES))["blueprint_version"] == 1
    assert (await write(served, path, MARGIN))["blueprint_version"] == 2


async def test_versions_are_listed_newest_first_with_who_wrote_them(served: Any) -> None:
    path = await installed(served)
    for blueprint in (PURCHASES, MARGIN, None):
        await write(served, path, blueprint)
    _, page = await served.call("GET", f"{path}/blueprints?limit=2")
    assert [one["version"] for one in page["items"]] == [3, 2]
    assert page["items"][1]["blueprint"] == MARGIN
    assert page["items"][0]["blueprint"]["rules"][-1] == {"event": "*"}
    assert page["items"][0]["created_by"].startswith("key ")
    assert page["items"][0]["created_at"]
    _, rest = await served.call("GET", f"{path}/blueprints?limit=2&cursor={page['next_cursor']}")
    assert ([one["version"] for one in rest["items"]], rest["next_cursor"]) == ([1], None)


async def test_a_roll_back_makes_an_earlier_version_live_again(served: Any) -> None:
    path = await installed(served)
    for blueprint in (PURCHASES, MARGIN):
        await write(served, path, blueprint)
    status, live = await served.call("POST", f"{path}/blueprint/rollback")
    assert status == 200
    assert (live["version"], live["blueprint"]) == (3, PURCHASES)
    assert (await served.call("GET", f"{path}/blueprint"))[1] == live
    assert (await post(served, "lead"))["destinations"][0]["status"] == "skipped"
    _, live = await served.call("POST", f"{path}/blueprint/rollback", {"version": 0})
    assert live["version"] == 4
    assert (await post(served, "lead"))["destinations"][0]["status"] == "queued"


async def test_a_change_and_a_roll_back_are_written_down(served: Any) -> None:
    path = await installed(served)
    await write(served, path, PURCHASES)
    await served.call("POST", f"{path}/blueprint/rollback", {"version": 0})
    _, entries = await served.call("GET", "/v1/admin/audit?noun=destination")
    back, written, _ = entries["items"]
    assert (back["before"]["blueprint"], back["after"]["blueprint_version"]) == (PURCHASES, 2)
    assert (written["action"], written["after"]["blueprint"]) == ("changed", PURCHASES)
    _, versions = await served.call("GET", f"{path}/blueprints")
    assert {version["created_by"] for version in versions["items"]} == {back["actor"]}


async def test_a_blueprint_is_not_written_over_what_was_not_seen(served: Any) -> None:
    path = await installed(served)
    await write(served, path, PURCHASES)
    status, _ = await served.call("PATCH", path, {"blueprint": MARGIN}, headers={"If-Match": '"another"'})
    assert status == 412
    assert (await served.call("GET", path))[1]["blueprint"] == PURCHASES


async def test_there_is_nothing_to_go_back_to_at_first_nor_beyond_what_there_is(served: Any) -> None:
    path = await installed(served)
    status, answer = await served.call("POST", f"{path}/blueprint/rollback")
    assert (status, answer["error"]["code"]) == (409, "conflict")
    await write(served, path, PURCHASES)
    status, answer = await served.call("POST", f"{path}/blueprint/rollback", {"version": 7})
    assert (status, answer["error"]["field"]) == (422, "version")
    assert answer["error"]["message"] == "There is no version 7; the newest is 1."


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        ([], "blueprint.rules"),
        ([{"event": "lead", "filter": "nme == 'x'"}], "blueprint.rules[0].filter"),
        ([{"event": "*"}, {"event": "lead", "filtre": "true"}], "blueprint.rules[1].filtre"),
        ([{"to": "Lead"}], "blueprint.rules[0].event"),
        ([{"event": "lead", "value": {"kind": "double"}}], "blueprint.rules[0].value.kind"),
        (
            [{"event": "lead", "value": {"kind": "fixed", "amount": "1", "currency": "EUR"}}],
            "blueprint.rules[0].value.amount",
        ),
        ([{"event": "lead", "value": {"kind": "fixed", "amount": 1}}], "blueprint.rules[0].value.currency"),
        ([{"event": "lead", "consent": ["marketing"]}], "blueprint.rules[0].consent[0]"),
        (
            [{"event": "lead", "fields": {"properties.x": "user.email_sha256"}}],
            "blueprint.rules[0].fields.properties.x",
        ),
        (
            [{"event": "lead", "constants": {"properties.x": "jo@example.com"}}],
            "blueprint.rules[0].constants.properties.x",
        ),
        ([{"event": "lead\x00"}], "blueprint.rules[0].event"),
        ([{"event": "*"}] * 101, "blueprint.rules"),
    ],
)
async def test_what_cannot_hold_is_refused_and_changes_nothing(served: Any, rules: list[Any], field: str) -> None:
    path = await installed(served)
    for method, target in (("PATCH", path), ("POST", f"{path}/test")):
        status, answer = await served.call(method, target, {"blueprint": {"rules": rules}})
        assert (status, answer["error"]["field"]) == (422, field), answer
    _, destination = await served.call("GET", path)
    assert destination["blueprint_version"] == 0


async def test_a_draft_is_run_over_the_last_events_and_nothing_is_sent_or_written(served: Any) -> None:
    path = await installed(served)
    await post(served, "page_view")
    await post(served, "purchase", value=100, currency="EUR", properties={"margin": 40}, event_id="o-1")
    await post(served, "purchase", value=5, currency="EUR", event_id="o-2")
    draft = {
        "rules": [{"event": "purchase", "filter": "value > 10.0", "value": {"kind": "property", "name": "margin"}}]
    }
    status, tried = await served.call("POST", f"{path}/test", {"blueprint": draft, "last": 2})
    assert status == 200, tried
    assert tried["changed"] == 2
    small, great = tried["events"]
    assert (small["event"]["event_id"], great["event"]["event_id"]) == ("o-2", "o-1")
    assert (small["live"]["status"], small["draft"]["status"]) == ("queued", "skipped")
    assert small["draft"]["reason"] == "not mapped: no filter of the blueprint holds for this purchase"
    place = "request.body.data[0].custom_data.value"
    assert great["changes"] == [{"path": place, "live": 100, "draft": 40}]
    assert META["access_token"] not in str(tried)
    _, destination = await served.call("GET", path)
    assert destination["blueprint_version"] == 0
    with psycopg.connect(served.dsn.reveal()) as conn:
        assert conn.execute("SELECT count(*) FROM attempt").fetchone() == (0,)
        assert conn.execute("SELECT DISTINCT status FROM delivery").fetchall() == [("queued",)]


async def test_where_no_event_came_in_there_is_nothing_to_try(served: Any) -> None:
    path = await installed(served)
    assert await served.call("POST", f"{path}/test", {"blueprint": PURCHASES}) == (200, {"changed": 0, "events": []})


async def test_the_events_to_try_can_be_those_of_one_name(served: Any) -> None:
    path = await installed(served)
    for name in ("purchase", "lead", "lead"):
        await post(served, name, value=1, currency="EUR")
    _, tried = await served.call("POST", f"{path}/test", {"event": "purchase"})
    assert [one["event"]["name"] for one in tried["events"]] == ["purchase"]
    assert tried["changed"] == 0
    _, tried = await served.call("POST", f"{path}/test", {"blueprint": {"rules": [{"event": "lead", "to": "Contact"}]}})
    assert [one["changes"][0]["path"] for one in tried["events"] if one["event"]["name"] == "lead"] == [
        "request.body.data[0].event_name"
    ] * 2


async def test_a_draft_sees_what_the_visitor_adds(served: Any) -> None:
    path = await installed(served)
    await post(served, "page_view", visitor_id="v-1", click_ids={"fbp": "fb.1.1700000000000.1234567890"})
    await post(served, "lead", visitor_id="v-1")
    draft = {"rules": [{"event": "lead", "filter": "'fbp' in identifiers"}]}
    _, tried = await served.call("POST", f"{path}/test", {"blueprint": draft, "event": "lead"})
    assert [one["draft"]["status"] for one in tried["events"]] == ["queued"]


@pytest.mark.parametrize(
    "call", [("GET", "blueprint"), ("GET", "blueprints"), ("POST", "blueprint/rollback"), ("POST", "test")]
)
async def test_a_destination_that_is_not_there_has_no_blueprint(served: Any, call: tuple[str, str]) -> None:
    method, what = call
    body = {} if method == "POST" else None
    path = "/v1/admin/destinations/00000000-0000-0000-0000-000000000001"
    status, _ = await served.call(method, f"{path}/{what}", body)
    assert status == 404
