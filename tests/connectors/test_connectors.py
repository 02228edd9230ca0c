"""Every fixture is run, and every connector that the catalog finds is held to the rules of connectors.

A fixture `fixtures/<connector>.json`: `config`, `now`, a base `event`; `build` cases (the event's fields laid over the
base, null removes one; what comes out as `request` with secrets masked, `item`, `events` of the item, what it `holds`
at least, what is to be `noticed` of it, or the reason it is `skipped`, and the `fix`); `interpret` cases, with
one outcome or a list; a `probe`'s request and what its answers mean; identifiers that do not leave themselves, with the
one that each `makes`. Under `variants`, by name, what is otherwise in a variant.
"""

import ast
import copy
import inspect
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, get_type_hints
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw, Struct
from msgspec.structs import replace

from postback import connectors, secret
from postback.connectors import (
    ACCESS_TOKEN,
    Connector,
    Delivered,
    Failed,
    Item,
    Refused,
    Request,
    Response,
    Retry,
    Skipped,
    catalog,
    encode,
)
from postback.event import (
    ACTION_SOURCES,
    CLICK_IDS,
    HASHED,
    IDENTIFIERS,
    READABLE,
    STANDARD_NAMES,
    Consent,
    JoinedEvent,
    Order,
    Page,
)
from postback.event import Item as Line
from postback.money import Money
from postback.secret import MASK

FIXTURES = Path(__file__).parent / "fixtures"
OUTCOMES = {kind.__name__: kind for kind in (Delivered, Retry, Failed, Refused)}
CONNECTORS = {
    name if one is connector else f"{name} {one.variant}": one
    for name, connector in catalog().items()
    for one in (connector, *connector.variants)
}
FEW = settings(max_examples=60)

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


def _fixture(connector: Connector) -> Fixture:
    given = msgspec.json.decode((FIXTURES / f"{connector.name}.json").read_bytes(), type=dict[str, Raw])
    if connector.variant != "default":
        given |= msgspec.json.decode(given["variants"], type=dict[str, dict[str, Raw]])[connector.variant]
    return msgspec.json.decode(msgspec.json.encode(given), type=Fixture)


def _config(connector: Connector, values: dict[str, Any]) -> Any:
    return msgspec.convert(values, connector.config, dec_hook=secret.decode_hook)


def _event(base: dict[str, Raw], over: dict[str, Raw]) -> JoinedEvent:
    fields = {name: value for name, value in (base | over).items() if bytes(value) != b"null"}
    return msgspec.json.decode(msgspec.json.encode(fields), type=JoinedEvent)


def _plain(body: Any) -> Any:
    """As a receiver reads it, numbers to the digit."""
    encoded = bytes(body) if isinstance(body, Raw) else encode(body)
    return json.loads(encoded, parse_float=Decimal)


def _masked(text: str, config: Struct) -> str:
    for one in secret.of(config):
        text = text.replace(one.stand_in, secret.MASK).replace(one.reveal(), secret.MASK)
    return text.replace(ACCESS_TOKEN, secret.MASK)


def _assert_is(request: Request, expected: Expected, config: Struct) -> None:
    assert (request.method, _masked(request.url, config)) == (expected.method, expected.url)
    assert {name: _masked(value, config) for name, value in request.headers.items()} == expected.headers
    assert _plain(Raw(_masked(request.content().decode(), config).encode())) == _plain(expected.json)
    assert _plain(request.json) == _plain(Raw(request.content()))


def _outcome(expected: Any) -> Any:
    if isinstance(expected, list):
        return [_outcome(one) for one in expected]
    [(kind, fields)] = expected.items()
    return msgspec.convert(fields, OUTCOMES[kind])


def _response(answer: Answer) -> Response:
    return Response(answer.status, answer.headers, bytes(answer.json) if answer.json else answer.body.encode())


def _cases(what: str) -> list[Any]:
    found: list[Any] = []
    for name, connector in CONNECTORS.items():
        if (FIXTURES / f"{connector.name}.json").exists():
            fixture = _fixture(connector)
            cases = (fixture.probe.interpret if fixture.probe else []) if what == "probe" else getattr(fixture, what)
            for case in cases:
                found.append(pytest.param(connector, fixture, case, id=f"{name}: {case.name}"))
    return found


