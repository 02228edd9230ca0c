"""What both variants must know of an event: which of Convert's goals it reaches, who did, and in which experiments."""

import re
from collections.abc import Mapping
from urllib.parse import unquote

from postback.blueprint import Blueprint, Rule
from postback.connectors import Notice, Skipped, is_retraction
from postback.event import Event, JoinedEvent

IDENTIFIERS = frozenset({"convert_visitor_id", "conv_v", "external_id_sha256"})
# What an event is to Convert, where the destination's `goal_map` does not say otherwise.
BLUEPRINT = Blueprint(
    (
        Rule(event="page_view", note="A page visit: Convert finds the goal by page.url."),
        Rule(
            event="purchase",
            note="Revenue: Convert finds the goal by the name as sent; value and order.id go along.",
        ),
        Rule(event="lead", note="A click or engagement: Convert finds the goal by the name as sent."),
        Rule(event="*", note="A custom goal: Convert finds it by the name as sent."),
    )
)
# Words of the published troubleshooting table, for whoever reads the delivery log.
GOAL_FIX = "Ensure the goal exists in Convert and the event name or properties match the goal trigger."
REVENUE_FIX = "Create a revenue goal in Convert and map the Order Completed event to it."
BUCKETING_FIX = "Visitors must be assigned to an experiment variation before conversions are counted."
NO_GOAL, NOT_BUCKETED = "no goal matched", "not bucketed"

_PAGE = re.compile(r"/|https?://").match
_ORIGIN = re.compile(r"https?://[^/?#]*")
_QUERY = re.compile(r"[?#]")
_NOT_BUCKETED_VARIATION = "1"
# Of the cookie `_conv_v`: `exp:{100218245.{v.100299457-g.{...}}-100218246.{v.100299460-g.{}}}`.
_EXPERIENCES = re.compile(r"([0-9]+)\.\{v\.([0-9]+)").findall

GoalMap = Mapping[str, str | int]


def goal_and_visitor(event: JoinedEvent, goal_map: GoalMap | None, currency: str | None) -> tuple[str, str] | Skipped:
    """The goal's id and the visitor's; Skipped where there is no goal, nobody, or another money than the project's."""
    if is_retraction(event):
        return Skipped("no retraction")
    if not (goal_id := _goal_id(event, goal_map)):
        return Skipped(NO_GOAL, REVENUE_FIX if event.name == "purchase" else GOAL_FIX)
    if not (visitor_id := _visitor_id(event)):
        return Skipped("no visitor id", "Send visitor_id, or click_ids.convert_visitor_id, the id that Convert knows.")
    if currency and event.value and event.value.currency != currency:
        fix = f"Convert takes every amount as {currency}: send it in that currency."
        return Skipped(f"in {event.value.currency}, not in the project's currency", fix)
    return goal_id, visitor_id


def _goal_id(event: Event, goal_map: GoalMap | None) -> str | None:
    url = event.page.url if event.page and event.name == "page_view" else None
    if goal_map is None:
        return url if event.name == "page_view" else event.source_name
    goals = {name: str(goal) for name, goal in goal_map.items()}
    found = url and _page_goal(url, goals)
    found = found or goals.get(event.source_name) or goals.get(event.name)
    # By its id, where that is how the sender calls it.
    return found or (event.source_name if event.source_name in goals.values() else None)


def _page_goal(url: str, goals: Mapping[str, str]) -> str | None:
    """Of the pages that a URL matches, as a whole, without its query or by its path, the one that says most."""
    bare = _QUERY.split(url, maxsplit=1)[0]
    texts = {url}
    for text in (bare, _ORIGIN.sub("", bare)):
        texts |= {text.rstrip("/"), f"{text.rstrip('/')}/"}
    matching = [
        page
        for page in goals
        if _PAGE(page) and (page in texts or (page.endswith("*") and any(text.startswith(page[:-1]) for text in texts)))
    ]
    return goals[max(matching, key=len)] if matching else None


def _visitor_id(event: JoinedEvent) -> str | None:
    """Convert's own, by which it bucketed; else ours, which counts with the bucketing that goes along."""
    if sent := event.click_ids.get("convert_visitor_id"):
        return sent
    for part in unquote(event.click_ids.get("conv_v", "")).split("*"):
        name, _, value = part.partition(":")
        if name == "vi" and value not in ("", "1"):  # 1: anonymised, everybody's
            return value
    return event.visitor_id or event.session_id or event.user.get("external_id_sha256")


def bucketing_of(event: JoinedEvent) -> dict[str, str]:
    """Experience to variation: what the cookie says, and over it what was sent with the event."""
    cookie = unquote(event.click_ids.get("conv_v", ""))
    found = {
        experience: variation for experience, variation in _EXPERIENCES(cookie) if variation != _NOT_BUCKETED_VARIATION
    }
    return found | {
        experience: variation for experience, variation in event.experiments.items() if experience and variation
    }


def notice(bucketing: Mapping[str, str]) -> Notice | None:
    """Of a visitor of whom no bucketing is known."""
    return None if bucketing else Notice(NOT_BUCKETED, BUCKETING_FIX)
