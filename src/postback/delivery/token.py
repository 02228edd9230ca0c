"""Access tokens on the sender's side: had by the connector's grant, shared by all workers, renewed before they end.

    have    the token at hand; past its time somebody renews it, while all go on with the old one
    renew   whoever claims the destination's row, for 30 s, asks the platform; who has none that is good waits
    send    with the token; where the platform does not take it (401) it is renewed once, and the request sent again

No transaction is open while the network is used. A token is in no log: a request holds its stand-in, and an answer that
repeats it is masked here, before anybody reads it. A refused grant reads as an answer that holds the destination.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from urllib.parse import quote
from uuid import UUID

import msgspec
import structlog
from msgspec import Struct

from postback import secret
from postback.connectors import ACCESS_TOKEN, Granted, Refused, Request, Response, Retry
from postback.db import Pool, is_unavailable
from postback.delivery.sender import Answer, NotSent, Sender, Unsendable
from postback.destinations import Destination, tokens
from postback.destinations.tokens import Kept
from postback.pii import Sealer
from postback.secret import MASK, Secret

log = structlog.get_logger()
CLAIM_SECONDS = 30.0
# Not used to the last second: it may end on its way. Of a short-lived one, half.
SPARE_SECONDS = 60.0
RENEWED_FROM = 0.9  # of the time that it is used
LEAST_WAIT_SECONDS = 2.0  # until the platform is asked again
PATIENCE_SECONDS = 10.0  # with another process that is asking
_POLL_SECONDS = 0.1
_AGAIN_SECONDS = 1.0
_AWAY = "no access token: the database is away"


class _Wallet(Struct):
    """This process's token of one destination under one credential. `spent`: what the platform takes no more;
    `again_at`: not renewed before; `problem`: why there is none."""

    credential: bytes
    kept: Kept | None = None
    spent: bytes | None = None
    again_at: datetime | None = None
    problem: Retry | None = None
    renewal: asyncio.Task[Kept | Retry | Refused] | None = None


async def fetch(sender: Sender, destination: Destination, now: datetime) -> Granted | Retry | Refused:
    """Ask the platform for a token, once. The destination's connector has a grant."""
    grant = destination.connector.token
    assert grant is not None
    request = grant.request(destination.config, now)
    match await sender.send(request, secret.of(destination.config)):
        case Response() as answer:
            return grant.interpret(answer)
        case Unsendable(reason, fix):
            return Refused(reason, fix)
        case lost:
            return Retry(f"no access token: {lost.reason}")


async def send_once(
    sender: Sender, destination: Destination, request: Request, secrets: Sequence[Secret], now: datetime
) -> Answer:
    """As `Sender.send`, with a token of this request's own where the connector needs one: it proves the credential."""
    if destination.connector.token is None:
        return await sender.send(request, secrets)
    found = await fetch(sender, destination, now)
    if not isinstance(found, Granted):
        return _unsent(found)
    return await _send_with(sender, Secret(found.token.reveal(), ACCESS_TOKEN), request, secrets)