@pytest.mark.parametrize("connector, fixture, case", _cases("build"))
def test_an_event_is_built_as_its_fixture_says(connector: Connector, fixture: Fixture, case: BuildCase) -> None:
    config = _config(connector, fixture.config | case.config)
    event = _event(fixture.event, case.event)
    built = connector.build(event, config, fixture.now)
    if case.skipped is not None:
        assert isinstance(built, Skipped), built
        assert (built.reason, built.fix if case.fix is not None else None) == (case.skipped, case.fix)
        return
    assert isinstance(built, Item), built
    assert any([case.request, case.item, case.events, case.holds, case.noticed]), "the case expects nothing"
    if case.noticed is not None:
        assert (built.notice and built.notice.reason) == (case.noticed or None)
    if case.request:
        _assert_is(connector.pack([built], config, fixture.now), case.request, config)
    if case.item:
        assert _plain(built.body) == _plain(case.item)
    if case.events:
        assert _plain(built.body["events"]) == _plain(case.events)
    for field, value in case.holds.items():
        assert _plain(built.body)[field] == _plain(value), field
    if case.repeat_is_safe is not None:
        assert connector.repeat_is_safe(event) is case.repeat_is_safe
    if case.max_age_hours != "unsaid":
        age = connector.max_age(event)
        assert (age and age / timedelta(hours=1)) == case.max_age_hours


@pytest.mark.parametrize("connector, fixture, case", _cases("interpret"))
def test_an_answer_means_what_its_fixture_says(connector: Connector, fixture: Fixture, case: InterpretCase) -> None:
    assert connector.interpret(_response(case.response), case.count) == _outcome(case.outcome)


@pytest.mark.parametrize("connector, fixture, case", _cases("probe"))
def test_a_probe_proves_what_its_fixture_says(connector: Connector, fixture: Fixture, case: InterpretCase) -> None:
    assert connector.interpret_probe
    assert connector.interpret_probe(_response(case.response)) == _outcome(case.outcome)


@each_connector
def test_a_probe_is_sent_as_its_fixture_says(connector: Connector) -> None:
    fixture = _fixture(connector)
    assert (fixture.probe is None) == (connector.probe is None) == (connector.interpret_probe is None)
    if connector.probe and fixture.probe:
        config = _config(connector, fixture.config)
        _assert_is(connector.probe(config, fixture.now), fixture.probe.request, config)


@each_connector
def test_a_connector_has_a_fixture_with_a_case_of_each_kind(connector: Connector) -> None:
    fixture = _fixture(connector)
    assert fixture.build
    assert any(case.request for case in fixture.build)
    outcomes = [case.outcome if isinstance(case.outcome, list) else [case.outcome] for case in fixture.interpret]
    assert {kind for case in outcomes for one in case for kind in one} >= {"Delivered", "Retry"}


@each_connector
def test_a_connector_says_what_the_hub_needs_to_know(connector: Connector) -> None:
    module = sys.modules[f"{connectors.__name__}.{connector.name}"]
    assert connector.config.__module__.startswith(module.__name__)
    assert module.__doc__
    for fact in ("Dedup:", "Time", "Money:", "Source: http", ", read 20"):
        assert fact in module.__doc__, fact
    assert connector.identifiers <= IDENTIFIERS
    assert connector.consent <= set(Consent.__struct_fields__)
    assert set(connector.click_id_ages) <= connector.identifiers
    assert connector.max_items >= 1
    assert connector.docs.startswith("https://")


@each_connector
def test_every_field_of_a_config_has_a_title_and_a_sentence(connector: Connector) -> None:
    assert connector.config.__struct_config__.frozen
    fields = msgspec.inspect.type_info(connector.config)
    assert isinstance(fields, msgspec.inspect.StructType)
    for field in fields.fields:
        assert isinstance(field.type, msgspec.inspect.Metadata), field.name
        shown = field.type.extra_json_schema or {}
        assert shown.get("title"), field.name
        assert str(shown.get("description")).endswith((".", "...")), field.name


