"""Access tokens: one renewal for all processes, early, and none in a log."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from msgspec import structs

from postback.connectors import (
    ACCESS_TOKEN,
    FORM,
    Connector,
    Delivered,
    Grant,
    Granted,
    Item,
    Refused,
    Request,
    Response,
    Retry,
    catalog,
    otherwise,
)
from postback.db import buckets, open_pool
from postback.delivery.sender import Sender
from postback.delivery.token import CLAIM_SECONDS, Tokens
from postback.destinations import Destination
from postback.destinations.tokens import Kept
from postback.pii import Sealer
from postback.secret import Secret
from tests.delivery.delivering import AcmeConfig, Hub, acme, until

START = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)


def _pack(items: Sequence[Item], config: AcmeConfig, now: datetime) -> Request:
    headers = {"authorization": f"Bearer {ACCESS_TOKEN}"}
    return Request(method="POST", url=f"{config.url}/in", json={"events": [i.body for i in items]}, headers=headers)


def _grant(config: AcmeConfig, now: datetime) -> Request:
    form = {"grant_type": "refresh_token", "refresh_token": str(config.token)}
    return Request(method="POST", url=f"{config.url}/token", form=form, headers={"content-type": FORM})


def _granted(response: Response) -> Granted | Retry | Refused:
    match response.status, response.json:
        case 200, {"access_token": str(token), "expires_in": int(seconds)}:
            return Granted(Secret(token), seconds)
        case 400, {"error": str(error)}:
            return Refused(f"refused: {error}", fix="Give a new one.")
        case status, _:
            return Retry(f"answered {status}", response.retry_after_seconds)


def _interpret(response: Response, count: int) -> Any:
    return Delivered() if response.status == 200 else otherwise(response)


def keyed() -> Connector:
    grant = Grant(fields=("url", "token"), request=_grant, interpret=_granted)
    return acme("keyed", pack=_pack, interpret=_interpret, token=grant)


class Platform:
    """Gives numbered tokens for an hour while `gate` is set, and takes the newest; `status`: of its token answers;
    `takes`: whether it takes any."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.arrived = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.status = 200
        self.headers: dict[str, str] = {}
        self.takes = True
        self.used: list[str] = []
        self.ids: list[str] = []
        self.url = ""

    async def _token(self, request: web.Request) -> web.Response:
        self.asked.append(parse_qs(await request.text())["refresh_token"][0])
        number = len(self.asked)
        self.arrived.set()
        await self.gate.wait()
        if self.status != 200:
            return web.json_response({"error": "invalid_grant"}, status=self.status, headers=self.headers)
        return web.json_response({"access_token": self.token(number), "expires_in": 3599})

    async def _in(self, request: web.Request) -> web.Response:
        self.used.append(request.headers["authorization"])
        if not self.takes or self.used[-1] != f"Bearer {self.token(len(self.asked))}":
            return web.json_response({"said": self.used[-1]}, status=401)
        self.ids += [event["id"] for event in (await request.json())["events"]]
        return web.json_response({"said": self.used[-1]})

    @staticmethod
    def token(number: int) -> str:
        return f"at-{number}-{'x' * 20}/+="

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["Platform"]:
        app = web.Application()
        app.router.add_post("/token", self._token)
        app.router.add_post("/in", self._in)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            self.gate.set()
            await runner.cleanup()


@pytest.fixture
async def grantor() -> AsyncIterator[Platform]:
    catalog()["keyed"] = keyed()
    async with Platform().serve() as served:
        yield served
    del catalog()["keyed"]


class Clock:
    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> datetime:
        return self.at

    def move(self, **by: float) -> None:
        self.at += timedelta(**by)


@asynccontextmanager
async def process(hub: Hub, clock: Clock, sealer: Sealer | None = None) -> AsyncIterator[Tokens]:
    """A process of its own: its own connections, memory and name."""
    pool = await open_pool(hub.dsn)
    sender = Sender(timeout_seconds=5, response_bytes_max=10_000, allow_private=True)
    tokens = Tokens(pool, sender, sealer or hub.vault.sealer, buckets.new_id(datetime.now(UTC)), clock)
    try:
        yield tokens
    finally:
        await tokens.close()
        await sender.close()
        await pool.close()


async def installed(hub: Hub, grantor: Platform, token: str = "1//refresh") -> Destination:
    return await hub.install("keyed", url=grantor.url, token=token)


async def sent(tokens: Tokens, to: Destination) -> Any:
    request = to.connector.pack([Item({"id": "e"})], to.config, START)
    return await tokens.send(to, request, [to.config.token])


def value(kept: Kept | Retry | Refused) -> str:
    assert isinstance(kept, Kept), kept
    return kept.token.reveal()


