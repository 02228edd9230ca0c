"""The browser tag's batches, in turn with native batches of as many like events. Rates of an address are off: all come
from one. Each batch is of one visitor, as the tag sends them, which is the same in all: its row is written again and
again, which is dearer than a new one."""

import json
from dataclasses import replace
from typing import Any

from bench import database, serve
from bench.intake import postback, sink, take_turns
from bench.plan import Plan
from bench.report import Report
from postback.db.embedded import Embedded

BATCH, CONNECTIONS, LEAST = 50, 16, 0.8
_PAGE: dict[str, Any] = {
    "event": "page_view", "event_id": "view-@id@", "url": "https://shop.example/boots?utm_source=newsletter",
    "properties": {"phone-like": "@phone@"},
}  # fmt: skip
_DEVICE = {"client_ip_address": "203.0.113.77", "client_user_agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/146.0"}
_WHO = {"visitor_id": "v_bench", "session_id": "s_bench"}
_MS = 1763600000000
_SEEN = {"fbp": f"fb.1.{_MS}.1098115397", "gclid": "Cj0KCQiA5NSdBhDfARIsALzs2ECm8nZ"}


async def measure(report: Report, plan: Plan, server: Embedded) -> None:
    async with sink() as sink_port:
        three = [serve.meta(sink_port), serve.ga4(sink_port), serve.webhook(sink_port)]
        deployment = await serve.install(server, "collect", three)
        about: dict[str, Any] = {"site_key": deployment.keys["site_key"], **_WHO}
        about["identifiers"] = {name: {"value": value, "first": _MS, "last": _MS} for name, value in _SEEN.items()}
        async with postback(deployment) as ours:
            native = _template(_PAGE | _WHO | {"user_data": _DEVICE, "click_ids": _SEEN})
            events = replace(ours, name="/v1/events", batch=replace(ours.batch, template=native))
            target = replace(ours.batch, path="/collect", template=_template(_PAGE), opening=_opening(about))
            collect = replace(ours, name="/collect", batch=target)
            results = await take_turns([events, collect], plan, plan.other_rounds, connections=CONNECTIONS, batch=BATCH)
    await database.drop(server, deployment.database)
    measured = f"posts of {BATCH} page views, {CONNECTIONS} connections"
    report.add_rate(measured, "Postback: /v1/events", results["/v1/events"])
    row = report.add_rate(measured, "Postback: /collect", results["/collect"])
    row.at_least(results["/collect"].per_second / results["/v1/events"].per_second, LEAST, "/v1/events", percent=True)


def _template(event: dict[str, Any]) -> str:
    return json.dumps(event, separators=(",", ":"))


def _opening(about: dict[str, Any]) -> str:
    return json.dumps(about, separators=(",", ":"))[:-1] + ","
