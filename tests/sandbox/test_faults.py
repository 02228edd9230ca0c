import asyncio
import time
from typing import Any

import aiohttp
import pytest

from postback.sandbox.faults import Faults, Unfit

PLATFORMS = ["meta", "ga4", "webhook", "google_ads", "tiktok", "convert"]
RIGHT = {"meta": 200, "ga4": 204, "webhook": 200, "google_ads": 200, "tiktok": 200, "convert": 200}


async def status(caller: Any, platform: str) -> int:
    return (await caller.send(platform))[0]


async def last(caller: Any, platform: str) -> dict[str, Any]:
    return (await caller.requests(platform))[-1]


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_none_answers_as_the_platform_does(caller: Any, platform: str) -> None:
    await caller.fault(platform, "500")
    await caller.fault(platform, "none")
    assert await status(caller, platform) == RIGHT[platform]


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_down_closes_the_connection_without_an_answer(caller: Any, platform: str) -> None:
    await caller.fault(platform, "down")
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await caller.send(platform)
    assert (await last(caller, platform))["status"] is None


async def raw_exchange(caller: Any) -> bytes:
    host, _, port = caller.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /webhook HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}")
    try:
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


async def test_down_ends_the_stream_and_reset_breaks_it(caller: Any) -> None:
    await caller.fault("webhook", "down")
    assert await raw_exchange(caller) == b""
    await caller.fault("webhook", "reset")
    with pytest.raises(ConnectionResetError):
        await raw_exchange(caller)
    assert (await last(caller, "webhook"))["status"] is None


async def test_hang_accepts_and_never_answers(caller: Any) -> None:
    await caller.fault("meta", "hang")
    with pytest.raises(asyncio.TimeoutError):
        await caller.send("meta", timeout=aiohttp.ClientTimeout(total=0.2))
    assert (await last(caller, "meta"))["status"] is None
    await caller.fault("meta", "none")
    assert await status(caller, "meta") == 200


async def test_slow_answers_after_its_delay(caller: Any) -> None:
    await caller.fault("meta", "slow", delay_ms=150)
    begun = time.monotonic()
    assert await status(caller, "meta") == 200
    assert time.monotonic() - begun >= 0.15


async def test_a_slow_answer_that_nobody_waited_for_was_not_given(caller: Any) -> None:
    await caller.fault("meta", "slow", delay_ms=150)
    with pytest.raises(asyncio.TimeoutError):
        await caller.send("meta", timeout=aiohttp.ClientTimeout(total=0.05))
    await asyncio.sleep(0.2)
    assert (await last(caller, "meta"))["status"] is None


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_429_says_when_to_come_back(caller: Any, platform: str) -> None:
    await caller.fault(platform, "429")
    answered, headers, _ = await caller.send(platform)
    assert (answered, headers["retry-after"]) == (429, "1")
    await caller.fault(platform, "429", retry_after=30)
    assert (await caller.send(platform))[1]["retry-after"] == "30"


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_500_is_the_platforms_own(caller: Any, platform: str) -> None:
    await caller.fault(platform, "500")
    assert await status(caller, platform) == 500


async def test_metas_faults_are_in_graphs_shape(caller: Any) -> None:
    for mode, expected in {
        "429": (429, 4, None, True),
        "500": (500, 2, None, True),
        "auth": (401, 190, 463, False),
        "reject_event": (400, 100, None, False),
    }.items():
        await caller.fault("meta", mode)
        answered, _, body = await caller.send("meta")
        error = body["error"]
        assert (answered, error["code"], error.get("error_subcode"), error["is_transient"]) == expected


async def test_tiktoks_faults_are_told_by_code(caller: Any) -> None:
    for mode, expected in {
        "429": (429, 40100),
        "500": (500, 50000),
        "auth": (200, 40105),
        "reject_event": (200, 40002),
    }.items():
        await caller.fault("tiktok", mode)
        answered, _, body = await caller.send("tiktok")
        assert (answered, body["code"]) == expected
        assert body.keys() == {"code", "message", "request_id", "data"}


async def test_converts_faults_are_told_by_status_and_code(caller: Any) -> None:
    for mode, expected in {"429": 429, "500": 500, "auth": 401, "reject_event": 400}.items():
        await caller.fault("convert", mode)
        answered, _, body = await caller.send("convert")
        assert (answered, body["code"]) == (expected, expected)
        assert body["message"]


async def test_a_wrong_secret_is_401_at_a_webhook_and_silent_at_ga4(caller: Any) -> None:
    await caller.fault("webhook", "auth")
    assert await status(caller, "webhook") == 401
    await caller.fault("ga4", "auth")
    assert await status(caller, "ga4") == 204
    assert [problem["fieldPath"] for problem in (await last(caller, "ga4"))["problems"]] == ["api_secret"]


