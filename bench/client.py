"""The least that an aiohttp client can do: post one request again and again, read each answer.

`python -m bench.client URL FILE CONNECTIONS SECONDS`; the file is JSON with `headers` and `body` (base64), as the sink
gives them. Prints JSON with `requests` and `seconds`.
"""

import asyncio
import base64
import json
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import uvloop


async def main(url: str, sent: dict[str, Any], connections: int, seconds: float) -> None:
    headers, body = sent["headers"], base64.b64decode(sent["body"])
    done = 0

    async def post(session: aiohttp.ClientSession, until: float) -> None:
        nonlocal done
        while time.perf_counter() < until:
            async with session.post(url, data=body, headers=headers) as response:
                await response.read()
                if response.status != 200:
                    raise RuntimeError(f"answered {response.status}")
            done += 1

    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector) as session:
        begin = time.perf_counter()
        await asyncio.gather(*(post(session, begin + seconds) for _ in range(connections)))
        print(json.dumps({"requests": done, "seconds": time.perf_counter() - begin}))


if __name__ == "__main__":
    url, file, connections, seconds = sys.argv[1:]
    uvloop.run(main(url, json.loads(Path(file).read_text()), int(connections), float(seconds)))