async def test_many_senders_of_two_processes_ask_once(hub: Hub, grantor: Platform) -> None:
    to, clock = await installed(hub, grantor), Clock()
    async with process(hub, clock) as one, process(hub, clock) as two:
        had = await asyncio.gather(*(tokens.have(to) for tokens in (one, two) for _ in range(20)))
    assert {value(kept) for kept in had} == {grantor.token(1)}
    assert grantor.asked == ["1//refresh"]


async def test_another_process_finds_the_token_and_asks_nobody(hub: Hub, grantor: Platform) -> None:
    to, clock = await installed(hub, grantor), Clock()
    async with process(hub, clock) as one:
        await one.have(to)
    async with process(hub, clock) as two:
        assert value(await two.have(to)) == grantor.token(1)
    assert len(grantor.asked) == 1


async def test_a_token_is_kept_sealed(hub: Hub, grantor: Platform) -> None:
    to = await installed(hub, grantor)
    async with process(hub, Clock()) as tokens:
        await tokens.have(to)
    [row] = await (await hub.tx.execute("SELECT o::text, sealed FROM oauth_token o")).fetchall()
    assert row[1]
    assert grantor.token(1) not in row[0]
    assert grantor.token(1).encode() not in row[1]


async def test_a_token_is_renewed_before_it_ends_while_all_go_on_with_the_old_one(hub: Hub, grantor: Platform) -> None:
    to, clock = await installed(hub, grantor), Clock()
    async with process(hub, clock) as one, process(hub, clock) as two:
        await one.have(to)
        await two.have(to)
        clock.move(minutes=50)
        assert value(await one.have(to)) == grantor.token(1)
        clock.move(minutes=5)
        grantor.gate.clear()
        grantor.arrived.clear()
        assert value(await one.have(to)) == grantor.token(1)
        await grantor.arrived.wait()
        assert [value(await tokens.have(to)) for tokens in (one, two, one, two)] == [grantor.token(1)] * 4
        grantor.gate.set()

        async def is_renewed() -> bool:
            clock.move(seconds=1)
            return [value(await tokens.have(to)) for tokens in (one, two)] == [grantor.token(2)] * 2

        await until(is_renewed)
    assert len(grantor.asked) == 2


async def test_who_has_no_token_left_waits_for_the_process_that_asks(hub: Hub, grantor: Platform) -> None:
    to, clock = await installed(hub, grantor), Clock()
    async with process(hub, clock) as one, process(hub, clock) as two:
        await one.have(to)
        await two.have(to)
        clock.move(hours=1)
        grantor.gate.clear()
        grantor.arrived.clear()
        waiting = [asyncio.create_task(one.have(to))]
        await grantor.arrived.wait()
        waiting += [asyncio.create_task(tokens.have(to)) for tokens in (one, two, two)]
        done, _ = await asyncio.wait(waiting, timeout=0.3)
        assert not done
        grantor.gate.set()
        assert {value(await task) for task in waiting} == {grantor.token(2)}
    assert len(grantor.asked) == 2


async def test_a_claim_of_a_process_that_died_ends_by_itself(hub: Hub, grantor: Platform) -> None:
    to, clock = await installed(hub, grantor), Clock()
    async with process(hub, clock) as one, process(hub, clock) as two:
        grantor.gate.clear()
        dying = asyncio.create_task(one.have(to))
        await grantor.arrived.wait()
        waiting = asyncio.create_task(two.have(to))
        await asyncio.wait([waiting], timeout=0.2)
        assert len(grantor.asked) == 1
        clock.move(seconds=CLAIM_SECONDS)
        grantor.arrived.clear()
        await grantor.arrived.wait()
        grantor.gate.set()
        assert value(await waiting) == grantor.token(2)
        await dying
    async with process(hub, clock) as three:  # what the first one got too late is not kept
        assert value(await three.have(to)) == grantor.token(2)


async def test_a_refused_credential_is_refused_with_a_fix_and_asked_again_when_it_is_tried_again(
    hub: Hub, grantor: Platform
) -> None:
    to, clock = await installed(hub, grantor), Clock()
    grantor.status = 400
    async with process(hub, clock) as tokens:
        assert await tokens.have(to) == Refused("refused: invalid_grant", "Give a new one.")
        assert (await sent(tokens, to)).fix == "Give a new one."
        assert not grantor.used
        grantor.status = 200
        assert value(await tokens.have(to)) == grantor.token(3)


async def test_a_platform_in_trouble_is_not_asked_again_at_once_by_anybody(hub: Hub, grantor: Platform) -> None:
    to, clock = await installed(hub, grantor), Clock()
    grantor.status, grantor.headers = 503, {"retry-after": "20"}
    async with process(hub, clock) as one, process(hub, clock) as two:
        for tokens in (one, one, two, two):
            assert isinstance(await tokens.have(to), Retry)
        assert len(grantor.asked) == 1
        grantor.status = 200
        clock.move(seconds=19)
        assert isinstance(await two.have(to), Retry)
        clock.move(seconds=2)
        assert value(await one.have(to)) == grantor.token(2)


