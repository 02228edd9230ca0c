"""Variant `default`: the published document to the letter, one conversion a request to the address of the REST API."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct

from postback.connectors import (
    Connector,
    Delivered,
    Endpoint,
    Failed,
    Item,
    Outcome,
    Refused,
    Request,
    Response,
    Skipped,
    host,
    of_one,
    otherwise,
    said,
)
from postback.connectors.convert.goals import BLUEPRINT, IDENTIFIERS, bucketing_of, goal_and_visitor, notice
from postback.errors import Invalid
from postback.event import JoinedEvent
from postback.secret import Secret

HOST = "https://api.convert.com"

# Words of the published troubleshooting table, for whoever reads the delivery log.
KEY_FIX = "Generate a new API key in Account Settings > API Keys."
PROJECT_FIX = "Verify the project ID matches the value in your Convert dashboard URL."
BAD_FIX = "Check the delivery log for the full error message."
UNKNOWN_FIX = "It may have arrived, and sending it again may count it twice. Look there, then replay it by hand."

_ID = r"^[A-Za-z0-9_-]{1,64}\Z"


class Project(Struct, frozen=True, kw_only=True):
    """What both variants are configured with."""

    account_id: Annotated[
        Annotated[str, Meta(pattern=_ID)],
        Meta(title="Account id", description="On the overview page of Account Settings."),
    ]
    project_id: Annotated[
        Annotated[str, Meta(pattern=_ID)],
        Meta(title="Project id", description="In the project's settings, or in the URL of your Convert dashboard."),
    ]
    api_key: Annotated[
        Secret,
        Meta(title="API key", description="Account Settings > API Keys > Generate New API Key."),
    ]
    currency: Annotated[
        Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z")] | None,
        Meta(
            title="Project currency",
            description="Such as USD: events in another one are skipped, for Convert takes every amount as its own.",
            extra={"advanced": True},
        ),
    ] = None
    endpoint: Endpoint = None


class Config(Project, frozen=True, kw_only=True):
    goal_map: Annotated[
        dict[str, str | int] | None,
        Meta(
            title="Goals",
            description="Event name as sent, standard name, or page (a URL, or a path such as /thanks or /shop/*) to "
            "goal id. Without it Convert is sent the event's name, of a page view its URL, and matches it itself.",
        ),
    ] = None

    def __post_init__(self) -> None:
        for name, goal in (self.goal_map or {}).items():
            if not name or not str(goal):
                raise Invalid("goal_map maps event names to goal ids, neither of them empty.", field="config.goal_map")


def build(event: JoinedEvent, config: Config, now: datetime) -> Item | Skipped:
    """One conversion in the words of the published document."""
    if isinstance(found := goal_and_visitor(event, config.goal_map, config.currency), Skipped):
        return found
    goal_id, visitor_id = found
    body: dict[str, Any] = {"goal_id": goal_id, "visitor_id": visitor_id}
    if event.value:
        body["revenue"] = event.value.amount
    if event.order and event.order.id:
        body["transaction_id"] = event.order.id
    if bucketing := bucketing_of(event):
        body["bucketing"] = bucketing
    return Item(body, notice=notice(bucketing))


def pack(items: Sequence[Item], config: Config, now: datetime) -> Request:
    headers = {"authorization": f"Bearer {config.api_key}"}
    return Request(method="POST", url=_goals_url(config), json=items[0].body, headers=headers)


def interpret(response: Response, count: int) -> Outcome | list[Outcome]:
    """All or none of a request; which event was wrong is not said. 200 proves receipt alone."""
    answer, status = response.json, response.status
    words = said(answer.get("message"), answer.get("fields"), between=", ") if isinstance(answer, dict) else ""
    match status:
        case 401 | 403:
            return Refused(said(f"{status} authentication error: invalid API key", words), fix=KEY_FIX)
        case 404:
            return Refused(said("404 project not found: incorrect project ID", words), fix=PROJECT_FIX)
        case 400:
            return Failed(said("400 bad request", words), fix=BAD_FIX)
        case _ if 200 <= status < 300:
            if not response.body or (isinstance(answer, dict) and answer.get("code", 200) == 200):
                return Delivered("received; Convert does not say whether it was counted")
            # It may have been taken, so no halves of it are sent again.
            return [Failed(f"answered {status}, not in Convert's words", fix=UNKNOWN_FIX) for _ in range(count)]
        case _:
            return otherwise(response, words)


def probe(config: Config, now: datetime) -> Request:
    """Read the address that conversions are posted to."""
    return Request(method="GET", url=_goals_url(config), headers={"authorization": f"Bearer {config.api_key}"})


def interpret_probe(response: Response) -> Outcome:
    """Whether Convert answers there, and to this key. Convert's own programs do not post there, so it may well not."""
    match response.status:
        case 405:
            return Delivered("Convert answers at this address, which takes POST alone.")
        case 404:
            return Refused(
                "404 project not found: incorrect project ID, or Convert does not answer this account here",
                fix=f"{PROJECT_FIX} If it does, install the variant tracking.",
            )
        case _ if 200 <= response.status < 300 and response.json is not None:
            return Delivered("Convert knows the API key and the project.")
        case _:
            return of_one(interpret(response, 1))


def _goals_url(config: Config) -> str:
    return f"{host(config, HOST)}/v1/projects/{config.project_id}/goals"


DEFAULT = Connector(
    name="convert",
    title="Convert",
    about="Shows in Convert which variation of an experiment sold more: sales and goals by visitor.",
    category="analytics",
    config=Config,
    build=build,
    pack=pack,
    interpret=interpret,
    identifiers=IDENTIFIERS,
    blueprint=BLUEPRINT,
    docs="https://api.convert.com/doc/serving",
    consent=frozenset({"analytics"}),
    probe=probe,
    interpret_probe=interpret_probe,
)
