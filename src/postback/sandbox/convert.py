"""Convert: its tracking host, the address of the published document, and the public configuration, under one prefix.

    POST /v1/projects/{project}/goals      the document's: `{"goal_id", "visitor_id", "revenue", ...}`, with a bearer
    POST /v1/track/{sdk key}               the SDKs': visitors with events; dropped where the agent is no ConvertAgent/
    GET  /api/v1/config/{sdk key}          the project and its goals

A project id that begins with 404 is unknown. 200 `{"code", "message"}` proves receipt alone; what was dropped silently
is in the answer's `problems`. Errors: the status, and `{"code", "message", "fields"}`, for the whole request.
What the page leaves open is refused in tracking, as an unknown field; the document's body may hold more.
Source: reference/destinations/convert.md, read 2026-11-21.
"""

import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from postback.sandbox.platform import Answer, Platform, Problem, Refusal, Request, Unreadable, in_json, read

GOALS_PATH = re.compile(r"/v1/projects/([A-Za-z0-9_-]+)/goals").fullmatch
TRACK_PATH = re.compile(r"/v1/track/([A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*)").fullmatch
CONFIG_PATH = re.compile(r"/api/v1/config/([A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*)").fullmatch
AGENT = "ConvertAgent/"
UNKNOWN = "404"
MAX_EVENTS = 100  # no maximum is documented; the page's own cap
GOALS = (
    {"id": "100136097", "name": "Purchase", "key": "purchase", "type": "revenue", "rules": {}},
    {"id": "100136098", "name": "Thank-you page", "key": "thanks", "type": "visits_page", "rules": {}},
    {"id": "100136099", "name": "Form submitted", "key": "form", "type": "dom_interaction", "rules": {}},
    {"id": "100136100", "name": "Custom", "key": "custom", "type": "code_trigger", "rules": {}},
)

Text = Annotated[str, Meta(min_length=1)]
Number = Annotated[str, Meta(pattern=r"\A[0-9]+\Z")]
VisitorId = Annotated[str, Meta(pattern=r"\A(?![^\s@]+@[^\s@]+\Z)(?s:.+)\Z")]  # never an email address
Kind = TypeVar("Kind", bound=Struct)


class GoalData(Struct, frozen=True, forbid_unknown_fields=True):
    key: Literal[
        "amount", "productsCount", "transactionId", "customDimension1", "customDimension2", "customDimension3",
        "customDimension4", "customDimension5",
    ]  # fmt: skip
    value: int | float | str | list[str]


class Conversion(Struct, frozen=True, forbid_unknown_fields=True):
    goalId: Number  # noqa: N815  (Convert's own name, as all below)
    goalData: Annotated[list[GoalData], Meta(min_length=1)] | UnsetType = UNSET  # noqa: N815
    bucketingData: dict[Text, Text] | UnsetType = UNSET  # noqa: N815


class Bucketing(Struct, frozen=True, forbid_unknown_fields=True):
    experienceId: Text  # noqa: N815
    variationId: Text  # noqa: N815


class ConversionEvent(Struct, frozen=True, forbid_unknown_fields=True, tag_field="eventType", tag="conversion"):
    data: Conversion


class BucketingEvent(Struct, frozen=True, forbid_unknown_fields=True, tag_field="eventType", tag="bucketing"):
    data: Bucketing


class Segments(Struct, frozen=True):
    """Unknown keys are dropped."""

    browser: Literal["IE", "CH", "FF", "OP", "SF", "OTH"] | UnsetType = UNSET
    devices: list[Literal["ALLPH", "IPH", "OTHPH", "ALLTAB", "IPAD", "OTHTAB", "DESK", "OTHDEV"]] | UnsetType = UNSET
    source: Literal["campaign", "search", "referral", "direct", "ai_tool"] | UnsetType = UNSET
    campaign: str | UnsetType = UNSET
    visitorType: Literal["new", "returning"] | UnsetType = UNSET  # noqa: N815
    country: Annotated[str, Meta(pattern=r"\A[A-Z]{2}\Z")] | UnsetType = UNSET
    customSegments: list[str] | UnsetType = UNSET  # noqa: N815


class Visitor(Struct, frozen=True, forbid_unknown_fields=True):
    visitorId: VisitorId  # noqa: N815
    events: Annotated[list[ConversionEvent | BucketingEvent], Meta(min_length=1)]
    segments: Segments | UnsetType = UNSET


class Tracking(Struct, frozen=True, forbid_unknown_fields=True):
    accountId: Text  # noqa: N815
    projectId: Text  # noqa: N815
    visitors: Annotated[list[Visitor], Meta(min_length=1)]
    enrichData: bool | UnsetType = UNSET  # noqa: N815
    source: Text | UnsetType = UNSET


