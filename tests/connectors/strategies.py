"""Any event, and any JSON, for Hypothesis."""

from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import settings
from hypothesis import strategies as st

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

FEW = settings(max_examples=40)
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