@each_connector
def test_a_connector_reads_no_clock_and_no_randomness(connector: Connector) -> None:
    own = f"{connectors.__name__}.{connector.name}"
    modules = [module for name, module in sys.modules.items() if name == own or name.startswith(f"{own}.")]
    source = "\n".join(inspect.getsource(module) for module in modules)
    used = {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
    assert used.isdisjoint({"now", "utcnow", "today", "time", "monotonic", "perf_counter", "urandom", "uuid4"})


def _planted(name: str, index: int) -> str:
    """A value for one identifier that occurs nowhere else, of the shape that its platform issues."""
    digits = f"77{index:03d}77"
    match name:
        case "fbc" | "fbp":
            return f"fb.1.1795190000000.{digits}"
        case "client_ip_address":
            return f"2001:db8:{digits[:4]}:{digits[3:]}::1"
        case "ga_client_id":
            return f"{digits}.1"
        case "ga_session_id" | "postal_code":
            return digits
        case "country":
            return "QX"
        case _ if name in HASHED:
            return f"{index:03d}".rjust(64, "a")
        case _:
            letters = "".join(chr(ord("a") + int(digit)) for digit in digits)
            return f"planted{letters}"


PLANTED = {name: _planted(name, index) for index, name in enumerate(sorted(IDENTIFIERS))}


def _planted_event(name: str = "purchase") -> JoinedEvent:
    now = datetime(2026, 11, 20, 18, 40, tzinfo=UTC)
    return JoinedEvent(
        id=UUID(int=1),
        event_id="e-1",
        name=name,
        source_name=name,
        occurred_at=now,
        received_at=now,
        dialect="native",
        value=Money(Decimal("59.90"), "USD"),
        order=Order(id="o-1", items=(Line(product_id="sku-1", quantity=1, price=Decimal("59.90")),)),
        page=Page(url="https://shop.example.com/"),
        user={name: value for name, value in PLANTED.items() if name in HASHED},
        click_ids={name: value for name, value in PLANTED.items() if name in CLICK_IDS},
        readable={name: value for name, value in PLANTED.items() if name in READABLE},
        properties={"tax": 4.5},
    )


def _packed(connector: Connector, config: Any, event: JoinedEvent) -> Request:
    built = connector.build(event, config, event.received_at)
    assert isinstance(built, Item), built
    return connector.pack([built], config, event.received_at)


def _sent_text(request: Request) -> str:
    return f"{request.url}\n{request.headers}\n{request.content().decode()}"


def _every_config(connector: Connector) -> Iterator[Any]:
    """The fixture's, and one with every switch on: what a config lets out must be declared too."""
    values = _fixture(connector).config
    yield _config(connector, values)
    hints = get_type_hints(connector.config)
    on = {name: True for name in connector.config.__struct_fields__ if "bool" in str(hints[name])}
    yield _config(connector, values | on)


@each_connector
def test_no_identifier_leaves_that_the_connector_does_not_declare(connector: Connector) -> None:
    for config in _every_config(connector):
        sent = _sent_text(_packed(connector, config, _planted_event()))
        undeclared = IDENTIFIERS - connector.identifiers
        assert undeclared
        assert {name for name in undeclared if PLANTED[name] in sent} == set()


@each_connector
def test_each_identifier_that_a_connector_declares_leaves_or_makes_one_that_does(connector: Connector) -> None:
    whole = _planted_event()
    # Of several click ids some platforms take one.
    alone = [replace(whole, click_ids={name: value}) for name, value in whole.click_ids.items()]
    sent = "".join(
        _sent_text(_packed(connector, config, event))
        for config in _every_config(connector)
        for event in [whole, *alone]
        if isinstance(connector.build(event, config, event.received_at), Item)
    ).lower()
    left = {name for name in connector.identifiers if PLANTED[name].lower() in sent}
    makes = _fixture(connector).makes
    assert {name for name in connector.identifiers - left if makes.get(name) not in left} == set()


@each_connector
def test_a_log_masked_by_the_private_keys_shows_nothing_readable(connector: Connector) -> None:
    def hide(value: Any, key: str = "") -> Any:
        match value:
            case dict():
                return {name: hide(held, name) for name, held in value.items()}
            case list():
                return [hide(held, key) for held in value]
            case _:
                return MASK if key in connector.private else value

    for config in _every_config(connector):
        request = _packed(connector, config, _planted_event())
        logged = encode(hide(request.json)).decode().lower()
        assert {name for name in READABLE if PLANTED[name].lower() in logged} == set()


@each_connector
def test_a_request_holds_stand_ins_for_secrets_never_their_values(connector: Connector) -> None:
    fixture = _fixture(connector)
    for config in _every_config(connector):
        secrets = secret.of(config)
        requests = [_packed(connector, config, _planted_event())]
        if connector.probe:
            requests.append(connector.probe(config, fixture.now))
        for request in requests:
            sent = _sent_text(request) + repr(request)
            assert not [one for one in secrets if one.reveal() in sent]


def test_the_fixtures_give_every_required_secret() -> None:
    for connector in CONNECTORS.values():
        config = _config(connector, _fixture(connector).config)
        required = {field.name for field in msgspec.structs.fields(connector.config) if field.required}
        assert required
        assert all(getattr(config, name) for name in required)
        assert secret.of(config)


def _floats(body: Any) -> Iterator[float]:
    match body:
        case float():
            yield body
        case dict():
            for key, held in body.items():
                yield from _floats(key)
                yield from _floats(held)
        case list() | tuple():
            for held in body:
                yield from _floats(held)
        case _:
            pass


texts = st.text(st.characters(codec="utf-8"), max_size=40)
ids = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=256)
amounts = st.decimals(min_value=0, max_value=Decimal("1e20"), places=3, allow_nan=False, allow_infinity=False)
times = st.datetimes(datetime(2000, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**37), 10**37)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda held: st.lists(held, max_size=3) | st.dictionaries(texts, held, max_size=3),
    max_leaves=8,
)
property_names = texts | st.sampled_from(
    "value currency content_type delivery_category predicted_ltv status tax query title items session_id".split()
)


