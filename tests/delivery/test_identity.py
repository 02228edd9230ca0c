"""What the visitors that an event is joined with may give it, and what holds of their consent."""

from datetime import timedelta

import msgspec
import pytest

from postback import visitors
from postback.event import Consent
from tests.delivery.delivering import Hub
from tests.delivery.test_prepare import EVENT, NOW, Place


@pytest.fixture
def place(hub: Hub) -> Place:
    return Place(hub)


@pytest.mark.parametrize(("ahead", "withdrawn", "holds"), [(0, -1, True), (0, 1, False), (240, 1, False)])
async def test_a_grant_that_is_dated_ahead_is_as_old_as_its_arrival(
    place: Place, ahead: int, withdrawn: int, holds: bool
) -> None:
    denial = visitors.as_identifiers({}, Consent(ad_user_data=False))
    await place.saw("v1", denial, at=NOW + timedelta(seconds=withdrawn))
    event = msgspec.structs.replace(
        EVENT, visitor_id="v1", consent=Consent(ad_user_data=True), occurred_at=NOW + timedelta(seconds=ahead)
    )
    assert (await place.joined(event)).consent == Consent(ad_user_data=holds)
