"""Variant `tracking`: what Convert's own SDKs speak, visitors with their conversions to the project's metrics host."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta
from msgspec.structs import replace

from postback.connectors import (
    Delivered,
    Failed,
    Item,
    Outcome,
    Refused,
    Request,
    Response,
    Skipped,
    encode,
    host,
    of_one,
)
from postback.connectors.convert.default import DEFAULT, Project
from postback.connectors.convert.default import interpret as interpret_default
from postback.connectors.convert.goals import IDENTIFIERS, bucketing_of, goal_and_visitor, notice
from postback.errors import Invalid
from postback.event import Event, JoinedEvent
from postback.secret import Secret

METRICS_HOST = "https://{}.metrics.convertexperiments.com"
CONFIG_HOST = "https://cdn-4.convertexperiments.com"
AGENT = "ConvertAgent/1.0"  # the metrics host answers any other with 200, and drops what it sent
MAX_ITEMS = 50  # of at most two of Convert's events each
MAX_GOALS_SHOWN = 20
SDK_FIX = "Check the SDK key and its secret; without a key, whether the project still takes its ids in place of one."

_GOAL_ID = re.compile(r"[0-9]{1,20}").fullmatch
_DIMENSIONS = tuple(f"customDimension{n}" for n in range(1, 6))


class TrackingConfig(Project, frozen=True, kw_only=True):
    goal_map: Annotated[
        dict[str, str | int],
        Meta(
            title="Goals",
            description="Event name as sent, standard name, or page (a URL, or a path such as /thanks or /shop/*) to "
            "goal id, a number. What it lacks is skipped. A probe lists the goals that there are.",
        ),
    ]
    sdk_key: Annotated[
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*\Z", max_length=200)] | None,
        Meta(title="SDK key", description="Of the project's environment; without it, the account and project ids."),
    ] = None
    sdk_key_secret: Annotated[
        Secret | None,
        Meta(title="SDK key secret", description="Where your SDK key has one."),
    ] = None
    force_multiple_transactions: Annotated[
        bool,
        Meta(
            title="Count every order",
            description="A visitor's further orders count as transactions; the goal itself is reached once.",
            extra={"advanced": True},
        ),
    ] = True
    source: Annotated[
        Annotated[str, Meta(min_length=1)],
        Meta(title="Source", description="What Convert is told of the sender.", extra={"advanced": True}),
    ] = "js-sdk"

    def __post_init__(self) -> None:
        if not self.goal_map or not all(name and _GOAL_ID(str(goal)) for name, goal in self.goal_map.items()):
            raise Invalid("goal_map maps event names to numeric goal ids, at least one.", field="config.goal_map")


def build(event: JoinedEvent, config: TrackingConfig, now: datetime) -> Item | Skipped:
    """One visitor with the event's one or two of Convert's: that the goal was reached, once a visitor, and what it was
    worth, once an order."""
    if isinstance(found := goal_and_visitor(event, config.goal_map, config.currency), Skipped):
        return found
    goal_id, visitor_id = found
    bucketing, worth = bucketing_of(event), _goal_data(event)
    is_forced = config.force_multiple_transactions and event.name == "purchase" and bool(event.order and event.order.id)
    if event.reached_before and not (worth and is_forced):
        return Skipped("goal reached before")
    told: list[dict[str, Any]] = []
    if not event.reached_before:
        told.append(_conversion({"goalId": goal_id}, bucketing))
    if worth:
        told.append(_conversion({"goalId": goal_id, "goalData": worth}, bucketing))
    visitor: dict[str, Any] = {"visitorId": visitor_id}
    if segments := _segments(event):
        visitor["segments"] = segments
    visitor["events"] = told
    return Item(visitor, size=len(encode(visitor)), notice=notice(bucketing))


def pack(items: Sequence[Item], config: TrackingConfig, now: datetime) -> Request:
    """One entry a visitor, whose events stand in an order of no meaning."""
    visitors: dict[str, dict[str, Any]] = {}
    for visitor in sorted((item.body for item in items), key=encode):
        known = visitors.get(visitor["visitorId"], {"events": []})
        visitors[visitor["visitorId"]] = known | visitor | {"events": [*known["events"], *visitor["events"]]}
    body = {
        "accountId": config.account_id,
        "projectId": config.project_id,
        "enrichData": True,  # Convert adds the bucketing that it knows of
        "source": config.source,
        "visitors": list(visitors.values()),
    }
    metrics = host(config, METRICS_HOST.format(config.project_id))
    headers = {"user-agent": AGENT, **_sdk_headers(config)}
    return Request(method="POST", url=f"{metrics}/v1/track/{_sdk_key(config)}", json=body, headers=headers)


def interpret(response: Response, count: int) -> Outcome | list[Outcome]:
    """As in the other variant, but the credential is the SDK key's."""
    match interpret_default(response, count):
        case Refused(reason) if response.status != 404:
            return Refused(reason.replace("API key", "SDK key or secret"), fix=SDK_FIX)
        case outcome:
            return outcome


