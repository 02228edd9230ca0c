"""`postback serve`: everything in one. This process owns PostgreSQL and the listening socket, and keeps `api` and
`worker` alive; it sleeps meanwhile.

The socket is made before the children and inherited by all of them: while one is started again, connections wait in
the kernel and none is refused.
"""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from postback.cli import environment, logs, show
from postback.cli.failures import WrongUsage
from postback.cli.installed import Installed
from postback.cli.options import SERVING, Serving
from postback.cli.supervisor import STOP_SIGNALS, Child, supervise
from postback.db import embedded, server_settings
from postback.secret import Secret
from postback.settings import Settings

BACKLOG = 2048
OWN_CONNECTIONS = 4  # of a process beside its pool: flushes, the heartbeat, the settler, what listens
CONNECTIONS_OF_COMMANDS = 30
PROGRAM = (sys.executable, "-P", "-m", "postback")  # -P: files of the folder we were called in are not Python's
EXAMPLE: dict[str, Any] = {
    "event": "purchase",
    "value": 49.9,
    "currency": "EUR",
    "user_id": "customer-1001",
    "user_data": {"email": "jane@example.com", "country": "DE"},
}


async def serve(place: Serving = SERVING) -> int:
    """Run it all: PostgreSQL unless --database-url is given, API, workers. The first start prints the keys."""
    settings = place.settings()
    logs.configure(settings.log_level)
    with listen(settings) as listening:
        url = address(listening)

        async def installed(_: Secret, made: Installed) -> None:
            if not made.already:
                made.say()

        async def ready(made: Installed) -> None:
            show.say(f"Postback answers at {url}; the dashboard is {url}/app.")
            made.say_held()
            if not made.already:
                show.say(f"Send an event:\n\n{show.curl(f'{url}/v1/events', made.api_key, EXAMPLE)}\n")

        return await run(settings, listening, installed=installed, ready=ready)


async def run(
    settings: Settings,
    listening: socket.socket,
    *,
    more: Sequence[Child] = (),
    installed: Callable[[Secret, Installed], Awaitable[None]],
    ready: Callable[[Installed], Awaitable[None]],
) -> int:
    """Start the database, set it up, keep the children alive until a signal asks to stop; gives the exit code.

    `installed` is awaited before the children start, with the database's address; `ready` once the API answers.
    """
    task = asyncio.current_task()
    assert task is not None
    for number in STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    database = None
    try:
        if settings.database_url is None:
            database = await embedded.start(Path(settings.data_dir), settings=database_settings(settings))
        dsn = settings.database_url or Secret(database.dsn if database else "")
        made = await _init(settings)
        await installed(dsn, made)
        begin_to_listen(listening)
        port: int = listening.getsockname()[1]
        surroundings = environment.for_child(replace(settings, database_url=dsn, port=port))
        api = Child("api", [*PROGRAM, "api", "--fd", str(listening.fileno())], surroundings, [listening.fileno()])
        worker = Child("worker", [*PROGRAM, "worker"], surroundings)
        children = [api._replace(name=f"api-{n + 1}") for n in range(settings.api_processes)]
        children += [worker._replace(name=f"worker-{n + 1}") for n in range(settings.worker_processes)]

        async def on_ready() -> None:
            await until_it_answers(reachable_host(listening), port)
            await ready(made)

        return await supervise([*more, *children], database, on_ready=on_ready)
    except asyncio.CancelledError:  # asked to stop before all was up
        return 0
    finally:
        if database:
            await database.stop()


def listen(settings: Settings) -> socket.socket:
    """The socket that HTTP is to be answered on: bound, not yet listening. Raises WrongUsage where it is taken."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
    except OSError as error:
        if settings.database_url is None and Path(settings.data_dir).exists():
            embedded.lock(Path(settings.data_dir)).close()  # is it our own first start that has the port?
        where = f"{settings.host}:{settings.port}"
        raise WrongUsage(
            f"Cannot listen on {where} ({error.strerror}); stop what does, or give another --port."
        ) from None
    return listening


def begin_to_listen(listening: socket.socket) -> None:
    try:
        listening.listen(BACKLOG)
    except OSError as error:  # two programs may bind one port; the first to listen has it
        raise WrongUsage(f"Cannot listen on {address(listening)} ({error.strerror}); give another --port.") from None


def reachable_host(listening: socket.socket) -> str:
    """By which host a program of this machine reaches it."""
    host: str = listening.getsockname()[0]
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host) or host  # noqa: S104


def address(listening: socket.socket) -> str:
    host, port = reachable_host(listening), listening.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def database_settings(settings: Settings) -> dict[str, str]:
    """Of the bundled server: as many connections as all of our processes may open, and commands beside them."""
    processes = settings.api_processes + settings.worker_processes
    most = processes * (settings.database_connections_max + OWN_CONNECTIONS) + CONNECTIONS_OF_COMMANDS
    wanted = {"max_connections": str(max(most, server_settings.LEAST_CONNECTIONS))}
    if settings.shared_buffers_mb:
        wanted["shared_buffers"] = f"{settings.shared_buffers_mb}MB"
    return wanted


async def _init(settings: Settings) -> Installed:
    """Run `init` as a program of its own: what it needs does not stay in our memory."""
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, "init", "--json", stdout=asyncio.subprocess.PIPE, env=environment.for_child(settings)
    )
    try:
        text, _ = await process.communicate()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        raise
    if process.returncode:  # it has said why
        raise SystemExit(process.returncode if process.returncode > 0 else 1)
    return msgspec.json.decode(text, type=Installed)


async def until_it_answers(host: str, port: int) -> None:
    """Return when a server there has answered a request."""
    while True:
        with suppress(OSError, EOFError):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                if await reader.readline():
                    return
            finally:
                writer.close()
        await asyncio.sleep(0.1)
