"""`/v1/admin/destinations/{id}/probe`, against the platforms' stand-ins."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from postback import sandbox

META = {"dataset_id": "1234567890", "access_token": "EAABsecrettoken"}


class Platforms:
    def __init__(self, url: str, http: Any) -> None:
        self.url, self._http = url, http

    async def fault(self, platform: str, mode: str) -> None:
        body = {"platform": platform, "mode": mode}
        async with self._http.put(f"{self.url}/_sandbox/faults", json=body) as answer:
            assert answer.status == 200

    async def requests(self, platform: str) -> list[dict[str, Any]]:
        async with self._http.get(f"{self.url}/_sandbox/requests?platform={platform}") as answer:
            return (await answer.json())["requests"]


@pytest.fixture
async def platforms(served: Any) -> AsyncIterator[Platforms]:
    running = await sandbox.start("127.0.0.1", 0)
    yield Platforms(running.url, served.http)
    await running.stop()


async def installed(served: Any, connector: str, config: dict[str, Any], variant: str = "default") -> str:
    path = f"/v1/admin/integration-catalog/{connector}/install"
    status, destination = await served.call("POST", path, {"variant": variant, "config": config})
    assert status == 201, destination
    return f"/v1/admin/destinations/{destination['id']}"


async def test_a_right_credential_is_proved_and_nothing_is_counted(served: Any, platforms: Platforms) -> None:
    path = await installed(served, "meta", {**META, "endpoint": f"{platforms.url}/meta"})
    status, probe = await served.call("POST", f"{path}/probe")
    assert status == 200
    assert (probe["ok"], probe["outcome"]) == (True, "delivered"), probe
    assert (await platforms.requests("meta"))[0]["body"]["data"] == []


async def test_a_changed_config_is_what_is_tried_with_the_secret_that_stayed(served: Any, platforms: Platforms) -> None:
    path = await installed(served, "meta", {**META, "endpoint": f"{platforms.url}/meta"})
    await served.call("PATCH", path, {"config": {"dataset_id": "22"}})
    await served.call("POST", f"{path}/probe")
    request = (await platforms.requests("meta"))[0]
    assert "/22/events" in request["path"]
    assert META["access_token"] in f"{request['raw']}{request['query']}"


async def test_a_refused_credential_says_what_to_do_and_shows_no_secret(served: Any, platforms: Platforms) -> None:
    path = await installed(served, "meta", {**META, "endpoint": f"{platforms.url}/meta"})
    await platforms.fault("meta", "auth")
    _, probe = await served.call("POST", f"{path}/probe")
    assert (probe["ok"], probe["outcome"]) == (False, "refused")
    assert probe["reason"]
    assert probe["fix"]
    assert META["access_token"] not in str(probe)


CONVERT = {"account_id": "1", "project_id": "2", "api_key": "convert-key"}


@pytest.mark.parametrize(
    ("connector", "variant", "config", "words"),
    [
        ("tiktok", "default", {"pixel_code": "C3Q", "access_token": "tt"}, "neither token nor pixel"),
        ("convert", "default", CONVERT, "knows the API key"),
        ("convert", "tracking", CONVERT | {"goal_map": {"lead": 1}}, "100136097 Purchase (revenue)"),
    ],
)
async def test_each_connectors_probe_is_answered_by_its_stand_in_and_counts_nothing(
    served: Any, platforms: Platforms, connector: str, variant: str, config: dict[str, Any], words: str
) -> None:
    sent = {**config, "endpoint": f"{platforms.url}/{connector}"}
    path = await installed(served, connector, sent, variant)
    _, probe = await served.call("POST", f"{path}/probe")
    assert probe["ok"], probe
    assert words in probe["reason"]
    async with served.http.get(f"{platforms.url}/_sandbox/stats") as answer:
        assert (await answer.json())[connector]["events_accepted"] == 0


async def test_a_project_that_there_is_not_is_told_by_both_of_converts_variants(
    served: Any, platforms: Platforms
) -> None:
    for variant, more in (("default", {}), ("tracking", {"goal_map": {"lead": 1}})):
        config = {**CONVERT, **more, "project_id": "4042", "endpoint": f"{platforms.url}/convert"}
        path = await installed(served, "convert", config, variant)
        _, probe = await served.call("POST", f"{path}/probe")
        assert (probe["ok"], probe["outcome"], probe["status"]) == (False, "refused", 404)
        assert "project ID" in probe["fix"]


@pytest.mark.parametrize("mode", ["down", "500", "429", "reset"])
async def test_a_platform_in_trouble_is_told_and_is_no_error_of_ours(
    served: Any, platforms: Platforms, mode: str
) -> None:
    path = await installed(served, "webhook", {"url": f"{platforms.url}/webhook/x"})
    await platforms.fault("webhook", mode)
    status, probe = await served.call("POST", f"{path}/probe")
    assert status == 200
    assert (probe["ok"], bool(probe["reason"])) == (False, True)


async def test_nothing_listens_there(served: Any) -> None:
    path = await installed(served, "webhook", {"url": "http://127.0.0.1:9/x"})
    _, probe = await served.call("POST", f"{path}/probe")
    assert (probe["ok"], probe["outcome"], probe["status"]) == (False, "not_sent", None)