def _some(names: frozenset[str], values: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, str]]:
    return st.dictionaries(st.sampled_from(sorted(names)), values, max_size=8)


click_values = ids | st.from_regex(r"\A(fb\.\d\.\d{13}\.\w{1,9}(\.\w{2})?|G[AS][12]\.[\w.$]{0,20})\Z")
lines = st.builds(
    Line,
    product_id=st.none() | texts,
    name=st.none() | texts,
    quantity=st.none() | st.integers(0, 10**9),
    price=st.none() | amounts,
    total=st.none() | amounts,
)
events = st.builds(
    JoinedEvent,
    id=st.uuids(),
    received_at=times,
    event_id=ids,
    name=st.sampled_from(sorted(STANDARD_NAMES)) | st.text(st.characters(codec="utf-8"), min_size=1, max_size=100),
    source_name=ids,
    occurred_at=times,
    dialect=st.just("native"),
    action_source=st.none() | st.sampled_from(sorted(ACTION_SOURCES)),
    visitor_id=st.none() | ids,
    session_id=st.none() | ids,
    value=st.none() | st.builds(Money, amounts, st.sampled_from(["USD", "JPY", "KWD"])),
    order=st.none()
    | st.builds(
        Order,
        id=st.none() | ids,
        status=st.none() | st.sampled_from(["pending", "completed", "cancelled", "refunded"]),
        items=st.lists(lines, max_size=3).map(tuple),
    ),
    page=st.none() | st.builds(Page, url=st.none() | texts | st.just("https://a.example/"), referrer=st.none() | texts),
    user=_some(HASHED, st.just("a" * 64)),
    click_ids=_some(CLICK_IDS, click_values),
    readable=_some(READABLE, ids),
    provenance=_some(IDENTIFIERS, st.sampled_from(["sent", "visitor", "session", "link"])),
    captured_at=st.dictionaries(st.sampled_from(sorted(CLICK_IDS)), times, max_size=3),
    consent=st.none()
    | st.builds(Consent, ad_user_data=st.none() | st.booleans(), ad_personalization=st.none() | st.booleans()),
    experiments=st.dictionaries(texts, texts, max_size=2),
    properties=st.dictionaries(property_names, json_values, max_size=6),
)


@each_connector
@FEW
@given(event=events)
def test_any_event_is_built_or_skipped_the_same_each_time_and_without_a_float(
    connector: Connector, event: JoinedEvent
) -> None:
    config = _config(connector, _fixture(connector).config)
    before = copy.deepcopy(event)
    built = connector.build(event, config, event.received_at)
    assert connector.build(event, config, event.received_at) == built
    assert event == before
    if isinstance(built, Skipped):
        assert built.reason
        return
    request = connector.pack([built], config, event.received_at)
    assert list(_floats(built.body)) == list(_floats(request.json)) == []
    msgspec.json.decode(request.content())
    assert all(value.isprintable() and value.isascii() for value in request.headers.values())
    assert isinstance(connector.repeat_is_safe(event), bool)
    assert built.size == 0 or built.size <= len(request.content()) + 200


@each_connector
@settings(FEW, max_examples=20)
@given(some=st.lists(events, max_size=4))
def test_the_items_of_a_batch_do_not_depend_on_their_order(connector: Connector, some: list[JoinedEvent]) -> None:
    """All of one person, so that connectors which pack by person pack them together."""
    if connector.max_items == 1:
        return
    config, first = _config(connector, _fixture(connector).config), _planted_event()
    who = {name: getattr(first, name) for name in ("user", "click_ids", "readable", "visitor_id", "consent")}
    now = first.received_at
    batch = [first, replace(first, event_id="e-2"), *(replace(event, **who, provenance={}) for event in some)]
    built = [item for event in batch if isinstance(item := connector.build(event, config, now), Item)]
    items = [item for item in built if item.group == built[0].group]
    assert len(items) >= 2
    before = [encode(item.body) for item in items]
    forward, backward = connector.pack(items, config, now), connector.pack(items[::-1], config, now)
    assert [encode(item.body) for item in items] == before
    assert _in_order(forward.json) == _in_order(backward.json)
    assert forward.url == backward.url


