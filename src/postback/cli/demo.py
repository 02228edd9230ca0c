"""`postback demo`: all of it on a scratch folder, against the platforms' stand-ins, with a shop and made-up traffic.

Nothing leaves this machine, and nothing is left when it ends.
"""

import asyncio
import os
import shutil
import socket
import sys
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from aiohttp import ClientError, ClientSession, ClientTimeout
from cyclopts import Parameter
from msgspec.structs import replace

from postback import destinations, installation, workspaces
from postback.cli import environment, logs, serve, show, traffic
from postback.cli.failures import WrongUsage
from postback.cli.installed import Installed
from postback.cli.shop import Shop
from postback.cli.supervisor import Child
from postback.client import Client, NotReached, NotTaken
from postback.db import buckets, connect, server
from postback.secret import Secret
from postback.settings import Settings

HOST = "127.0.0.1"
PORTS_TRIED = 50
PATIENCE_SECONDS = 2  # of the traffic: it must not hold up the end


async def demo(
    *,
    port: Annotated[int, Parameter(help="Port of Postback; the next free one where it is taken. [8080]")] = 8080,
    sandbox_port: Annotated[int, Parameter(help="Port of the stand-ins; likewise. [9090]")] = 9090,
    shop_port: Annotated[int, Parameter(help="Port of the shop; likewise. [9191]")] = 9191,
    events_per_second: Annotated[float, Parameter(help="Made-up traffic; 0: none. [2]")] = 2,
) -> int:
    """Run everything on a scratch folder, with stand-ins for the platforms and made-up traffic."""
    scratch = Path(tempfile.mkdtemp(prefix="postback-demo-"))
    if os.geteuid() == 0:
        os.chmod(scratch, 0o711)  # noqa: S103 (another user, who runs PostgreSQL, passes through)
    try:
        settings = _settings(scratch / "data")
        logs.configure(settings.log_level)
        with _listen(settings, port) as listening:
            with _listen(settings, sandbox_port) as free:
                stand_ins = serve.address(free)
            with _listen(settings, shop_port) as shop:
                return await _run(settings, listening, stand_ins, shop, events_per_second)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


async def _run(
    settings: Settings, listening: socket.socket, stand_ins: str, door: socket.socket, events_per_second: float
) -> int:
    url = serve.address(listening)
    shop = Shop(door)
    sandbox_port = stand_ins.rpartition(":")[2]
    sandbox = Child("sandbox", [*serve.PROGRAM, "sandbox", "--port", sandbox_port], environment.for_child(settings))

    database: list[Secret] = []

    async def installed(dsn: Secret, made: Installed) -> None:
        made.say()
        database.append(dsn)

    async def ready(made: Installed) -> None:
        await serve.until_it_answers(HOST, int(sandbox_port))
        if events_per_second > 0:
            await _send_history(Client(url, made.api_key))
        await _install(settings, database[0], stand_ins)
        client = Client(url, made.api_key, timeout_seconds=PATIENCE_SECONDS, patience_seconds=PATIENCE_SECONDS)
        await shop.start(url, made.site_key, client)
        _say(url, stand_ins, serve.address(door), settings, made.api_key)
        if events_per_second > 0:
            await _send(client, made, url, 1 / events_per_second)

    try:
        return await serve.run(settings, listening, more=[sandbox], installed=installed, ready=ready)
    finally:
        await shop.stop()


def _settings(data_dir: Path) -> Settings:
    """Those of the environment, but on scratch alone, and allowed to deliver to the stand-ins."""
    given = environment.settings()
    return replace(
        given,
        host=HOST,
        data_dir=str(data_dir),
        database_url=None,
        seal_keys=None,
        api_processes=1,
        worker_processes=1,
        environment="live",
        dangerous_allow_private_destinations=True,
        log_level=given.log_level if "POSTBACK_LOG_LEVEL" in os.environ else "warning",
    )


def _listen(settings: Settings, port: int) -> socket.socket:
    """A socket that listens at this port or at the next free one."""
    for candidate in [*range(port, min(port + PORTS_TRIED, 65536)), 0]:
        with suppress(WrongUsage):
            listening = serve.listen(replace(settings, port=candidate))
            try:
                serve.begin_to_listen(listening)
                return listening
            except WrongUsage:
                listening.close()
    raise WrongUsage(f"Neither {port} nor the {PORTS_TRIED} ports after it are free; give another --port.")


