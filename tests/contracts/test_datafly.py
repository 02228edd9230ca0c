"""Datafly's document from end to end: its install call, events by Segment's batch, the requests that reach Convert's
stand-in, and each row of its troubleshooting table caused and read in the delivery log."""

from typing import Any

import pytest

from tests.contracts.clients import all_settle_as, curl, logged
from tests.contracts.documents import FOLDER, curls, run
from tests.delivery.stand_ins import StandIn, StandIns

DATAFLY = ("http://localhost:8084", "YOUR_TOKEN")
INSTALL = "/v1/admin/integration-catalog/convert/install"
CONFIG = {"account_id": "10001234", "project_id": "20005678", "api_key": "your_api_key"}
GOALS = {
    "Order Completed": "100136097", "/thanks": "100136098", "Form Submitted": "100136099", "Video Watched": "100136100",
}  # fmt: skip
URL = "https://shop.example.com/thanks?order=7001"
BUCKETED = {"100218245": "100299457"}


@pytest.fixture
def convert(stand_ins: StandIns) -> StandIn:
    return stand_ins["convert"]


async def installed(served: Any, convert: StandIn, variant: str = "default", **config: Any) -> str:
    """The document's own call where it lies beside the tree, else the same of our own; then the stand-in's address."""
    body = {"name": "Convert", "variant": variant, "config": CONFIG | config, "delivery_mode": "server_side"}
    if FOLDER and body == {"name": "Convert", "variant": "default", "config": CONFIG, "delivery_mode": "server_side"}:
        [example] = curls("datafly_convert.txt")
        status, made = await run(example, served, DATAFLY, served.keys.admin_key)
    else:
        key = {"Authorization": f"Bearer {served.keys.admin_key}"}
        status, made = await curl(f"{served.url}{INSTALL}", body, key)
    assert (status, made["connector"], made["variant"], made["status"]) == (201, "convert", variant, "active"), made
    path = f"/v1/admin/destinations/{made['id']}"
    assert (await served.call("PATCH", path, {"config": {"endpoint": convert.endpoint}}))[0] == 200
    return path


@pytest.mark.parametrize("field", CONFIG)
async def test_field_is_required(served: Any, field: str) -> None:
    for config in ({name: value for name, value in CONFIG.items() if name != field}, CONFIG | {field: ""}):
        status, answer = await served.call("POST", INSTALL, {"name": "Convert", "variant": "default", "config": config})
        assert (status, answer["error"]["field"]) == (422, f"config.{field}"), answer


async def test_it_is_found_in_the_library_by_name_and_category_installed_and_uninstalled(
    served: Any, convert: StandIn
) -> None:
    for query in ("category=analytics&q=convert", "q=Convert"):
        _, library = await served.call("GET", f"/v1/admin/integration-catalog?{query}")
        [entry] = library["items"]
        fields = {field["name"]: field["secret"] for field in entry["fields"] if field["required"]}
        assert (entry["connector"], fields) == ("convert", {"account_id": False, "project_id": False, "api_key": True})
    path = await installed(served, convert)
    _, destination = await served.call("GET", path)
    assert destination["config"]["api_key"] == "[secret]"
    assert [rule["event"] for rule in destination["blueprint"]["rules"]] == ["page_view", "purchase", "lead", "*"]
    assert (await served.call("DELETE", path))[0] == 204
    assert (await served.call("GET", path))[0] == 404


def track(name: str, n: int = 0, **properties: Any) -> dict[str, Any]:
    return {"type": "track", "event": name, "messageId": f"{name} {n}", "properties": properties}


def order(n: int = 0) -> dict[str, Any]:
    line = {"product_id": "sku-1", "price": 59.9, "quantity": 1}
    return track("Order Completed", n, order_id=f"ord-700{n}", revenue=59.9, currency="USD", products=[line])