def _in_order(body: Any) -> Any:
    """The body with the lists at its top level sorted."""
    return {name: sorted(map(encode, held)) if isinstance(held, list) else encode(held) for name, held in body.items()}


google_details = st.lists(
    st.fixed_dictionaries({"fieldViolations": st.lists(st.fixed_dictionaries({}, optional={
        "field": json_values | st.sampled_from(["events[0].currency", "events[9]", "destinations[0]"]),
        "reason": json_values | st.sampled_from(["INVALID_DESTINATION", "TOO_MANY_EVENTS"]),
    }), max_size=2)})
    | st.fixed_dictionaries({"errors": st.lists(st.fixed_dictionaries({}, optional={
        "errorCode": json_values | st.just({"conversionUploadError": "EXPIRED_EVENT"}),
        "location": json_values | st.fixed_dictionaries({"fieldPathElements": st.lists(st.fixed_dictionaries(
            {"fieldName": st.just("conversions")}, optional={"index": json_values | st.integers(-1, 3)}), max_size=2)}),
    }), max_size=2)}),
    max_size=2,
)  # fmt: skip
answers = st.one_of(
    st.binary(max_size=200),
    json_values.map(msgspec.json.encode),
    st.fixed_dictionaries(
        {},
        optional={
            "error": json_values
            | st.fixed_dictionaries(
                {},
                optional={
                    "code": json_values | st.sampled_from([1, 4, 100, 190, 368]),
                    "error_subcode": json_values | st.just(33),
                    "is_transient": json_values,
                    "message": json_values,
                    "error_user_title": json_values,
                    "details": json_values | google_details,
                },
            ),
            "partialFailureError": json_values | st.fixed_dictionaries({"details": google_details}),
            "results": json_values | st.lists(st.just({}), max_size=3),
            "events_received": json_values | st.integers(0, 3),
            "messages": json_values,
            "fbtrace_id": json_values,
            "validationMessages": json_values | st.lists(json_values, max_size=3),
            "code": json_values | st.sampled_from([0, 200, 20001, 40001, 40002, 40100, 40105, 50000]),
            "message": json_values,
            "fields": json_values,
            "data": json_values,
            "goals": json_values | st.lists(json_values, max_size=3),
        },
    ).map(msgspec.json.encode),
)
header_values = st.sampled_from(
    ["", "nan", "inf", "-inf", "-1", "12", "1e400", "soon", "Fri, 20 Nov 2026 10:15:30 GMT"]
)


@each_connector
@settings(FEW, max_examples=200)
@given(
    status=st.integers(100, 599) | st.sampled_from([200, 204, 400, 401, 410, 429, 503]),
    headers=st.dictionaries(st.sampled_from(["retry-after", "content-type"]), header_values),
    body=answers,
    count=st.integers(1, 3),
)
def test_any_answer_is_interpreted(
    connector: Connector, status: int, headers: dict[str, str], body: bytes, count: int
) -> None:
    response = Response(status, headers, body)
    count = min(count, connector.max_items)
    outcome = connector.interpret(response, count)
    if isinstance(outcome, list):
        assert len(outcome) == count
    for one in outcome if isinstance(outcome, list) else [outcome]:
        _assert_usable(one)
    if connector.interpret_probe:
        _assert_usable(connector.interpret_probe(response))


@each_connector
def test_an_answer_nested_without_end_is_interpreted(connector: Connector) -> None:
    outcome = connector.interpret(Response(200, {}, b"[" * 100_000), 1)
    for one in outcome if isinstance(outcome, list) else [outcome]:
        _assert_usable(one)


def _assert_usable(outcome: object) -> None:
    assert isinstance(outcome, Delivered | Retry | Failed | Refused)
    if isinstance(outcome, Failed | Refused | Retry):
        assert outcome.reason
    if isinstance(outcome, Failed | Refused):
        assert outcome.fix
    if isinstance(outcome, Retry) and outcome.after_seconds is not None:
        assert 0 <= outcome.after_seconds <= 86_400
