"""Consent that is withdrawn while deliveries wait."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from postback import visitors
from postback.connectors import catalog
from postback.db.trip import Trip
from postback.event import Consent
from postback.visitors import Seen
from tests.delivery.delivering import FOR_TESTS, Hub, Receiver


@pytest.mark.parametrize("is_withdrawn", [True, False])
async def test_a_visitors_withdrawal_cancels_what_waits_for_destinations_that_need_it(
    hub: Hub, platform: Receiver, is_withdrawn: bool
) -> None:
    catalog()["acme"] = msgspec.structs.replace(FOR_TESTS["acme"], consent=frozenset({"ad_user_data"}))
    needs = await hub.install("acme", url=platform.url, token="t0ken")
    free = await hub.install("careful", url=platform.url, token="t0ken")
    await hub.put([needs, free], 3, visitor_id="v1", consent=Consent(ad_user_data=True))
    await hub.put([needs], 1, visitor_id="v2", prefix="other")
    now = datetime.now(UTC)
    for choice, at in ((True, now - timedelta(hours=1)), (not is_withdrawn, now)):
        shown = visitors.as_identifiers({}, Consent(ad_user_data=choice))
        key = visitors.key_of(hub.workspace.id, "v1")
        trip = Trip(hub.tx, hub.prepared)
        visitors.record(trip, [Seen(key=key, workspace_id=hub.workspace.id, identifiers=shown, at=at)], now)
        await trip.run()
    async with hub.worker():
        assert await hub.settled([free]) == {"delivered": 3}
        assert await hub.settled([needs]) == ({"skipped": 3, "delivered": 1} if is_withdrawn else {"delivered": 4})
    reasons = {reason for (reason,) in await hub.rows("reason", "status = 'skipped'")}
    assert reasons == ({"consent: denied by the visitor"} if is_withdrawn else set())
    await hub.balances(needs, free)
