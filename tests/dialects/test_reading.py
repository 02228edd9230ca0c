from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw, Struct

from postback.dialects import ClickIds, decode, moment
from postback.errors import Invalid
from postback.event import CLICK_IDS


class Line(Struct):
    name: str | None = None
    count: int | None = None


class Box(Struct):
    lines: list[Line] = []
    free: dict[str, Line] = {}
    rest: Raw = Raw()


BOX = msgspec.json.Decoder(Box)
EXACT = datetime(2024, 1, 15, 14, 30, 45, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2024-01-15T14:30:45Z", EXACT),
        ("2024-01-15t14:30:45z", EXACT),
        ("2024-01-15 14:30:45", EXACT),
        ("2024-01-15T14:30:45", EXACT),
        ("2024-01-15T14:30:45+00:00", EXACT),
        ("2024-01-15T16:30:45+02:00", EXACT),
        ("2024-01-15T16:30:45+0200", EXACT),
        ("20240115T143045Z", EXACT),
        ("2024-01-15T14:30:45.123Z", EXACT.replace(microsecond=123000)),
        ("2024-01-15T14:30:45.123456789Z", EXACT.replace(microsecond=123456)),
        ("2024-01-15T14:30Z", EXACT.replace(second=0)),
        ("2024-01-15", EXACT.replace(hour=0, minute=0, second=0)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_common_forms_of_iso_8601_are_one_utc_time(text: str, time: datetime) -> None:
    assert moment(text, "at") == time
    assert moment(text, "at").tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    ["", "now", "1704067200", "1704067200000", "20240115", "2024", "15/01/2024", "2024-13-01", "2024-02-30T00:00:00Z",
     "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00", "2024-01-15T25:00:00Z", "\0"],
)  # fmt: skip
def test_other_texts_are_no_times(text: str) -> None:
    with pytest.raises(Invalid, match=r"^at must be an ISO 8601 time") as refused:
        moment(text, "at")
    assert refused.value.field == "at"


@settings(max_examples=200)
@given(st.datetimes(timezones=st.sampled_from([UTC])), st.integers(-14 * 60, 14 * 60))
def test_every_time_survives_its_text(time: datetime, minutes: int) -> None:
    assert moment(time.isoformat(), "at") == time
    assert moment(time.isoformat(" ").replace("+00:00", ""), "at") == time
    if abs(time - datetime(5000, 1, 1, tzinfo=UTC)) < timedelta(days=365 * 2000):
        zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
        assert moment(time.isoformat().replace("+00:00", zone), "at") == time - timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        (b'{"lines": 3}', "lines", "lines must be a list, not a whole number."),
        (b'{"lines": [{}, {"name": 3}]}', "lines[1].name", "lines[1].name must be text, not a whole number."),
        (b'{"lines": [{"count": 1.5}]}', "lines[0].count", "lines[0].count must be a whole number, not a number."),
        (b'{"lines": [3]}', "lines[0]", "lines[0] must be an object, not a whole number."),
        (b'{"free": {"x": {"name": []}}}', "free", "free must be text, not a list."),
        (b'{"lines": [{"name": "\\u0000"}]}', "lines[0].name", None),
        (b'{"lines": [{"name": "a\\ud800b"}]}', "lines[0].name", None),
        (b'{"free": {"x": {"name": "\\udfff"}}}', "free.x.name", None),
        (b'{"free": {"\\u0000": {}}}', "free", None),
        (b"[]", None, "The body must be an object, not a list."),
        (b'{"lines": [', None, "The body is not valid JSON: it ends too early."),
        (b'{"lines": [{"name": "\xff"}]}', None, "The body is not valid JSON: it is not UTF-8."),
    ],
)
def test_a_refusal_names_field_and_reason(body: bytes, field: str | None, message: str | None) -> None:
    with pytest.raises(Invalid) as refused:
        decode(BOX, body)
    assert refused.value.field == field
    assert message is None or refused.value.message == message


def test_a_refusal_inside_a_part_names_the_whole_path() -> None:
    with pytest.raises(Invalid) as refused:
        decode(BOX, b'{"lines": [{"name": 1}]}', under="rest")
    assert refused.value.field == "rest.lines[0].name"
    with pytest.raises(Invalid) as refused:
        decode(msgspec.json.Decoder(list[Line]), b"[3]", under="rest")
    assert refused.value.field == "rest[0]"


@pytest.mark.parametrize(
    "name", ["\\ud83d\\ude00", "\\\\ud800", "\\\\\\\\udc00", "\\\\\\ud83d\\ude00", "x\\n\\\\u0000", "\\uD83D\\uDE00"]
)
def test_whole_pairs_and_written_out_escapes_are_text(name: str) -> None:
    body = f'{{"lines": [{{"name": "{name}"}}], "unknown": "\\ud800"}}'.encode()
    assert decode(BOX, body).lines[0].name == msgspec.json.decode(f'"{name}"')


def test_click_ids_have_the_names_of_the_event() -> None:
    assert set(ClickIds.__struct_fields__) == CLICK_IDS
    assert ClickIds(gclid="g", fbc="").sent() == {"gclid": "g"}
    assert ClickIds().sent() is None