async def test_ga4s_validation_server_does_not_look_at_the_secret(caller: Any) -> None:
    await caller.fault("ga4", "auth")
    body = {"client_id": "1.2", "events": [{"name": "sign_up", "params": {}}]}
    assert (await caller.call("POST", "/ga4/debug/mp/collect", json=body))[2] == {"validationMessages": []}


async def test_a_rejected_event_is_400_but_silent_at_ga4(caller: Any) -> None:
    for platform, expected in {"meta": 400, "webhook": 400, "google_ads": 400, "ga4": 204}.items():
        await caller.fault(platform, "reject_event")
        assert await status(caller, platform) == expected
    assert (await last(caller, "ga4"))["problems"]


@pytest.mark.parametrize("platform", ["meta", "webhook", "google_ads"])
async def test_only_a_request_that_holds_the_event_is_rejected(caller: Any, platform: str) -> None:
    await caller.fault(platform, "reject_event", match="ev-2")
    assert await status(caller, platform) == 200
    await caller.fault(platform, "reject_event", match="ev-1")
    assert await status(caller, platform) == 400


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_garbage_is_200_and_no_json(caller: Any, platform: str) -> None:
    await caller.fault(platform, "garbage")
    answered, headers, body = await caller.send(platform)
    assert (answered, headers["content-type"]) == (200, "text/html")
    with pytest.raises(UnicodeDecodeError):
        body.decode()
    assert (await caller.stats())[platform]["events_accepted"] == 0


async def test_times_counts_requests(caller: Any) -> None:
    await caller.fault("meta", "500", times=2)
    assert [await status(caller, "meta") for _ in range(4)] == [500, 500, 200, 200]


async def test_a_fault_of_one_platform_leaves_the_others_alone(caller: Any) -> None:
    await caller.fault("meta", "500")
    assert await status(caller, "webhook") == 200


async def test_clearing_ends_all_faults(caller: Any) -> None:
    for platform in PLATFORMS:
        await caller.fault(platform, "500")
    assert (await caller.stats())["meta"]["fault"] == "500"
    assert (await caller.call("DELETE", "/_sandbox/faults"))[0] == 204
    assert [await status(caller, platform) for platform in PLATFORMS] == list(RIGHT.values())


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "object"),
        (b"{}", "platform"),
        (b'{"platform": "meta"}', "mode"),
        (b'{"platform": "meta", "mode": "broken"}', "broken"),
        (b'{"platform": "myspace", "mode": "down"}', "myspace"),
        (b'{"platform": "meta", "mode": "down", "rate": 2}', "rate"),
        (b'{"platform": "meta", "mode": "down", "times": 0}', "times"),
        (b'{"platform": "meta", "mode": "slow", "delay_ms": -1}', "delay_ms"),
        (b'{"platform": "meta", "mode": "slow", "delay": 1}', "delay"),
    ],
)
async def test_an_invalid_fault_is_told_in_a_sentence(caller: Any, body: bytes, words: str) -> None:
    answered, _, told = await caller.call("PUT", "/_sandbox/faults", data=body)
    assert answered == 400
    assert words in told["error"]
    assert told["error"].endswith(".")


def test_an_unfit_fault_leaves_the_last_one_in_force() -> None:
    faults = Faults(frozenset({"meta"}))
    faults.set(b'{"platform": "meta", "mode": "down"}')
    with pytest.raises(Unfit):
        faults.set(b'{"platform": "meta", "mode": "up"}')
    assert faults.strike("meta", b"") is not None


def test_a_rate_is_a_probability() -> None:
    faults = Faults(frozenset({"meta"}))
    for rate, fewest, most in ((0, 0, 0), (1, 400, 400), (0.3, 40, 240)):
        faults.set(b'{"platform": "meta", "mode": "down", "rate": %f}' % rate)
        assert fewest <= sum(faults.strike("meta", b"") is not None for _ in range(400)) <= most


def test_a_rate_is_tried_on_the_given_number_of_requests_only() -> None:
    faults = Faults(frozenset({"meta"}))
    faults.set(b'{"platform": "meta", "mode": "down", "rate": 0, "times": 3}')
    assert [faults.strike("meta", b"") for _ in range(3)] == [None] * 3
    assert faults.active("meta") is None


def test_requests_that_do_not_match_use_up_nothing() -> None:
    faults = Faults(frozenset({"meta"}))
    faults.set(b'{"platform": "meta", "mode": "reject_event", "match": "ev-1", "times": 1}')
    assert faults.strike("meta", b"ev-2") is None
    assert faults.strike("meta", b"ev-1") is not None
    assert faults.strike("meta", b"ev-1") is None