PAGE = {"type": "page", "messageId": "page 0", "properties": {"url": URL}}
FOUR = [PAGE, order(), track("Form Submitted"), track("Video Watched", seconds=30)]


async def send(served: Any, *messages: dict[str, Any], experiments: dict[str, str] | None = None) -> None:
    context = {"context": {"experiments": experiments}} if experiments else {}
    batch = [{"anonymousId": "v-3f9c2d"} | context | message for message in messages]
    status, answer = await served.call("POST", "/v1/batch", {"batch": batch}, key=served.keys.api_key)
    assert (status, answer) == (200, {"success": True})


async def test_events_reach_convert_by_name_and_url_as_the_document_maps_them(
    served: Any, convert: StandIn, worker: Any
) -> None:
    await installed(served, convert)
    await send(served, *FOUR, experiments=BUCKETED)
    async with worker:
        await all_settle_as(served, *["delivered"] * 4)
    requests = await convert.requests()
    assert {(r["method"], r["path"], r["status"]) for r in requests} == {
        ("POST", "/convert/v1/projects/20005678/goals", 200)
    }
    assert {r["headers"]["authorization"] for r in requests} == {"Bearer your_api_key"}
    who = {"visitor_id": "v-3f9c2d", "bucketing": BUCKETED}
    arrived = {request["body"]["goal_id"]: request["body"] for request in requests}
    assert arrived == {
        URL: who | {"goal_id": URL},
        "Order Completed": who | {"goal_id": "Order Completed", "revenue": 59.9, "transaction_id": "ord-7000"},
        "Form Submitted": who | {"goal_id": "Form Submitted"},
        "Video Watched": who | {"goal_id": "Video Watched"},
    }
    delivery = await logged(served, "Order Completed 0")
    assert (delivery["status"], delivery["reason"], delivery["fix"]) == ("delivered", None, None)
    [attempt] = delivery["attempts"]
    assert (attempt["status"], attempt["outcome"], attempt["response"]) == (
        200, "delivered", '{"code":200,"message":"OK"}',
    )  # fmt: skip
    assert attempt["request"]["body"] == arrived["Order Completed"]
    assert "your_api_key" not in str(delivery)


async def test_a_goal_map_names_the_goals_and_a_custom_event_may_be_the_goals_id(
    served: Any, convert: StandIn, worker: Any
) -> None:
    await installed(served, convert, goal_map=GOALS)
    await send(served, *FOUR, track("100136100"), experiments=BUCKETED)
    async with worker:
        await all_settle_as(served, *["delivered"] * 5)
    goals = sorted(request["body"]["goal_id"] for request in await convert.requests())
    assert goals == sorted([*GOALS.values(), "100136100"])


async def test_in_the_variant_tracking_the_four_reach_the_metrics_host_as_the_page_shows(
    served: Any, convert: StandIn, worker: Any
) -> None:
    await installed(served, convert, "tracking", goal_map=GOALS)
    await send(served, *FOUR, experiments=BUCKETED)
    async with worker:
        await all_settle_as(served, *["delivered"] * 4)
    told: list[dict[str, Any]] = []
    for request in await convert.requests():
        assert (request["path"], request["status"], request["problems"]) == (
            "/convert/v1/track/10001234/20005678", 200, [],
        )  # fmt: skip
        assert request["headers"]["user-agent"] == "ConvertAgent/1.0"
        assert "authorization" not in request["headers"]
        [visitor] = request["body"].pop("visitors")
        assert request["body"] == {
            "accountId": "10001234", "projectId": "20005678", "enrichData": True, "source": "js-sdk",
        }  # fmt: skip
        assert visitor["visitorId"] == "v-3f9c2d"
        told += visitor["events"]
    reached = [{"goalId": goal, "bucketingData": BUCKETED} for goal in GOALS.values()]
    worth = [
        {"key": "amount", "value": 59.9},
        {"key": "productsCount", "value": 1},
        {"key": "transactionId", "value": "ord-7000"},
    ]
    expected = [*reached, {"goalId": "100136097", "goalData": worth, "bucketingData": BUCKETED}]
    assert {event["eventType"] for event in told} == {"conversion"}
    assert sorted(map(str, (event["data"] for event in told))) == sorted(map(str, expected))


