"""One role in one process: what answers HTTP, what delivers. Settings come from the environment.

`api` may be given a listening socket by whoever starts it (`--fd`), so that while a process is started again no
connection is refused: the kernel keeps it until the new one accepts.
"""

import signal
import socket
from types import FrameType

from postback.cli import environment, logs
from postback.cli.failures import WrongUsage
from postback.secret import Secret
from postback.settings import Settings


def run_api(fd: int) -> None:
    """Serve on an inherited socket until SIGTERM or SIGINT."""
    serve_api(environment.settings(), inherited(fd))


def inherited(fd: int) -> socket.socket:
    try:
        return socket.socket(fileno=fd)
    except OSError as error:
        raise WrongUsage(f"There is no socket at {fd} ({error.strerror}); --fd names one that is inherited.") from None


def serve_api(settings: Settings, listening: socket.socket) -> None:
    dsn = _begin(settings)
    from postback.web import server

    server.run(settings, dsn, listening)


def run_worker() -> None:
    """Deliver until SIGTERM or SIGINT."""
    work(environment.settings())


def work(settings: Settings) -> None:
    dsn = _begin(settings)
    from postback import worker

    worker.run(settings, dsn)


def _begin(settings: Settings) -> Secret:
    logs.configure(settings.log_level)
    logs.configure_structlog(settings.log_level)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    if settings.database_url is None:
        raise WrongUsage("A single role needs a database: give --database-url, or run `postback serve`.")
    return settings.database_url


def _leave(_: int, __: FrameType | None) -> None:
    # Before a loop has taken the signal, and after: uvicorn raises it once more when it has drained.
    raise SystemExit(0)
