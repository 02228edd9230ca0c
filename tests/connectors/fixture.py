"""The fixtures, read, and what their cases say compared with what came out.

A fixture `fixtures/<connector>.json`: `config`, `now`, a base `event`; `build` cases (the event's fields laid over the
base, null removes one; what comes out as `request` with secrets masked, `item`, `events` of the item, what it `holds`
at least, what is to be `noticed` of it, or the reason it is `skipped`, and the `fix`); `interpret` cases, with
one outcome or a list; a `probe`'s request and what its answers mean; identifiers that do not leave themselves, with the
one that each `makes`. Under `variants`, by name, what is otherwise in a variant.
"""

import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from msgspec import Raw, Struct

from postback import secret
from postback.connectors import (
    ACCESS_TOKEN,
    Connector,
    Delivered,
    Failed,
    Refused,
    Request,
    Response,
    Retry,
    catalog,
    encode,
)
from postback.event import JoinedEvent

FIXTURES = Path(__file__).parent / "fixtures"
OUTCOMES = {kind.__name__: kind for kind in (Delivered, Retry, Failed, Refused)}
CONNECTORS = {
    name if one is connector else f"{name} {one.variant}": one
    for name, connector in catalog().items()
    for one in (connector, *connector.variants)
}


each_connector = pytest.mark.parametrize("connector", CONNECTORS.values(), ids=list(CONNECTORS))


class Expected(Struct, forbid_unknown_fields=True):
    method: str
    url: str
    json: Raw
    headers: dict[str, str] = {}


class BuildCase(Struct, forbid_unknown_fields=True, kw_only=True):
    name: str
    event: dict[str, Raw]
    config: dict[str, Any] = {}
    request: Expected | None = None
    item: Raw = Raw()
    events: Raw = Raw()
    holds: dict[str, Raw] = {}
    skipped: str | None = None
    fix: str | None = None
    noticed: str | None = None
    repeat_is_safe: bool | None = None
    max_age_hours: float | Literal["unsaid"] | None = "unsaid"


class Answer(Struct, forbid_unknown_fields=True):
    status: int
    headers: dict[str, str] = {}
    body: str = ""
    json: Raw = Raw()


class InterpretCase(Struct, forbid_unknown_fields=True):
    name: str
    response: Answer
    outcome: dict[str, dict[str, Any]] | list[dict[str, dict[str, Any]]]
    count: int = 1


class Probe(Struct, forbid_unknown_fields=True):
    request: Expected
    interpret: list[InterpretCase]


class Fixture(Struct, forbid_unknown_fields=True):
    source: str
    config: dict[str, Any]
    now: datetime
    event: dict[str, Raw]
    build: list[BuildCase]
    interpret: list[InterpretCase]
    probe: Probe | None = None
    makes: dict[str, str] = {}
    variants: dict[str, dict[str, Raw]] = {}


def fixture_of(connector: Connector) -> Fixture:
    given = msgspec.json.decode((FIXTURES / f"{connector.name}.json").read_bytes(), type=dict[str, Raw])
    if connector.variant != "default":
        given |= msgspec.json.decode(given["variants"], type=dict[str, dict[str, Raw]])[connector.variant]
    return msgspec.json.decode(msgspec.json.encode(given), type=Fixture)


def config_of(connector: Connector, values: dict[str, Any]) -> Any:
    return msgspec.convert(values, connector.config, dec_hook=secret.decode_hook)


def event_of(base: dict[str, Raw], over: dict[str, Raw]) -> JoinedEvent:
    fields = {name: value for name, value in (base | over).items() if bytes(value) != b"null"}
    return msgspec.json.decode(msgspec.json.encode(fields), type=JoinedEvent)


def plain(body: Any) -> Any:
    """As a receiver reads it, numbers to the digit."""
    encoded = bytes(body) if isinstance(body, Raw) else encode(body)
    return json.loads(encoded, parse_float=Decimal)


def masked(text: str, config: Struct) -> str:
    for one in secret.of(config):
        text = text.replace(one.stand_in, secret.MASK).replace(one.reveal(), secret.MASK)
    return text.replace(ACCESS_TOKEN, secret.MASK)


def assert_is(request: Request, expected: Expected, config: Struct) -> None:
    assert (request.method, masked(request.url, config)) == (expected.method, expected.url)
    assert {name: masked(value, config) for name, value in request.headers.items()} == expected.headers
    assert plain(Raw(masked(request.content().decode(), config).encode())) == plain(expected.json)
    assert plain(request.json) == plain(Raw(request.content()))


def outcome_of(expected: Any) -> Any:
    if isinstance(expected, list):
        return [outcome_of(one) for one in expected]
    [(kind, fields)] = expected.items()
    return msgspec.convert(fields, OUTCOMES[kind])


def response_of(answer: Answer) -> Response:
    return Response(answer.status, answer.headers, bytes(answer.json) if answer.json else answer.body.encode())


def cases(what: str) -> list[Any]:
    found: list[Any] = []
    for name, connector in CONNECTORS.items():
        if (FIXTURES / f"{connector.name}.json").exists():
            fixture = fixture_of(connector)
            cases = (fixture.probe.interpret if fixture.probe else []) if what == "probe" else getattr(fixture, what)
            for case in cases:
                found.append(pytest.param(connector, fixture, case, id=f"{name}: {case.name}"))
    return found
