"""The sandbox on the wire: the platforms at their prefixes, and the routes under `/_sandbox` that watch and steer them.

`GET|DELETE /_sandbox/requests[?platform=]`, `PUT|DELETE /_sandbox/faults`, `GET /_sandbox/stats`. What is wrong with
a request to these is answered 400 `{"error": sentence}`. Platforms are never called concurrently.
"""

import asyncio
import functools
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable

import msgspec
import uvloop
from aiohttp import web
from aiohttp.typedefs import Handler

from postback.sandbox import platform as stand_ins
from postback.sandbox.faults import Fault, Faults, Unfit
from postback.sandbox.platform import Answer, Platform, Request
from postback.sandbox.records import Records

_MAX_BYTES = 256 * 1024 * 1024  # a platform's own limit is for its stand-in to tell
_STOP_WITHIN_SECONDS = 0.2  # for answers under way; hanging ones are cut off then
_JUNK = b"<!doctype html><html><body><h1>It works!</h1>\x00\xff\xfe\x80{]"


class Running:
    """A sandbox that answers at `url`, until stopped."""

    def __init__(self, runner: web.AppRunner, host: str, port: int) -> None:
        self._runner = runner
        self.port = port
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def stop(self) -> None:
        """Close every connection, hanging ones too; repeating is harmless."""
        await self._runner.cleanup()


async def start(host: str = "127.0.0.1", port: int = 0, *, clock: Callable[[], float] = time.time) -> Running:
    """Listen; returns once requests are answered. Port 0 takes a free one. `clock` gives unix seconds."""
    runner = web.AppRunner(
        _Sandbox(clock).application(),
        access_log=None,
        handle_signals=False,
        handler_cancellation=True,  # a client that leaves ends the hanging or slow answer it waited for
        shutdown_timeout=_STOP_WITHIN_SECONDS,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=1024)
        await site.start()
    except OSError:
        await runner.cleanup()
        raise
    return Running(runner, host, runner.addresses[0][1])


def run(host: str = "127.0.0.1", port: int = 0) -> None:
    """Serve until SIGTERM or SIGINT; says on stderr where it listens."""
    uvloop.run(_serve(host, port))


async def _serve(host: str, port: int) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    running = await start(host, port)
    sys.stderr.write(f"sandbox ready at {running.url}\n")
    sys.stderr.flush()
    await stopped.wait()
    await running.stop()


class _Sandbox:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._platforms = stand_ins.installed()
        self._records = Records()
        self._faults = Faults(frozenset(self._platforms))

    def application(self) -> web.Application:
        application = web.Application(client_max_size=_MAX_BYTES, middlewares=[_tell_unfit])
        route = application.router.add_route
        route("GET", "/_sandbox/requests", self._show_requests)
        route("DELETE", "/_sandbox/requests", self._forget_requests)
        route("PUT", "/_sandbox/faults", self._set_fault)
        route("DELETE", "/_sandbox/faults", self._clear_faults)
        route("GET", "/_sandbox/stats", self._show_stats)
        for name, platform in self._platforms.items():
            handler = functools.partial(self._platform, platform)
            route("*", f"/{name}", handler)
            route("*", f"/{name}/{{path:.*}}", handler)
        route("*", "/{path:.*}", self._nobody)
        return application

    async def _platform(self, platform: Platform, incoming: web.Request) -> web.StreamResponse:
        request = Request(
            method=incoming.method,
            path=incoming.path.removeprefix(f"/{platform.name}") or "/",
            query=dict(incoming.query),
            headers={name.lower(): value for name, value in incoming.headers.items()},
            raw=await incoming.read(),
        )
        entry = self._records.arrived(platform.name, incoming.path, request, self._clock())
        fault = self._faults.strike(platform.name, request.raw)
        if fault is not None:
            await _before_answering(fault, incoming)
        answer = self._answer(platform, request, fault)
        self._records.answered(entry, answer)
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    def _answer(self, platform: Platform, request: Request, fault: Fault | None) -> Answer:
        match fault:
            case Fault(mode="garbage"):
                return Answer(200, _JUNK, {"content-type": "text/html"})
            case Fault(mode="429", retry_after=seconds):
                answer = platform.refuse(request, "429", self._clock())
                return msgspec.structs.replace(answer, headers={**answer.headers, "retry-after": str(seconds)})
            case Fault(mode="500" | "auth" | "reject_event" as mode):
                return platform.refuse(request, mode, self._clock())
            case _:
                return platform.answer(request, self._clock())

    async def _show_requests(self, incoming: web.Request) -> web.Response:
        return _json({"requests": self._records.shown(self._named(incoming))})

    async def _forget_requests(self, incoming: web.Request) -> web.Response:
        self._records.forget(self._named(incoming))
        return web.Response(status=204)

    async def _set_fault(self, incoming: web.Request) -> web.Response:
        return _json(self._faults.set(await incoming.read()))

    async def _clear_faults(self, incoming: web.Request) -> web.Response:
        self._faults.clear(self._named(incoming))
        return web.Response(status=204)

    async def _show_stats(self, _: web.Request) -> web.Response:
        modes = {name: fault.mode if (fault := self._faults.active(name)) else None for name in self._platforms}
        return _json({name: self._records.counts(name, mode) for name, mode in modes.items()})

    async def _nobody(self, incoming: web.Request) -> web.Response:
        here = ", ".join(f"/{name}" for name in (*self._platforms, "_sandbox"))
        return _json({"error": f"Nothing answers {incoming.method} {incoming.path}; the prefixes are {here}."}, 404)

    def _named(self, incoming: web.Request) -> str | None:
        name = incoming.query.get("platform") or None
        if name is not None and name not in self._platforms:
            raise Unfit(f"There is no platform '{name}'; take one of {', '.join(self._platforms)}.")
        return name


async def _before_answering(fault: Fault, incoming: web.Request) -> None:
    """Wait, or never come back: a handler whose connection is lost is cancelled."""
    transport = incoming.transport
    match fault.mode:
        case "slow":
            await asyncio.sleep(fault.delay_ms / 1000)
        case "hang":
            await asyncio.Event().wait()
        case "down" if transport is not None:
            transport.close()
            await asyncio.Event().wait()
        case "reset" if transport is not None:
            # A linger of 0 seconds makes the kernel send RST in place of FIN.
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
            await asyncio.Event().wait()
        case _:
            pass


@web.middleware
async def _tell_unfit(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Unfit as error:
        return _json({"error": str(error)}, 400)


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json")
