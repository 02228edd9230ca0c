"""What the handlers of one process share."""

import asyncio
from collections import Counter
from typing import cast

from litestar.types import Scope
from msgspec import Struct

from postback.db import Pool
from postback.intake.directory import Directory
from postback.intake.writer import Writer
from postback.pii import Vault
from postback.settings import Settings
from postback.web.calls import Calls
from postback.web.live import Live

HUB = "postback.hub"


class Hub(Struct, frozen=True):
    """`requests` counts answers by path and status, for /metrics; `calls` those of each key; `exporting` is held by the
    one export under way, which has a connection for as long as its reader takes. `live` tells new events."""

    pool: Pool
    directory: Directory
    writer: Writer
    vault: Vault
    settings: Settings
    requests: Counter[tuple[str, int]]
    calls: Calls
    exporting: asyncio.Lock
    live: Live


def hub_of(scope: Scope) -> Hub:
    return cast("Hub", scope["state"][HUB])