class Tokens:
    """The access tokens of a process's destinations. `claimer`: this process; `now`: the database's time."""

    def __init__(self, pool: Pool, sender: Sender, sealer: Sealer, claimer: UUID, now: Callable[[], datetime]) -> None:
        self._pool = pool
        self._sender = sender
        self._sealer = sealer
        self._claimer = claimer
        self._now = now
        self._wallets: dict[UUID, _Wallet] = {}
        self._renewals: set[asyncio.Task[Kept | Retry | Refused]] = set()

    async def send(
        self, destination: Destination, request: Request, secrets: Sequence[Secret], content: bytes | None = None
    ) -> Answer:
        """As `Sender.send`, with the access token where the connector needs one."""
        if destination.connector.token is None:
            return await self._sender.send(request, secrets, content)
        kept = await self.have(destination)
        if not isinstance(kept, Kept):
            return _unsent(kept)
        answer = await _send_with(self._sender, kept.token, request, secrets, content)
        if isinstance(answer, Response) and answer.status == 401:
            kept = await self.have(destination, instead_of=kept)
            if not isinstance(kept, Kept):
                return _unsent(kept)
            answer = await _send_with(self._sender, kept.token, request, secrets, content)
        return answer

    async def have(self, destination: Destination, *, instead_of: Kept | None = None) -> Kept | Retry | Refused:
        """A token that is good; another than `instead_of`, which the platform did not take."""
        wallet = self._wallet(destination)
        if instead_of is not None and wallet.kept is not None and wallet.kept.sealed == instead_of.sealed:
            wallet.kept, wallet.spent, wallet.again_at = None, instead_of.sealed, None
        kept, now = wallet.kept, self._now()
        if kept is not None and now < kept.renew_at:
            return kept
        is_too_soon = wallet.again_at is not None and now < wallet.again_at
        if kept is not None and now < kept.expires_at:
            if not is_too_soon:
                self._renewal(destination, wallet)
            return kept
        if is_too_soon and wallet.problem is not None:
            return wallet.problem
        # Shared by all that wait: one that leaves must not end it.
        return await asyncio.shield(self._renewal(destination, wallet))

    async def close(self) -> None:
        """Return when no renewal is under way."""
        while self._renewals:
            await asyncio.wait(set(self._renewals))

    def _renewal(self, destination: Destination, wallet: _Wallet) -> asyncio.Task[Kept | Retry | Refused]:
        """The one that is under way, else a new one."""
        if wallet.renewal is None:
            wallet.renewal = asyncio.create_task(self._renew(destination, wallet))
            self._renewals.add(wallet.renewal)
            wallet.renewal.add_done_callback(self._renewals.discard)
        return wallet.renewal

    def _wallet(self, destination: Destination) -> _Wallet:
        credential = _credential(destination)
        wallet = self._wallets.get(destination.id)
        if wallet is None or wallet.credential != credential:
            wallet = self._wallets[destination.id] = _Wallet(credential)
        return wallet

    async def _renew(self, destination: Destination, wallet: _Wallet) -> Kept | Retry | Refused:
        """Never raises. What came of it stands in the wallet too."""
        try:
            found = await self._renewed(destination, wallet)
        except Exception as error:
            if not is_unavailable(error):
                log.exception("no access token", destination_id=str(destination.id))
            found = Retry(_AWAY if is_unavailable(error) else f"our bug: {type(error).__name__} in the access token")
        now = self._now()
        wallet.renewal, wallet.problem, wallet.again_at = None, None, None
        match found:
            case Kept():
                wallet.kept = found
                if now >= found.renew_at:  # somebody else is about to renew it
                    wallet.again_at = now + timedelta(seconds=_AGAIN_SECONDS)
            case Retry(_, after_seconds):
                wait = min(after_seconds or 0.0, LEAST_WAIT_SECONDS) or _AGAIN_SECONDS
                wallet.problem, wallet.again_at = found, now + timedelta(seconds=wait)
            case Refused():
                wallet.kept = None
        return found

    async def _renewed(self, destination: Destination, wallet: _Wallet) -> Kept | Retry | Refused:
        id_, credential = destination.id, wallet.credential
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            async with self._pool.connection() as tx:
                state = await tokens.read(tx, self._sealer, id_, credential, ACCESS_TOKEN)
                now, kept = self._now(), state.kept
                if kept is not None and (kept.sealed == wallet.spent or now >= kept.expires_at):
                    kept = None
                if kept is not None and now < kept.renew_at:
                    return kept
                until = now + timedelta(seconds=CLAIM_SECONDS)
                is_ours = await tokens.claim(
                    tx, id_, credential, self._claimer, instead_of=state.sealed, now=now, until=until
                )
            if is_ours:
                return await self._ask(destination, credential)
            if kept is not None:
                return kept
            if state.claimed_by is None and state.claimed_until is not None and now < state.claimed_until:
                return Retry("no access token: the platform gave none a moment ago")
            if time.monotonic() > deadline:
                return Retry("no access token: another process has been asking for it for too long")
            await asyncio.sleep(_POLL_SECONDS)

    async def _ask(self, destination: Destination, credential: bytes) -> Kept | Retry | Refused:
        """The claim is ours."""
        id_, began = destination.id, self._now()
        found = await fetch(self._sender, destination, began)
        async with self._pool.connection() as tx:
            if isinstance(found, Granted):
                kept = self._sealed(id_, found, began)
                await tokens.keep(tx, id_, credential, self._claimer, kept)
                return kept
            wait = max(LEAST_WAIT_SECONDS, found.after_seconds or 0.0) if isinstance(found, Retry) else 0.0
            log.warning("no access token", destination_id=str(id_), refused=isinstance(found, Refused))
            await tokens.postpone(tx, id_, credential, self._claimer, self._now() + timedelta(seconds=wait))
            return found

    def _sealed(self, id_: UUID, granted: Granted, began: datetime) -> Kept:
        used = timedelta(seconds=max(granted.expires_in_seconds - SPARE_SECONDS, granted.expires_in_seconds / 2))
        token = Secret(granted.token.reveal(), ACCESS_TOKEN)
        return tokens.seal(self._sealer, id_, token, began + used * RENEWED_FROM, began + used)


def _credential(destination: Destination) -> bytes:
    """The hash of what a token is had with."""
    grant = destination.connector.token
    values = [getattr(destination.config, field) for field in grant.fields] if grant is not None else []
    plain = [value.reveal() if isinstance(value, Secret) else value for value in values]
    return sha256(msgspec.json.encode(plain)).digest()


def _unsent(problem: Retry | Refused) -> Answer:
    match problem:
        case Retry(reason):
            return NotSent(reason)
        case Refused(reason, fix):
            return Unsendable(reason, fix)


async def _send_with(
    sender: Sender, token: Secret, request: Request, secrets: Sequence[Secret], content: bytes | None = None
) -> Answer:
    answer = await sender.send(request, (*secrets, token), content)
    return _masked(answer, token.reveal()) if isinstance(answer, Response) else answer


def _masked(answer: Response, token: str) -> Response:
    body = answer.body
    for form in (token, quote(token, safe=""), msgspec.json.encode(token)[1:-1].decode()):
        if form.encode() in body:
            body = body.replace(form.encode(), MASK.encode())
    return answer if body is answer.body else Response(answer.status, answer.headers, body)
