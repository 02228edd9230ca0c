"""Postback, started as its users start it: the command `postback`, settings as POSTBACK_* variables, HTTP.

A deployment is a database of its own on the benchmark's server, with its own keys and destinations; `api` and `worker`
run against it. Destinations send to the sink.
"""

import json
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from os import urandom
from pathlib import Path
from typing import Any

import aiohttp

from bench import database, event
from bench.load import Target
from bench.process import BenchError, Program, free_port, output_of, running, surroundings
from postback.db.embedded import Embedded
from postback.pii import new_key

POSTBACK = str(Path(sys.executable).with_name("postback"))
READY = "/readyz"
EVENTS = "/v1/events"
BATCH_OF_FILL = 1000


@dataclass(frozen=True)
class Destination:
    """What to install: a connector by its name, and its config."""

    connector: str
    name: str
    config: dict[str, str]


def meta(sink_port: int) -> Destination:
    endpoint = f"http://127.0.0.1:{sink_port}/meta"
    return Destination("meta", "Meta", {"dataset_id": "1234567890", "access_token": "bench", "endpoint": endpoint})


def ga4(sink_port: int) -> Destination:
    endpoint = f"http://127.0.0.1:{sink_port}/ga4"
    return Destination("ga4", "GA4", {"measurement_id": "G-BENCH12345", "api_secret": "bench", "endpoint": endpoint})


def webhook(sink_port: int, place: str = "webhook") -> Destination:
    """One that is answered at `webhook`, and never at `hole`."""
    return Destination("webhook", place, {"url": f"http://127.0.0.1:{sink_port}/{place}/events"})


@dataclass(frozen=True)
class Deployment:
    """An installation in a database; `keys` is what `postback init --json` said."""

    server: Embedded
    database: str
    seal_key: str
    keys: dict[str, str]

    def environment(self) -> dict[str, str]:
        return environment(self.server, self.database, self.seal_key)

    def target(self, port: int) -> Target:
        return Target(port, EVENTS, self.keys["api_key"])

    def copied_to(self, name: str) -> "Deployment":
        """The same installation in a copy of its database, which the caller makes."""
        return Deployment(self.server, name, self.seal_key, self.keys)

    async def limit(self, *, is_on: bool) -> None:
        """Goals, a plan with a cap and a rate of every key, none of which is ever reached; or none of them."""
        plan = "(SELECT id FROM plan WHERE name = 'bench')" if is_on else "NULL"
        await database.execute(
            self.server,
            self.database,
            "INSERT INTO plan VALUES (gen_random_uuid(), 'bench', 1000000000000, false, now()) ON CONFLICT DO NOTHING",
            f"UPDATE goal SET active = {is_on}",
            f"UPDATE workspace SET plan_id = {plan}",
            f"UPDATE api_key SET rate_limit_per_minute = {1_000_000_000 if is_on else 'NULL'}",
            "UPDATE config_version SET version = version + 1",
        )

    async def stored(self) -> int:
        """Events that are committed, by the product's own count."""
        question = "SELECT sum(n) FROM usage WHERE destination_id = '00000000-0000-0000-0000-000000000000'"
        return int(await database.number(self.server, self.database, question))


def environment(server: Embedded, name: str, seal_key: str) -> dict[str, str]:
    return surroundings(
        {
            "POSTBACK_DATABASE_URL": database.dsn(server, name),
            "POSTBACK_SEAL_KEYS": seal_key,
            "POSTBACK_DANGEROUS_ALLOW_PRIVATE_DESTINATIONS": "1",
            "POSTBACK_LOG_LEVEL": "warning",
            "POSTBACK_COLLECT_ADDRESS_PER_MINUTE": "0",
            "POSTBACK_COLLECT_SITE_PER_MINUTE": "0",
        }
    )


async def install(server: Embedded, name: str, destinations: Sequence[Destination]) -> Deployment:
    """Make a database with an installation and these destinations."""
    await database.make(server, name)
    seal_key = new_key(urandom(32))
    said = await output_of(
        "postback init", [POSTBACK, "init", "--json"], environment(server, name, seal_key), seconds=60
    )
    deployment = Deployment(server, name, seal_key, _keys(said))
    async with api(deployment) as (_, port):
        for destination in destinations:
            body = {"name": destination.name, "config": destination.config}
            await ask(deployment, port, f"integration-catalog/{destination.connector}/install", body)
    await database.make_partitions(server, name)
    return deployment


def _keys(said: str) -> dict[str, str]:
    """Logs go to the same file as the object, which is on one line or over several."""
    begin = said.find("{")
    try:
        keys, _ = json.JSONDecoder().raw_decode(said[begin:] if begin >= 0 else "")
    except json.JSONDecodeError:
        keys = {}
    if not {"api_key", "admin_key"} <= set(keys):
        raise BenchError(f"`postback init --json` gave no keys:\n{said}")
    return keys


@asynccontextmanager
async def api(deployment: Deployment) -> AsyncGenerator[tuple[Program, int]]:
    """One API process of a deployment, and its port."""
    port = free_port()
    argv = [POSTBACK, "api", "--host", "127.0.0.1", "--port", str(port)]
    async with running("postback api", argv, deployment.environment()) as program:
        await program.until_listening(port, READY)
        yield program, port


@asynccontextmanager
async def worker(deployment: Deployment, *, stop_seconds: float = 30) -> AsyncGenerator[Program]:
    """One worker of a deployment; it may still be starting."""
    argv = [POSTBACK, "worker"]
    async with running("postback worker", argv, deployment.environment(), stop_seconds=stop_seconds) as program:
        yield program


async def destinations(deployment: Deployment, command: str) -> None:
    """Pause or resume all of them."""
    argv = [POSTBACK, "destinations"]
    said = await output_of("destinations list", [*argv, "list", "--json"], deployment.environment(), seconds=30)
    for one in json.loads(said)["items"]:
        await output_of(command, [*argv, command, one["id"]], deployment.environment(), seconds=30)


@asynccontextmanager
async def serve(data_dir: Path) -> AsyncGenerator[Program]:
    """`postback serve` with a data folder of its own, once it is ready: database, API, worker, dashboard."""
    port = free_port()
    argv = [POSTBACK, "serve", "--host", "127.0.0.1", "--port", str(port), "--data-dir", str(data_dir)]
    async with running("postback serve", [*argv, "--api-processes", "1"]) as program:
        await program.until_listening(port, READY, seconds=120)
        yield program


async def fill(deployment: Deployment, port: int, number: int) -> None:
    """Post events in large batches, a few at a time; raises BenchError where one is not taken."""
    run = event.new_run()
    headers = {"Authorization": f"Bearer {deployment.keys['api_key']}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for first in range(0, number, BATCH_OF_FILL):
            body = event.events(run, first, min(BATCH_OF_FILL, number - first))
            async with session.post(f"http://127.0.0.1:{port}{EVENTS}", data=body) as response:
                text = await response.text()
                if response.status != 202 or '"status":"invalid"' in text:
                    raise BenchError(f"Filling was answered {response.status}: {text[:500]}")
    if (stored := await deployment.stored()) != number:
        raise BenchError(f"{number} events were posted, {stored} are stored.")


async def ask(deployment: Deployment, port: int, path: str, body: dict[str, Any]) -> Any:
    """A POST of the admin API; raises BenchError where it is refused."""
    headers = {"Authorization": f"Bearer {deployment.keys['admin_key']}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"http://127.0.0.1:{port}/v1/admin/{path}", json=body) as response,
    ):
        if response.status >= 300:
            raise BenchError(f"{path} was answered {response.status}: {(await response.text())[:500]}")
        return await response.json()