async def held(served: Any, worker: Any, event_id: str) -> dict[str, Any]:
    async with worker:
        await all_settle_as(served, "held")
    return await logged(served, event_id)


async def test_row_401_authentication_error_invalid_api_key(served: Any, convert: StandIn, worker: Any) -> None:
    await installed(served, convert)
    await convert.fault("auth")
    await send(served, order())
    delivery = await held(served, worker, "Order Completed 0")
    assert delivery["reason"] == "401 authentication error: invalid API key: Unauthorized"
    assert delivery["fix"] == "Generate a new API key in Account Settings > API Keys."
    attempt = delivery["attempts"][0]
    assert (attempt["outcome"], attempt["status"], attempt["response"]) == (
        "refused", 401, '{"code":401,"message":"Unauthorized"}',
    )  # fmt: skip


async def test_row_404_project_not_found_incorrect_project_id(served: Any, convert: StandIn, worker: Any) -> None:
    path = await installed(served, convert, project_id="40405678")
    await send(served, order())
    delivery = await held(served, worker, "Order Completed 0")
    assert delivery["reason"] == "404 project not found: incorrect project ID: Project not found"
    assert delivery["fix"] == "Verify the project ID matches the value in your Convert dashboard URL."
    _, destination = await served.call("GET", path)
    assert (destination["status"], destination["fix"]) == ("held", delivery["fix"])


async def test_row_no_conversions_recorded_goal_not_matched(served: Any, convert: StandIn, worker: Any) -> None:
    await installed(served, convert, goal_map=GOALS)
    await send(served, track("Signed Up"))
    async with worker:
        await all_settle_as(served, "skipped")
    delivery = await logged(served, "Signed Up 0")
    assert delivery["reason"] == "no goal matched"
    assert delivery["fix"] == (
        "Ensure the goal exists in Convert and the event name or properties match the goal trigger."
    )
    assert (delivery["attempts"], await convert.requests()) == ([], [])


async def test_row_revenue_not_appearing_revenue_goal_not_configured(
    served: Any, convert: StandIn, worker: Any
) -> None:
    await installed(served, convert, goal_map={"Form Submitted": "100136099"})
    await send(served, order())
    async with worker:
        await all_settle_as(served, "skipped")
    delivery = await logged(served, "Order Completed 0")
    assert delivery["reason"] == "no goal matched"
    assert delivery["fix"] == "Create a revenue goal in Convert and map the Order Completed event to it."


async def test_row_400_bad_request_malformed_request_payload(served: Any, convert: StandIn, worker: Any) -> None:
    await installed(served, convert)
    await convert.fault("reject_event", match="ord-7001")
    await send(served, order(0), order(1))
    async with worker:
        await all_settle_as(served, "delivered", "failed")
    delivery = await logged(served, "Order Completed 1")
    assert delivery["fix"] == "Check the delivery log for the full error message."
    assert delivery["reason"].startswith("400 bad request: Invalid request")
    [attempt] = delivery["attempts"]
    assert '"fields":"visitors"' in attempt["response"]
    assert attempt["request"]["body"]["transaction_id"] == "ord-7001"


async def test_row_events_sent_but_experiment_shows_no_data_visitor_not_bucketed(
    served: Any, convert: StandIn, worker: Any
) -> None:
    await installed(served, convert)
    await send(served, order())
    async with worker:
        await all_settle_as(served, "delivered")
    delivery = await logged(served, "Order Completed 0")
    assert delivery["reason"] == "not bucketed"
    assert delivery["fix"] == "Visitors must be assigned to an experiment variation before conversions are counted."
    [request] = await convert.requests()
    assert "bucketing" not in request["body"]
