"""One role in one process: what answers HTTP, what delivers. Settings come from the environment.

`api` may be given a listening socket by whoever starts it (`--fd`), so that while a process is started again no
connection is refused: the kernel keeps it until the new one accepts.
"""

import logging
import os
import signal
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from postback.cli import environment, logs
from postback.cli.failures import WrongUsage, explained
from postback.secret import Secret
from postback.settings import Settings

log = logging.getLogger(__name__)


def run_api(fd: int) -> None:
    """Serve on an inherited socket until SIGTERM or SIGINT."""
    serve_api(environment.settings(), inherited(fd))


def inherited(fd: int) -> socket.socket:
    try:
        return socket.socket(fileno=fd)
    except OSError as error:
        raise WrongUsage(f"There is no socket at {fd} ({error.strerror}); --fd names one that is inherited.") from None


def serve_api(settings: Settings, listening: socket.socket) -> None:
    with _role("api", settings) as dsn:
        from postback.web import server

        server.run(settings, dsn, listening)


def run_worker() -> None:
    """Deliver until SIGTERM or SIGINT."""
    work(environment.settings())


def work(settings: Settings) -> None:
    with _role("worker", settings) as dsn:
        from postback import worker

        worker.run(settings, dsn)


@contextmanager
def _role(name: str, settings: Settings) -> Generator[Secret]:
    """Logs as JSON, an orderly end by signal, and a failure told in the log: who reads it is no person at a prompt."""
    logs.configure(settings.log_level)
    logs.configure_structlog(settings.log_level)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    if settings.database_url is None:
        raise WrongUsage("A single role needs a database: give --database-url, or run `postback serve`.")
    try:
        yield settings.database_url
    except Exception as error:
        sentence, code = explained(error)
        log.error("role.failed", extra={"role": name, "said": sentence}, exc_info=error)
        sys.exit(code)


def _leave(_: int, __: FrameType | None) -> None:
    """For signals before a role takes them itself: nothing was accepted or claimed yet, so nothing is to be tidied."""
    os._exit(0)
