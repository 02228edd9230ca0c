"""Who used a browser of an erased person's, and is somebody else."""

from decimal import Decimal
from typing import Any

import pytest

from postback.db import Tx
from tests.privacy.erasable import Erasable

JANE = {"email": "jane@x.example", "external_id": "cust-7"}
GUEST, MEMBER = {"email": "bob@x.example"}, {"external_id": "bob-1"}
ORDER: dict[str, Any] = {"order_id": "order-of-bob", "amount": Decimal(9), "currency": "EUR"}


async def come(hub: Erasable, bob: dict[str, str], *, is_she_back: bool) -> set[str]:
    """Jane, then Bob, used one tablet; he has a browser of his own, too."""
    await hub.put("j", JANE, visitor_id="v1", session_id="s1")
    his = [
        await hub.put("b", bob, visitor_id="v1", session_id="s2"),
        await hub.put("b2", bob, visitor_id="v-bob", session_id="s3", url="https://shop.example/bobs-page", **ORDER),
    ]
    if is_she_back:
        other = next(name for name in JANE if name not in bob)
        await hub.put("j2", {other: JANE[other]}, visitor_id="v1", session_id="s4")
    return {str(id_) for id_ in his}


@pytest.mark.parametrize("is_she_back", [False, True])
@pytest.mark.parametrize("bob", [GUEST, MEMBER], ids=["guest", "member"])
@pytest.mark.parametrize("kind", ["email", "external_id"])
async def test_he_is_neither_erased_nor_exported_with_her(
    hub: Erasable, kind: str, bob: dict[str, str], is_she_back: bool
) -> None:
    his = await come(hub, bob, is_she_back=is_she_back)
    told = str(await hub.export(kind, JANE[kind]))
    assert not [text for text in ("order-of-bob", "bobs-page", *his) if text in told]
    await hub.erase(kind, JANE[kind])
    assert not await hub.erased() & his


async def test_her_own_browser_leads_to_all_of_her(hub: Erasable, tx: Tx) -> None:
    await hub.put("j", {"external_id": "cust-7"}, visitor_id="v1")
    await hub.put("j2", {"email": "jane@x.example"}, visitor_id="v1")
    order = await hub.put("j3", {"email": "jane@x.example"}, visitor_id="v2", **ORDER)
    await hub.erase("external_id", "cust-7")
    assert str(order) in await hub.erased()


async def test_a_row_that_named_another_in_between_ties_no_name_to_hers(hub: Erasable, tx: Tx) -> None:
    """Whether the email is hers, who is asked for by her id, nobody can tell: the row loses the id alone."""
    await hub.put("j", {"external_id": "cust-7"}, visitor_id="v1")
    await hub.put("b", GUEST, visitor_id="v1")
    last = await hub.put("j2", {"email": "jane@x.example"}, visitor_id="v1")
    done = await hub.erase("external_id", "cust-7")
    assert (done.removed["visitors"], done.removed["visitors_narrowed"]) == (0, 1)
    assert str(last) not in await hub.erased()
    await hub.erase("email", "jane@x.example")
    assert str(last) in await hub.erased()
