"""Every fixture against its dialect. `fixtures/<dialect>.json` holds what goes in and what comes out, as data.

`parse`: a `body` (JSON as it stands there, or a text for what is no JSON), and the `events` it gives, without fields
at their default; an unusable one is `{"invalid": <field or null>}`; or the `error` that refuses the body. `answer`:
`results` (committed events, errors by class name), and the status and body of the answer; `refuse` the same of one error.
`dialect` names the value of the module, `DIALECT` where absent.
"""

import importlib
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from msgspec import Raw, Struct, structs

from postback import errors
from postback.dialects import Accepted, DestinationResult, Dialect
from postback.errors import Invalid, PostbackError
from postback.event import RawEvent


class Error(Struct, forbid_unknown_fields=True):
    error: str
    message: str
    field: str | None = None


class Refusal(Struct, forbid_unknown_fields=True):
    status: int
    field: str | None


class Receipt(Struct, forbid_unknown_fields=True):
    event_id: str
    id: str
    duplicate: bool
    destinations: list[DestinationResult]
    notes: tuple[str, ...] = ()
    conversion_id: str | None = None


class Parse(Struct, forbid_unknown_fields=True):
    fact: str
    body: Raw
    headers: dict[str, str] = {}
    single: bool = True
    events: list[dict[str, Any]] | None = None
    error: Refusal | None = None
    dialect: str = "DIALECT"

    def text(self) -> bytes:
        raw = bytes(self.body)
        return msgspec.json.decode(raw, type=str).encode() if raw.startswith(b'"') else raw


class Answered(Struct, forbid_unknown_fields=True):
    fact: str
    results: list[dict[str, Any]]
    single: bool
    status: int
    body: dict[str, Any]
    dialect: str = "DIALECT"


class Refused(Struct, forbid_unknown_fields=True):
    fact: str
    error: Error
    status: int
    body: dict[str, Any]
    dialect: str = "DIALECT"


class Fixture(Struct, forbid_unknown_fields=True):
    parse: list[Parse]
    answer: list[Answered]
    refuse: list[Refused]


FIXTURES = {
    path.stem: msgspec.json.decode(path.read_bytes(), type=Fixture)
    for path in sorted((Path(__file__).parent / "fixtures").glob("*.json"))
}
DEFAULTS = msgspec.json.decode(msgspec.json.encode(RawEvent(name="", dialect="")))


def cases(kind: str) -> list[Any]:
    return [
        pytest.param(dialect_of(name, case.dialect), case, id=f"{name}: {case.fact}")
        for name, fixture in FIXTURES.items()
        for case in getattr(fixture, kind)
    ]


def dialect_of(module: str, value: str) -> Dialect:
    return getattr(importlib.import_module(f"postback.dialects.{module}"), value)


def told(event: RawEvent | Invalid) -> dict[str, Any]:
    """An event's fields that are not at their default; an invalid one's field."""
    if isinstance(event, Invalid):
        assert event.field is None or event.field in event.message
        return {"invalid": event.field}
    fields = msgspec.json.decode(msgspec.json.encode(event))
    return {name: value for name, value in fields.items() if value != DEFAULTS[name]}


def result_of(sent: dict[str, Any]) -> Accepted | PostbackError:
    if "error" in sent:
        return error_of(msgspec.convert(sent, Error))
    receipt = msgspec.convert(sent, Receipt)
    ids = {"id": UUID(receipt.id).bytes}
    if receipt.conversion_id is not None:
        ids["conversion_id"] = UUID(receipt.conversion_id).bytes
    return Accepted(**structs.asdict(receipt) | ids)


def error_of(sent: Error) -> PostbackError:
    kind = getattr(errors, sent.error)
    more = {"retry_after_seconds": 1} if sent.error == "TooMany" else {}
    more |= {"field": sent.field} if sent.field else {}
    return kind(sent.message, **more)


@pytest.mark.parametrize(("dialect", "case"), cases("parse"))
def test_a_body_is_read_as_its_fixture_says(dialect: Dialect, case: Parse) -> None:
    if case.error:
        with pytest.raises(Invalid) as refused:
            dialect.parse(case.text(), case.headers)
        assert (refused.value.status, refused.value.field) == (case.error.status, case.error.field)
        assert refused.value.field is None or refused.value.field in refused.value.message
    else:
        parsed = dialect.parse(case.text(), case.headers)
        assert [told(event) for event in parsed.events] == case.events
        assert parsed.single is case.single


@pytest.mark.parametrize(("dialect", "case"), cases("answer"))
def test_results_are_answered_as_the_fixture_says(dialect: Dialect, case: Answered) -> None:
    answer = dialect.answer([result_of(result) for result in case.results], case.single)
    assert (answer.status, msgspec.json.decode(answer.body)) == (case.status, case.body)


@pytest.mark.parametrize(("dialect", "case"), cases("refuse"))
def test_an_error_is_refused_as_the_fixture_says(dialect: Dialect, case: Refused) -> None:
    answer = dialect.refuse(error_of(case.error))
    assert (answer.status, msgspec.json.decode(answer.body)) == (case.status, case.body)