async def test_a_renewal_that_fails_leaves_the_old_token_until_its_end(hub: Hub, grantor: Platform) -> None:
    to, clock = await installed(hub, grantor), Clock()
    async with process(hub, clock) as tokens:
        await tokens.have(to)
        clock.move(minutes=55)
        grantor.status = 503

        async def was_asked() -> bool:
            return value(await tokens.have(to)) == grantor.token(1) and len(grantor.asked) >= 2

        await until(was_asked)
        clock.move(minutes=5)
        assert isinstance(await tokens.have(to), Retry)


async def test_a_token_that_is_not_taken_is_renewed_once_and_the_request_sent_again(
    hub: Hub, grantor: Platform
) -> None:
    to, clock = await installed(hub, grantor), Clock()
    async with process(hub, clock) as one, process(hub, clock) as two:
        await two.have(to)
        assert (await sent(one, to)).status == 200
        grantor.asked.append("somebody else")  # which ends the first token
        answers = await asyncio.gather(*(sent(one, to) for _ in range(5)))
        assert {answer.status for answer in answers} == {200}
        assert (await sent(two, to)).status == 200
    assert grantor.asked == ["1//refresh", "somebody else", "1//refresh"]


async def test_a_second_401_is_the_answer(hub: Hub, grantor: Platform) -> None:
    to = await installed(hub, grantor)
    grantor.takes = False
    async with process(hub, Clock()) as tokens:
        answer = await sent(tokens, to)
    assert answer.status == 401
    assert grantor.used == [f"Bearer {grantor.token(1)}", f"Bearer {grantor.token(2)}"]


async def test_an_answer_that_repeats_the_token_is_masked(hub: Hub, grantor: Platform) -> None:
    to = await installed(hub, grantor)
    async with process(hub, Clock()) as tokens:
        answer = await sent(tokens, to)
    assert answer.json == {"said": "Bearer [secret]"}


async def test_another_credential_has_another_token(hub: Hub, grantor: Platform) -> None:
    to, clock = await installed(hub, grantor), Clock()
    other = structs.replace(to, config=AcmeConfig(grantor.url, Secret("1//other")))
    async with process(hub, clock) as one, process(hub, clock) as two:
        assert value(await one.have(to)) == grantor.token(1)
        assert value(await one.have(other)) == grantor.token(2)
        assert value(await two.have(other)) == grantor.token(2)
    assert grantor.asked == ["1//refresh", "1//other"]


async def test_a_token_whose_seal_key_is_gone_is_had_anew(hub: Hub, grantor: Platform) -> None:
    to, clock = await installed(hub, grantor), Clock()
    async with process(hub, clock) as one:
        await one.have(to)
    async with process(hub, clock, Sealer([b"k" * 32], lambda n: b"n" * n)) as two:
        assert value(await two.have(to)) == grantor.token(2)


async def test_a_refused_credential_holds_the_destination_and_a_good_one_delivers_the_queue(
    hub: Hub, grantor: Platform
) -> None:
    from postback import destinations

    to = await installed(hub, grantor)
    grantor.status = 400
    await hub.put([to], 25)
    async with hub.worker():

        async def is_held() -> bool:
            return (await hub.lane(to)).state == "held"

        await until(is_held)
        lane = await hub.lane(to)
        assert (lane.reason, lane.fix) == ("refused: invalid_grant", "Give a new one.")
        await hub.put([to], 5, prefix="later")
        [*hours] = await hub.balances(to)
        assert sum(hour.held for hour in hours) == 30
        grantor.status = 200
        good = AcmeConfig(grantor.url, Secret("1//good"))
        async with hub.tx.transaction():
            await destinations.change(hub.tx, hub.vault.sealer, to, name=to.name, config=good, now=datetime.now(UTC))
        assert await hub.settled() == {"delivered": 30}
    assert sorted(grantor.ids) == sorted([*(f"e{n}" for n in range(25)), *(f"later{n}" for n in range(5))])
    assert grantor.asked[-1] == "1//good"
    await hub.balances(to)


async def test_no_token_reaches_the_log_of_attempts(hub: Hub, grantor: Platform) -> None:
    to = await installed(hub, grantor)
    await hub.put([to], 3)
    async with hub.worker():
        assert await hub.settled() == {"delivered": 3}
    logged = str(await hub.attempts("a::text, convert_from(request, 'UTF8')"))
    assert "[secret]" in logged
    assert grantor.token(1) not in logged
    assert "at-1-" not in logged
    assert ACCESS_TOKEN not in logged


async def test_removing_a_destination_removes_its_token(hub: Hub, grantor: Platform) -> None:
    from postback import destinations

    to = await installed(hub, grantor)
    async with process(hub, Clock()) as tokens:
        await tokens.have(to)
    async with hub.tx.transaction():
        await destinations.remove(hub.tx, hub.workspace.id, to.id, datetime.now(UTC))
    assert await (await hub.tx.execute("SELECT 1 FROM oauth_token")).fetchall() == []