async def _install(settings: Settings, dsn: Secret, stand_ins: str) -> None:
    """Install one destination a platform, each with its stand-in as the endpoint."""
    configs: dict[str, dict[str, Any]] = {
        "meta": {"dataset_id": "1234567890", "access_token": "demo-token", "endpoint": f"{stand_ins}/meta"},
        "ga4": {"measurement_id": "G-DEMO123456", "api_secret": "demo-secret", "endpoint": f"{stand_ins}/ga4"},
        "google_ads": {
            "customer_id": "1234567890",
            "conversion_actions": {"purchase": "555666777", "lead": "555666778", "signup": "555666779"},
            "client_id": "demo-client",
            "client_secret": "demo-secret",
            "refresh_token": "demo-token",
            "endpoint": f"{stand_ins}/google_ads",
        },
        "tiktok": {
            "pixel_code": "C3QDEMO",
            "crm_event_set_id": "C3QDEMOCRM",
            "access_token": "demo-token",
            "endpoint": f"{stand_ins}/tiktok",
        },
        "convert": {"account_id": "1", "project_id": "2", "api_key": "demo-key", "endpoint": f"{stand_ins}/convert"},
        "webhook": {"url": f"{stand_ins}/webhook/orders", "secret": "whsec_ZGVtbyBzZWNyZXQgb2YgdGhlIHNhbmRib3g="},
    }
    tx = await connect(dsn)
    try:
        now = await server.clock(tx)
        sealer = (await installation.open_vault(tx, settings)).sealer
        owner = (await workspaces.all_(tx))[0]
        async with tx.transaction():
            for name, config in configs.items():
                kind = destinations.connector_named(name)
                await destinations.install(
                    tx,
                    sealer,
                    id=buckets.new_id(now),
                    workspace_id=owner.id,
                    connector=kind,
                    variant="default",
                    name=f"{kind.title} (stand-in)",
                    config=destinations.read_config(kind, config),
                    now=now,
                )
    finally:
        await tx.close()


def _say(url: str, stand_ins: str, shop: str, settings: Settings, api_key: str) -> None:
    for line in (
        f"Postback   {url}  (dashboard: {url}/app)",
        f"stand-ins  {stand_ins}  (Meta, GA4, Google Ads, TikTok, Convert, a webhook)",
        f"a shop     {shop}  (with the browser tag; its orders carry the visitor's id alone)",
        f"its data   {settings.data_dir}  (for other commands: --data-dir)",
        "\nSend an event of your own:\n",
        show.curl(f"{url}/v1/events", api_key, serve.EXAMPLE),
        "\nSee what arrived at Meta's stand-in:\n",
        f"curl -sS '{stand_ins}/_sandbox/requests?platform=meta' | python3 -m json.tool",
        "\nCtrl-C ends the demo and removes its data.",
    ):
        show.say(line)


async def _send_history(client: Client) -> None:
    """Before anything is installed: no platform takes what is weeks old."""
    try:
        await asyncio.to_thread(client.send_many, traffic.history(datetime.now(UTC)))
    except (NotTaken, NotReached) as error:
        sys.stderr.write(f"postback: the made-up history was not taken: {error}\n")


async def _send(client: Client, made: Installed, url: str, pause_seconds: float) -> None:
    """Send made-up events until we are stopped: browsers' by the tag's way, others' as a backend and a CRM do."""
    headers = {"Authorization": f"Bearer {made.api_key}", "User-Agent": traffic.BROWSER}
    async with ClientSession(url, headers=headers, timeout=ClientTimeout(PATIENCE_SECONDS)) as http:
        for path, body in traffic.posts(made.site_key):
            try:
                if path == "/v1/events":
                    await asyncio.to_thread(client.send, body)
                else:
                    async with http.post(path, json=body) as answer:
                        answer.raise_for_status()
            except (NotTaken, NotReached, ClientError, TimeoutError) as error:
                sys.stderr.write(f"postback: an event of the made-up traffic was not taken: {error}\n")
            await asyncio.sleep(pause_seconds)
