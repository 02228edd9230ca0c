"""`/openapi.json` says what is true: every path is there, and no answer breaks what it says, whatever is sent.

Schemathesis makes up the requests, and reads its whole environment for each: it is given a small one. Left out is its
check that what fits the schema is accepted: no schema says which cursors a list gave, or that a time must lie ahead.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from postback.web.ingest import ROUTES, STATUS_PREFIX

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
WEBHOOK = {"name": "hook", "config": {"url": "http://127.0.0.1:9/hook"}}
CONFIG = """
[parameters]
"path.connector" = "webhook"
"path.key_id" = "{key}"
"path.destination_id" = "{destination}"
"path.event" = "{event}"
"path.delivery" = "{delivery}"
"path.event_id" = "e1"
"path.site_id" = "{site}"
"path.goal_id" = {goal}
"path.event_type_id" = "{event_type}"
"path.plan_id" = "{plan}"
"path.workspace_id" = "{workspace}"
"path.conversion" = "{conversion}"
"path.order_id" = "o1"
"path.member_id" = "{member}"
"path.replay_id" = "{replay}"
"path.backfill_id" = "{backfill}"
"path.visitor" = "v1"
"""


async def document(served: Any) -> dict[str, Any]:
    status, body = await served.call("GET", "/openapi.json")
    assert status == 200
    return body


async def test_every_route_is_described(served: Any) -> None:
    paths = set((await document(served))["paths"])
    assert {*ROUTES, "/collect"} < paths
    assert f"{STATUS_PREFIX}{{event_id}}" in paths
    assert {"/healthz", "/readyz", "/metrics", "/openapi.json", "/v1/admin/keys", "/v1/admin/ledger"} < paths


async def test_every_operation_has_a_name_of_its_own_a_summary_and_its_errors(served: Any) -> None:
    names: list[str] = []
    for path, methods in (await document(served))["paths"].items():
        for method, operation in methods.items():
            names.append(operation["operationId"])
            assert operation["summary"], (path, method)
            assert "405" in operation["responses"], (path, method)
            assert bool(operation["security"]) == path.startswith(("/v1", "/api", "/Conversions")), (path, method)
            if operation["security"]:
                assert {"401", "403", "503"} <= set(operation["responses"]), (path, method)
            if "requestBody" in operation:
                assert {"400", "408", "413", "415"} <= set(operation["responses"]), (path, method)
    assert len(names) == len(set(names))


async def test_a_field_bears_the_name_that_is_sent_and_a_shape_its_own(served: Any) -> None:
    shapes = (await document(served))["components"]["schemas"]
    assert {"from", "to"} < shapes["Period"]["properties"].keys()
    assert shapes["Tally"]["required"] == ["total", "may_count_twice", "complete"]
    assert shapes["Compared"]["required"] == ["now", "before"]


async def test_every_reference_leads_somewhere(served: Any) -> None:
    body = await document(served)

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(ref := value.get("$ref"), str):
                found: Any = body
                for step in ref.removeprefix("#/").split("/"):
                    found = found[step]
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(body)


@pytest.mark.long(60)
@pytest.mark.parametrize(
    ("with_key", "examples", "phases"), [(True, 6, "examples,coverage,fuzzing"), (False, 2, "examples,fuzzing")]
)  # without a key most is 401, whatever is sent
async def test_no_request_breaks_it(served: Any, tmp_path: Path, with_key: bool, examples: int, phases: str) -> None:
    admin = "/v1/admin"
    _, destination = await served.call("POST", f"{admin}/integration-catalog/webhook/install", WEBHOOK)
    _, key = await served.call("POST", f"{admin}/keys", {"label": "x", "scopes": ["ingest"]})
    await served.call(
        "POST", "/v1/events", {"event": "purchase", "event_id": "e1", "order_id": "o1", "visitor_id": "v1"}
    )
    _, conversions = await served.call("GET", f"{admin}/conversions")
    _, events = await served.call("GET", f"{admin}/events")
    _, deliveries = await served.call("GET", f"{admin}/deliveries")
    _, goals = await served.call("GET", f"{admin}/goals")
    _, event_type = await served.call("POST", f"{admin}/event-types", {"name": "quiz"})
    _, plan = await served.call("POST", f"{admin}/plans", {"name": "small", "monthly_cap": 10})
    _, replay = await served.call("POST", f"{admin}/replays", {})
    _, backfill = await served.call("POST", f"{admin}/backfills", {"destination": destination["id"]})
    _, members = await served.call("GET", f"{admin}/members")
    config = tmp_path / "schemathesis.toml"
    config.write_text(
        CONFIG.format(
            key=key["id"],
            destination=destination["id"],
            event=events["items"][0]["id"],
            delivery=deliveries["items"][0]["id"],
            site=served.keys.site,
            goal=goals["items"][0]["id"],
            event_type=event_type["id"],
            plan=plan["id"],
            workspace=served.keys.workspace,
            conversion=conversions["items"][0]["id"],
            replay=replay["id"],
            backfill=backfill["id"],
            member=members["items"][0]["id"],
        )
    )
    run = await asyncio.create_subprocess_exec(
        SCHEMATHESIS, "--config-file", config, "run", f"{served.url}/openapi.json", "--no-color",
        f"--max-examples={examples}", f"--phases={phases}", "--checks=all",
        "--exclude-checks=positive_data_acceptance", "--generation-database=none", "--warnings=off",
        *([f"--header=Authorization: Bearer {served.keys.admin_key}"] if with_key else []),
        cwd=tmp_path, env={"NO_PROXY": "127.0.0.1"}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await run.communicate()
    assert run.returncode == 0, said.decode()
