"""Whatever arrives as a body, every dialect either reads it or says, in its own shape, why not."""

import importlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postback.dialects import Dialect
from postback.errors import Invalid

DIALECTS = {
    f"{path.stem}.{name}": value
    for path in sorted((Path(__file__).parent / "fixtures").glob("*.json"))
    for name, value in vars(importlib.import_module(f"postback.dialects.{path.stem}")).items()
    if isinstance(value, Dialect)
}
ALL = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS.keys())
# Segment's other calls are read by the same function.
APART = {
    name: one for name, one in DIALECTS.items() if name not in ("segment.SCREEN", "segment.GROUP", "segment.ALIAS")
}
EACH = pytest.mark.parametrize("dialect", APART.values(), ids=APART.keys())
CONTENT_TYPES = [{"content-type": "application/json"}, {"content-type": "application/x-ndjson"}, {}]
FIELDS = (
    "event event_type event_id occurred_at timestamp value currency order_id order_status items url context session_id "
    "user_id user_data properties custom_data click_ids consent experiments events goal_id goalId amount price quantity "
    "batch userId anonymousId previousId revenue products page campaign totalCents visitorId "
    "email phone order_number product_id ip page_url gclid visitor_id storeId orderId customer type traits messageId"
).split()
QUICK = settings(max_examples=60)

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["purchase", "2026-07-03T09:41:00Z", "9999-12-31T23:59:59-05:00", "1720000000", "\ud800", "\0", "EUR"]
    )
    | st.sampled_from([10**30, 10**40, -1, 0.5, 1e300])
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=4), inner, max_size=6)
    ),
    max_leaves=25,
)
named = st.dictionaries(st.sampled_from(FIELDS), values, max_size=10)


def refusals(dialect: Dialect, body: bytes, headers: dict[str, str] | None = None) -> list[Invalid]:
    """What was wrong with a body; each can be answered, and names its field in its sentence."""
    try:
        found = [event for event in dialect.parse(body, headers or {}).events if isinstance(event, Invalid)]
    except Invalid as invalid:
        found = [invalid]
    for invalid in found:
        for answer in (dialect.refuse(invalid), dialect.answer([invalid], True)):
            assert 400 <= answer.status < 500
            assert isinstance(msgspec.json.decode(answer.body), dict)
        assert not invalid.field or invalid.field in invalid.message
    return found


@EACH
@QUICK
@given(body=st.binary(max_size=200), headers=st.sampled_from(CONTENT_TYPES))
def test_any_bytes_are_read_or_refused(dialect: Dialect, body: bytes, headers: dict[str, str]) -> None:
    refusals(dialect, body, headers)


@EACH
@QUICK
@given(
    body=named
    | st.builds(lambda events: {"events": events, "batch": events}, st.lists(named | values, max_size=5))
    | values
)
def test_any_json_is_read_or_refused(dialect: Dialect, body: Any) -> None:
    refusals(dialect, json.dumps(body).encode())


@ALL
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"3",
        b'"text"',
        b"[]",
        b"[[]]",
        b"{}",
        b"{",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b"NaN",
        b"\x00",
        b"{}{}",
    ],
)
def test_a_body_that_is_no_event_is_refused(dialect: Dialect, body: bytes) -> None:
    assert refusals(dialect, body)


@ALL
@pytest.mark.parametrize("depth", [10_000, 1_000_000])
@pytest.mark.parametrize(
    ("start", "end"),
    [(b"[", b"]"), (b'{"a":', b"}"), (b'{"events":[', b"]}"), (b'{"properties":', b"}"), (b'{"user_data":', b"}")],
)
def test_a_body_nested_without_end_is_refused(dialect: Dialect, depth: int, start: bytes, end: bytes) -> None:
    depth = min(depth, dialect.max_bytes // len(start + end))
    assert refusals(dialect, start * depth + b"1" + end * depth)
    assert refusals(dialect, start * depth)


@pytest.mark.parametrize("depth", [70, 900])
@pytest.mark.parametrize("leaf", ['"\\u0000"', '"\\ud800"'])
@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("native.DIALECT", '{"event":"a","properties":%s}'),
        ("convultra.DIALECT", '{"event_type":"a","properties":%s}'),
        ("roasproof.DIALECT", '{"event":"a","custom_data":%s}'),
        ("segment.TRACK", '{"event":"a","properties":%s}'),
        ("segment.IDENTIFY", '{"userId":"u","traits":%s}'),
    ],
)
def test_text_that_cannot_be_stored_is_refused_however_deep(name: str, body: str, depth: int, leaf: str) -> None:
    nested = '{"k":[' * (depth // 2) + leaf + "]}" * (depth // 2)
    (invalid,) = refusals(DIALECTS[name], (body % nested).encode())
    assert invalid.field or invalid.malformed
