"""Whatever a platform answers, it is interpreted."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from postback.connectors import Connector, Delivered, Failed, Refused, Response, Retry
from tests.connectors.fixture import each_connector
from tests.connectors.strategies import FEW, json_values

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
@settings(FEW, max_examples=100)
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
