"""Sealed data: brought under the newest key, and gone when its time is over."""

import os
from datetime import UTC, datetime, timedelta

import pytest

from postback import pii, workspaces
from postback.db import Tx, buckets
from postback.db.buckets import BUCKETS
from postback.event import RawUser
from postback.installation import Vault
from postback.intake.judge import Judge
from postback.pii import Sealer, SealError
from postback.privacy import upkeep
from postback.workspaces import Installation
from tests.intake.taking import scalar
from tests.privacy.erasable import Erasable

LATER = timedelta(minutes=2)
PERSON = {"client_ip_address": "198.51.100.7", "city": "Rome"}
DAY = timedelta(days=1)


async def reseal(hub: Erasable, sealer: Sealer, now: datetime) -> None:
    while await upkeep.reseal(hub.pool, BUCKETS, sealer, now):
        pass


async def test_what_an_older_key_sealed_is_sealed_anew(hub: Erasable, tx: Tx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "PAGE", 2)
    old, new = os.urandom(32), os.urandom(32)
    _use(hub, old)
    installed = Installation("test", hub.vault.sealer.seal(b"postback"), hub.vault.sealer.seal(hub.vault.link_key))
    await workspaces.install(tx, installed, datetime.now(UTC))
    await tx.execute("UPDATE destination SET config = %s", (hub.vault.sealer.seal(b"{}"),))
    pending = [await hub.pending(event_id=f"e{n}", user=_user(), visitor_id=f"v{n % 40}") for n in range(150)]
    for start in range(0, 150, 5):
        await hub.submit(pending[start : start + 5])
    sealer, now = Sealer([new, old], os.urandom), datetime.now(UTC)
    old_id, new_id = (Sealer([key], os.urandom).current for key in (old, new))
    assert await upkeep.left(tx, sealer) == upkeep.PARTS
    assert await upkeep.is_needed(tx, old_id)
    assert await upkeep.reseal(hub.pool, BUCKETS, sealer, now + LATER)  # stopped after a page of each
    assert 0 < await upkeep.left(tx, sealer) < upkeep.PARTS
    await reseal(hub, sealer, now + LATER)
    assert await upkeep.left(tx, sealer) == 0
    assert not await upkeep.is_needed(tx, old_id)
    assert await upkeep.is_needed(tx, new_id)
    alone = Sealer([new], os.urandom)
    rows = await (await tx.execute("SELECT sealed FROM event UNION ALL SELECT sealed FROM visitor")).fetchall()
    assert len(rows) == 190
    assert {pii.reveal(blob, alone)["city"] for (blob,) in rows} == {"Rome"}
    found = await workspaces.installation(tx)
    assert found is not None
    assert (alone.unseal(found.link_key), alone.unseal(found.seal_check)) == (hub.vault.link_key, b"postback")


async def test_what_a_process_with_the_old_key_seals_afterwards_is_found(hub: Erasable, tx: Tx) -> None:
    key = os.urandom(32)
    old, now = _use(hub, key), datetime.now(UTC)
    sealer = Sealer([os.urandom(32), key], os.urandom)
    await reseal(hub, sealer, now)
    await hub.send(event_id="late", user=_user(), visitor_id="v")
    assert await upkeep.is_needed(tx, old.current)
    await reseal(hub, sealer, now + DAY + LATER)
    assert not await upkeep.is_needed(tx, old.current)


async def test_one_key_alone_is_no_work(hub: Erasable, tx: Tx) -> None:
    await hub.send(event_id="e", user=_user())
    assert await upkeep.reseal(hub.pool, BUCKETS, hub.vault.sealer, datetime.now(UTC)) == 0
    assert await upkeep.left(tx, hub.vault.sealer) == 0


async def test_what_does_not_open_is_left_as_it_is(hub: Erasable, tx: Tx) -> None:
    await hub.send(event_id="e", user=_user())
    stranger = Sealer([os.urandom(32), os.urandom(32)], os.urandom)
    await reseal(hub, stranger, datetime.now(UTC) + LATER)
    blob = await scalar(tx, "SELECT sealed FROM event")
    assert isinstance(blob, bytes)
    assert pii.reveal(blob, hub.vault.sealer)["city"] == "Rome"
    with pytest.raises(SealError):
        stranger.unseal(blob)


async def test_what_is_sealed_goes_when_its_time_is_over(
    hub: Erasable, tx: Tx, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "PAGE", 3)
    pending = [await hub.pending(event_id=f"e{n}", user=_user(), visitor_id=f"v{n}") for n in range(10)]
    await hub.submit(pending)
    now = datetime.now(UTC)
    kept = await hub.put("kept", PERSON, visitor_id="v-kept")
    await tx.execute("UPDATE visitor SET sealed_at = %s", (now + DAY,))
    await tx.execute("UPDATE visitor SET sealed_at = %s WHERE key IN (SELECT visitor_key FROM event WHERE id < %s)",
                     (now - DAY, kept))  # fmt: skip
    for _ in range(2):
        await upkeep.drop_sealed(hub.pool, BUCKETS, buckets.time_of(kept))
    assert await scalar(tx, "SELECT count(*) FROM event WHERE sealed IS NOT NULL") == 1
    assert await scalar(tx, "SELECT count(*) FROM visitor WHERE sealed IS NOT NULL") == 1
    assert await scalar(tx, "SELECT count(*) FROM event") == 11


async def test_what_is_sealed_of_a_visitor_goes_by_when_it_was_said_though_the_visitor_comes_again(
    hub: Erasable, tx: Tx
) -> None:
    now = datetime.now(UTC)
    await hub.put("a", PERSON, visitor_id="v-a")
    old = "UPDATE visitor SET device = sealed, sealed_at = %s, device_at = %s"
    for sealed_at, device_at in ((now - DAY, now), (now, now - DAY)):
        await tx.execute("UPDATE visitor SET sealed = 'x'")
        await tx.execute(old, (sealed_at, device_at))
        await upkeep.drop_sealed(hub.pool, BUCKETS, now - DAY / 2)
        left = await (await tx.execute("SELECT sealed IS NOT NULL, device IS NOT NULL FROM visitor")).fetchone()
        assert left == (sealed_at == now, device_at == now)


def _user() -> RawUser:
    return RawUser(**PERSON)


def _use(hub: Erasable, key: bytes) -> Sealer:
    """Seal with this key from here on."""
    sealer = Sealer([key], os.urandom)
    hub.vault = Vault(sealer, hub.vault.link_key)
    hub.judge = Judge(sealer, hub.vault.link_key, lambda: os.urandom(16).hex())
    return sealer
