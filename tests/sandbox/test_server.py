import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from postback import sandbox
from postback.sandbox import platform

SOURCE = Path(sandbox.__file__).parent


def test_a_platform_is_found_by_its_file() -> None:
    assert list(platform.installed()) == sorted(platform.installed())
    assert {"ga4", "meta", "webhook"} <= platform.installed().keys()
    for name, found in platform.installed().items():
        assert found.name == name
        assert (SOURCE / f"{name}.py").exists()


def test_the_sandbox_imports_nothing_of_ours() -> None:
    for file in SOURCE.glob("*.py"):
        for line in file.read_text().splitlines():
            if line.lstrip().startswith(("import postback", "from postback")):
                assert line.startswith("from postback.sandbox"), f"{file.name}: {line}"


async def test_stats_are_answered_once_it_is_ready(caller: Any) -> None:
    assert (await caller.call("GET", "/_sandbox/stats"))[0] == 200


async def test_unknown_paths_of_a_platform_are_the_platforms_404(caller: Any) -> None:
    assert (await caller.call("POST", "/meta/v26.0/1/leads"))[2]["error"]["code"] == 100
    answered, headers, _ = await caller.call("POST", "/ga4/collect")
    assert (answered, headers["content-type"]) == (404, "text/html; charset=UTF-8")


@pytest.mark.parametrize("path", ["/", "/metadata/v1", "/_sandbox", "/_sandbox/other"])
async def test_what_nobody_answers_is_told_in_a_sentence(caller: Any, path: str) -> None:
    answered, _, told = await caller.call("GET", path)
    assert answered == 404
    assert "/meta" in told["error"]
    assert await caller.requests() == []


@pytest.mark.parametrize("path", ["/webhook", "/webhook/", "/webhook/a/b?c=d"])
async def test_the_webhook_stand_in_takes_any_path(caller: Any, path: str) -> None:
    await caller.call("POST", path, data=b"{}")
    assert len(await caller.requests("webhook")) == 1


async def test_many_requests_at_once_are_all_answered(caller: Any) -> None:
    answers = await asyncio.gather(*(caller.send("meta") for _ in range(200)))
    assert {answer[0] for answer in answers} == {200}
    assert (await caller.stats())["meta"]["events_accepted"] == 200


async def test_stopping_cuts_off_hanging_requests() -> None:
    running = await sandbox.start("127.0.0.1", 0)
    async with aiohttp.ClientSession() as session:
        await session.put(f"{running.url}/_sandbox/faults", json={"platform": "meta", "mode": "hang"})
        hanging = asyncio.ensure_future(session.post(f"{running.url}/meta"))
        await asyncio.sleep(0.05)
        begun = time.monotonic()
        await running.stop()
        await running.stop()
        assert time.monotonic() - begun < 2
        with pytest.raises(aiohttp.ClientError):
            await hanging


async def test_a_port_that_is_taken_is_an_error(caller: Any) -> None:
    with pytest.raises(OSError, match="in use"):
        await sandbox.start("127.0.0.1", int(caller.url.rpartition(":")[2]))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_run_serves_until_a_signal_and_stops_within_two_seconds(number: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from postback import sandbox; sandbox.run('127.0.0.1', 0)",
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(SOURCE.parent.parent)},
    )
    assert process.stderr
    url = (await asyncio.wait_for(process.stderr.readline(), 20)).decode().split()[-1]
    async with aiohttp.ClientSession() as session:
        for mode, error in {"down": aiohttp.ServerDisconnectedError, "reset": aiohttp.ClientOSError}.items():
            await session.put(f"{url}/_sandbox/faults", json={"platform": "meta", "mode": mode, "times": 1})
            with pytest.raises(error):
                await session.post(f"{url}/meta")
        await session.put(f"{url}/_sandbox/faults", json={"platform": "meta", "mode": "hang"})
        hanging = asyncio.ensure_future(session.post(f"{url}/meta"))
        await asyncio.sleep(0.05)
        begun = time.monotonic()
        process.send_signal(number)
        assert await asyncio.wait_for(process.wait(), 10) == 0
        assert time.monotonic() - begun < 2
        with pytest.raises(aiohttp.ClientError):
            await hanging
    assert await process.stderr.read() == b""
