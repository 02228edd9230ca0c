"""`postback serve`: everything in one. This process owns PostgreSQL and the listening socket, and keeps `api` and
`worker` alive; it imports no driver and no web framework, and sleeps.

The socket is made before the children and inherited by all of them: while one is started again, connections wait in
the kernel and none is refused.
"""

import asyncio
import errno
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec.structs import replace

from postback.cli import environment, logs, show
from postback.cli.failures import WrongUsage
from postback.cli.options import Serving
from postback.cli.supervisor import STOP_SIGNALS, Child, supervise
from postback.db import embedded
from postback.db.embedded import Embedded
from postback.secret import Secret
from postback.settings import Settings

BACKLOG = 2048
READY_WITHIN_SECONDS = 60


async def serve(place: Serving = Serving()) -> int:
    """Run it all: PostgreSQL unless --database-url is given, the API, the worker. The first start prints the keys."""
    settings = place.settings()
    logs.configure(settings.log_level)
    with listen(settings) as listening:
        return await Hub(settings, listening).run()