def probe(config: TrackingConfig, now: datetime) -> Request:
    """Read the project's public configuration, with its goals."""
    headers = {"user-agent": AGENT, **_sdk_headers(config)}
    url = f"{host(config, CONFIG_HOST)}/api/v1/config/{_sdk_key(config)}"
    return Request(method="GET", url=url, headers=headers)


def interpret_probe(response: Response) -> Outcome:
    """The goals that a `goal_map` may name."""
    match response.json:
        case {"goals": [*goals]} if response.status == 200:
            shown = [f"{g.get('id')} {g.get('name')} ({g.get('type')})" for g in goals if isinstance(g, dict)]
            more = f" and {len(shown) - MAX_GOALS_SHOWN} more" if len(shown) > MAX_GOALS_SHOWN else ""
            return Delivered(f"Goals: {', '.join(shown[:MAX_GOALS_SHOWN]) or 'none'}{more}.")
        case _ if response.status == 200:
            return Failed("not a configuration of Convert's", fix="Check this destination's endpoint and SDK key.")
        case _:
            return of_one(interpret(response, 1))


def reaches(event: JoinedEvent, config: TrackingConfig) -> str | None:
    """Visitor and goal, as Convert counts them."""
    found = goal_and_visitor(event, config.goal_map, config.currency)
    return None if isinstance(found, Skipped) else "\0".join(found)


def _sdk_key(config: TrackingConfig) -> str:
    return config.sdk_key or f"{config.account_id}/{config.project_id}"


def _sdk_headers(config: TrackingConfig) -> dict[str, str]:
    return {"authorization": f"Bearer {config.sdk_key_secret}"} if config.sdk_key_secret else {}


def _conversion(data: dict[str, Any], bucketing: Mapping[str, str]) -> dict[str, Any]:
    if bucketing:
        data["bucketingData"] = dict(bucketing)
    return {"eventType": "conversion", "data": data}


def _goal_data(event: Event) -> list[dict[str, Any]]:
    worth: dict[str, Any] = {}
    if event.value:
        worth["amount"] = event.value.amount
    if event.order and event.order.items:
        worth["productsCount"] = event.order.pieces
    if event.order and event.order.id:
        worth["transactionId"] = event.order.id
    worth |= {key: text for key in _DIMENSIONS if isinstance(text := event.properties.get(key), str) and text}
    return [{"key": key, "value": value} for key, value in worth.items()]


def _segments(event: JoinedEvent) -> dict[str, str]:
    segments: dict[str, str] = {}
    if len(country := event.readable.get("country", "")) == 2:
        segments["country"] = country.upper()
    if (kind := event.properties.get("visitor_type")) in ("new", "returning"):
        segments["visitorType"] = kind
    return segments


TRACKING = replace(
    DEFAULT,
    variant="tracking",
    config=TrackingConfig,
    build=build,
    pack=pack,
    interpret=interpret,
    identifiers=IDENTIFIERS | {"country"},
    private=frozenset({"country"}),
    max_items=MAX_ITEMS,
    reaches=reaches,
    probe=probe,
    interpret_probe=interpret_probe,
    advice="Recommended: Convert's own SDKs speak so; none of its sources shows conversions at the other address.",
)