class Goal(Struct, frozen=True):
    """The document's goal conversion; its body may hold more."""

    goal_id: Text
    visitor_id: VisitorId
    revenue: Annotated[float, Meta(ge=0)] | UnsetType = UNSET
    transaction_id: Text | UnsetType = UNSET
    bucketing: dict[Text, Text] | UnsetType = UNSET


def answer(request: Request, now: float) -> Answer:
    """By the path: the document's address, the tracking host's, or the configuration's."""
    if found := GOALS_PATH(request.path):
        return _goal(request, found[1])
    if found := TRACK_PATH(request.path):
        return _track(request, found[1])
    if found := CONFIG_PATH(request.path):
        return _config(request, found[1])
    return _error(404, "Not found")


def refuse(request: Request, refusal: Refusal, now: float) -> Answer:
    """In the shape of Convert's errors."""
    match refusal:
        case "429":
            return _error(429, "Too many requests")
        case "500":
            return _error(500, "Internal server error")
        case "auth":
            return _error(401, "Unauthorized")
        case "reject_event":
            return _error(400, "Invalid request: an event of this request was refused on demand", "visitors")


def _goal(request: Request, project: str) -> Answer:
    if request.bearer is None:
        return _error(401, "Unauthorized")
    if project.startswith(UNKNOWN):
        return _error(404, "Project not found")
    if request.method == "GET":
        return in_json(200, {"code": 200, "goals": GOALS})
    if request.method != "POST":
        return _error(405, "Method not allowed")
    if isinstance(goal := _read(request, Goal), Answer):
        return goal
    return in_json(200, {"code": 200, "message": "OK"}, events=1)


def _track(request: Request, key: str) -> Answer:
    if request.method != "POST":
        return _error(405, "Method not allowed")
    if not request.headers.get("user-agent", "").startswith(AGENT):
        dropped = Problem("user-agent", "Not of the form ConvertAgent/1.0: taken for a bot.", "DROPPED")
        return in_json(200, {"code": 200, "message": "OK"}, problems=(dropped,))
    if _is_wrong_bearer(request):
        return _error(401, "Unauthorized")
    if key.rpartition("/")[2].startswith(UNKNOWN):
        return _error(404, "Project not found")
    if isinstance(sent := _read(request, Tracking), Answer):
        return sent
    if sent.projectId.startswith(UNKNOWN):
        return _error(404, "Project not found")
    account, slash, project = key.partition("/")
    if slash and (account, project) != (sent.accountId, sent.projectId):
        return _error(400, "Invalid request: not the account and the project of the address", "projectId")
    ids = [visitor.visitorId for visitor in sent.visitors]
    if len(set(ids)) < len(ids):
        return _error(400, "Invalid request: one entry for each visitor", "visitors")
    events = [event.data for visitor in sent.visitors for event in visitor.events]
    if len(events) > MAX_EVENTS:
        return _error(400, f"Invalid request: {len(events)} events", "visitors")
    for data in events:
        if isinstance(data, Conversion) and data.goalData is not UNSET and (wrong := _wrong_values(data.goalData)):
            return _error(400, f"Invalid request: {wrong}", "visitors")
    return in_json(200, {"code": 200, "message": "OK"}, events=len(events), problems=())


def _config(request: Request, key: str) -> Answer:
    if request.method != "GET":
        return _error(405, "Method not allowed")
    if _is_wrong_bearer(request):
        return _error(401, "Unauthorized")
    account, _, project = key.partition("/")
    if (project or account).startswith(UNKNOWN):
        return _error(404, "Project not found")
    return in_json(200, {"account_id": account, "project": {"id": project or key}, "goals": GOALS, "experiences": []})


def _read(request: Request, kind: type[Kind]) -> Kind | Answer:
    if request.media_type != "application/json":
        return _error(400, "Invalid request: not application/json", "body")
    try:
        return read(lambda raw: msgspec.json.decode(raw, type=kind), request.raw)
    except Unreadable as error:
        return _error(400, f"Invalid request: {error.what}", error.path or "body")


def _wrong_values(goal_data: list[GoalData]) -> str | None:
    keys = [one.key for one in goal_data]
    if len(set(keys)) < len(keys):
        return "a key of goalData stands twice"
    for one in goal_data:
        is_number = isinstance(one.value, int | float)
        if one.key in ("amount", "productsCount") and not is_number:
            return f"{one.key} is not a number"
        if one.key == "transactionId" and (is_number or not one.value):
            return "transactionId is not a text"
    return None


def _is_wrong_bearer(request: Request) -> bool:
    """None is needed where the key has no secret."""
    return "authorization" in request.headers and request.bearer is None


def _error(status: int, message: str, fields: str = "") -> Answer:
    told: dict[str, Any] = {"code": status, "message": message}
    return in_json(status, told | ({"fields": fields} if fields else {}))


PLATFORM = Platform("convert", answer, refuse)
