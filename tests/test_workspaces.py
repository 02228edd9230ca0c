"""What a site is told in many spellings is kept in one."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postback.errors import Invalid
from postback.event import CLICK_IDS, RawEvent, RawUser
from postback.workspaces import SiteIn, new_site
from postback.workspaces.event_types import EventType

ID = UUID(int=0)
hosts = st.from_regex(r"[a-zA-Z0-9]{1,10}(\.[a-zA-Z0-9]{1,10}){0,2}", fullmatch=True) | st.just("[::1]")
origins = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["http", "https", "HTTPS"]),
    hosts,
    st.none().map(lambda _: "") | st.integers(1, 65535).map(":{}".format),
    st.sampled_from(["", "/"]),
)


def kept(origin: str) -> str:
    return new_site(ID, ID, SiteIn(name="x", allowed_origins=[origin])).allowed_origins[0]


@given(origins)
def test_an_origin_is_kept_as_browsers_send_it_and_stays_so(origin: str) -> None:
    once = kept(origin)
    assert kept(once) == once == once.lower()
    assert not once.endswith(("/", ":443") if once.startswith("https:") else ("/", ":80"))


@pytest.mark.parametrize(
    "text",
    [
        *("*", "https://*", "https://*.example", "https://shop.*", "https://a b.example", "https://a,b.example"),
        *("https://shöp.example", "https://.example", "https://[x:y]", "ftp://shop.example", "null", ""),
        "https://a.example https://b.example",
    ],
)
def test_what_no_browser_sends_as_an_origin_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match=r"allowed_origins\[0\] must be an origin.* name each host"):
        kept(text)


@pytest.mark.parametrize(
    "origin", ["http://my_shop.local:3000", "https://xn--shp-tna.example", "http://10.0.0.1", "https://shop.example."]
)
def test_what_browsers_send_is_kept(origin: str) -> None:
    assert kept(origin) == origin


@given(st.text(max_size=40))
def test_whatever_else_is_an_origin_or_is_refused_by_name(text: str) -> None:
    try:
        assert kept(text).startswith(("http://", "https://"))
    except Invalid as invalid:
        assert invalid.field == "allowed_origins[0]"  # noqa: PT017


scalars = st.integers() | st.text(min_size=1) | st.booleans()


@given(st.dictionaries(st.from_regex("[a-z]{1,5}", fullmatch=True), scalars, min_size=1), st.data())
def test_an_event_bears_just_the_properties_that_it_has(properties: dict[str, object], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(properties)))
    raw = RawEvent(name="quiz", dialect="native", properties={"deep": {name: properties[name]}})
    demands(raw, f"properties.deep.{name}")
    with pytest.raises(Invalid):
        demands(raw, f"properties.{name if name != 'deep' else 'other'}")


def demands(raw: RawEvent, path: str) -> None:
    EventType(ID, ID, "quiz", False, [path]).demand(raw)


@pytest.mark.parametrize("field", RawUser.__struct_fields__)
def test_each_field_of_a_person_can_be_demanded(field: str) -> None:
    demands(RawEvent(name="quiz", dialect="native", user=RawUser(**{field: "x"})), f"user_data.{field}")
    with pytest.raises(Invalid, match=f"user_data.{field} is required"):
        demands(RawEvent(name="quiz", dialect="native"), f"user_data.{field}")


@pytest.mark.parametrize("field", sorted(CLICK_IDS))
def test_each_click_id_can_be_demanded(field: str) -> None:
    demands(RawEvent(name="quiz", dialect="native", click_ids={field: "x"}), f"click_ids.{field}")
    with pytest.raises(Invalid):
        demands(RawEvent(name="quiz", dialect="native", click_ids={}), f"click_ids.{field}")


def test_a_value_of_0_and_a_time_are_there() -> None:
    raw = RawEvent(name="quiz", dialect="native", occurred_at=datetime.now(UTC), properties={"score": 0, "won": False})
    for path in ("occurred_at", "properties.score", "properties.won"):
        demands(raw, path)
