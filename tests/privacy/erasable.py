"""A hub whose people can be erased, here and now; and all that a database holds, as text."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from postback.db import Tx, buckets
from postback.event import RawUser
from postback.privacy import counting, erasing, erasures, exporting, people
from postback.privacy.counting import Counted
from postback.privacy.erasures import Erasure
from postback.privacy.people import Kind, Reader
from tests.intake.taking import Hub

JANE = {"email": "Jane.Doe@gmail.com", "phone": "+14155550123", "external_id": "cust-7", "first_name": "Jane"}
EMAIL_HASH = hashlib.sha256(b"jane.doe@gmail.com").hexdigest()
PHONE_HASH = hashlib.sha256(b"14155550123").hexdigest()
PERSON = {
    "user": JANE | {"client_ip_address": "198.51.100.7", "user_id": "login-7"},
    "visitor_id": "v-jane",
    "session_id": "s-jane",
    "click_ids": {"fbclid": "jane-click"},
    "order_id": "order-of-jane",
    "url": "https://shop.example/jane-page",
    "properties": {"gift": "jane-note"},
}


class Erasable(Hub):
    destination: UUID

    @property
    def tools(self) -> erasing.Tools:
        return erasing.Tools(self.vault.sealer, self.vault.link_key, timedelta(0))

    async def ask(self, kind: Kind, value: str) -> Erasure:
        async with self.pool.connection() as tx, tx.transaction():
            erasure, _ = await erasing.begin(
                tx, self.tools, self.workspace.id, kind, value, country=None, created_by="test",
                id=buckets.new_id(datetime.now(UTC)),
            )  # fmt: skip
        return erasure

    async def erase(self, kind: Kind, value: str) -> Erasure:
        """To the end."""
        return await self.finish((await self.ask(kind, value)).id)

    async def finish(self, id_: UUID) -> Erasure:
        async with self.pool.connection() as tx:
            while await erasing.step(tx, id_, self.tools, datetime.now(UTC)):
                pass
            done = await erasures.read(tx, self.workspace.id, id_)
        assert done is not None
        assert done.status == "done"
        return done

    async def export(self, kind: Kind, value: str) -> Any:
        maker = self.tools.maker(self.workspace.id)
        async with self.pool.connection() as tx:
            person = await people.meant(tx, self.workspace.id, kind, value, None, maker)
            reader = Reader(self.workspace.id, self.vault.sealer, maker)
            return json.loads(b"".join([p async for p in exporting.export(tx, reader, person, datetime.now(UTC))]))

    async def count(self, kind: Kind, value: str, seconds: float = 60) -> Counted:
        """A dry run."""
        maker = self.tools.maker(self.workspace.id)
        async with self.pool.connection() as tx:
            person = await people.meant(tx, self.workspace.id, kind, value, None, maker)
            reader = Reader(self.workspace.id, self.vault.sealer, maker)
            return await counting.count(tx, reader, person, datetime.now(UTC), seconds)

    async def put(self, event_id: str, user: dict[str, str] | None = None, **fields: Any) -> UUID:
        person = RawUser(**user) if user else None
        return UUID(bytes=(await self.send(event_id=event_id, user=person, **fields)).id)

    async def bodies(self) -> dict[str, Any]:
        """What is stored of each event, by our id."""
        async with self.pool.connection() as tx:
            rows = await (await tx.execute("SELECT id::text, body FROM event")).fetchall()
        return {id_: json.loads(body) for id_, body in rows}

    async def erased(self) -> set[str]:
        return {id_ for id_, body in (await self.bodies()).items() if "erased" in body.get("notes", ())}


async def everything(tx: Tx) -> str:
    """Every row of every table, as text."""
    names = await (
        await tx.execute(
            "SELECT c.relname FROM pg_class c WHERE c.relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
    ).fetchall()
    found: list[str] = []
    for (name,) in names:
        rows = await (await tx.execute(f'SELECT t::text FROM "{name}" t'.encode())).fetchall()
        found += [text for (text,) in rows]
    return "\n".join(found).lower()


def forms(text: str) -> list[str]:
    """A value as it may lie in a dump: itself, and as the hex of bytea."""
    return [text.lower(), text.encode().hex()]


def raw(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields with their user as an event takes it."""
    return fields | {"user": RawUser(**fields["user"])}
