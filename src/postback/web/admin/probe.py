"""`/v1/admin/destinations/{id}/probe`: one request that harms nothing, and what its answer proves."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Literal
from uuid import UUID

from litestar import post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath
from msgspec import Struct

from postback import secret
from postback.connectors import Delivered, Outcome, Request, Response
from postback.delivery import token
from postback.delivery.record import RESPONSE_CHARS, Record
from postback.delivery.sender import NotSent, Sender, Unanswered
from postback.destinations import Destination
from postback.errors import Conflict
from postback.settings import Settings
from postback.web.admin.access import Caller
from postback.web.admin.destinations import find
from postback.web.admin.hub import Hub

_UNREACHED = "Check the address, and that what is there runs and can be reached from this server; then try again."


class ProbeOut(Struct, frozen=True):
    """`ok`: the platform took the credential. `outcome` `not_sent`: the platform was not reached, or gave no answer.

    `status` null: no answer. `response`: the beginning of the answer's body, secrets masked.
    """

    ok: bool
    outcome: Literal["delivered", "retry", "failed", "refused", "not_sent", "skipped"]
    reason: str | None
    fix: str | None
    status: int | None
    latency_ms: int
    response: str | None


@post("/destinations/{destination_id:uuid}/probe", status_code=200, summary="Try a destination's credential")
async def probe(hub: Needs[Hub], caller: Needs[Caller], destination_id: FromPath[UUID]) -> ProbeOut:
    """409 where the platform offers no harmless check."""
    return await prove(find(caller, destination_id), hub.settings, caller.now)


async def prove(destination: Destination, settings: Settings, now: datetime) -> ProbeOut:
    """Send a destination's harmless request and judge the answer. Raises Conflict where there is none."""
    connector, config = destination.connector, destination.config
    if config is None:
        raise Conflict("The config of this destination does not open with the seal key; send the whole config.")
    if connector.probe is None or connector.interpret_probe is None:
        raise Conflict(f"{connector.title} offers no harmless check; send a test event instead.")
    return await tried(destination, connector.probe(config, now), connector.interpret_probe, settings, now)


async def tried(
    destination: Destination,
    request: Request,
    interpret: Callable[[Response], Outcome],
    settings: Settings,
    now: datetime,
) -> ProbeOut:
    """Send a request of a destination's once, and say what came of it."""
    connector, secrets = destination.connector, secret.of(destination.config)
    sender = Sender(
        timeout_seconds=settings.send_timeout_seconds,
        response_bytes_max=settings.response_bytes_max,
        allow_private=settings.dangerous_allow_private_destinations,
    )
    began = time.perf_counter()
    try:
        answer = await token.send_once(sender, destination, request, secrets, now)
    finally:
        await sender.close()
    latency_ms = round((time.perf_counter() - began) * 1000)
    record = Record(secrets, connector.private)
    if not isinstance(answer, Response):
        if isinstance(answer, NotSent | Unanswered):
            return ProbeOut(False, "not_sent", record.text(answer.reason), _UNREACHED, None, latency_ms, None)
        outcome = "refused" if connector.token is not None else "not_sent"
        return ProbeOut(False, outcome, record.text(answer.reason), answer.fix, None, latency_ms, None)
    outcome = interpret(answer)
    said = outcome.note if isinstance(outcome, Delivered) else outcome.reason
    return ProbeOut(
        ok=isinstance(outcome, Delivered),
        outcome=type(outcome).__name__.lower(),  # type: ignore[arg-type]  # the four outcomes' names
        reason=record.text(said) if said else None,
        fix=getattr(outcome, "fix", None) or None,
        status=answer.status,
        latency_ms=latency_ms,
        response=record.answer(answer, (), RESPONSE_CHARS),
    )


HANDLERS = [probe]
