"""How often somebody may call, what is a bot, and whose address a post has."""

import json
from typing import Any

import pytest

from postback.settings import Settings
from postback.web.bots import is_bot
from postback.web.collect import Collect
from postback.web.paces import Paces
from postback.web.proxies import line_of
from postback.web.wire import Limits
from postback.workspaces.origins import Refusals


def test_a_minutes_calls_may_come_at_once_and_then_one_at_a_time() -> None:
    paces = Paces(6)
    assert [paces.wait("a", 100.0) for _ in range(6)] == [0.0] * 6
    assert paces.wait("a", 100.0) == pytest.approx(10)
    assert paces.wait("b", 100.0) == 0.0
    assert paces.wait("a", 110.0) == 0.0
    assert paces.wait("a", 110.0) == pytest.approx(10)
    assert not any(Paces(0).wait("a", 1.0) for _ in range(1000))


def test_memory_is_bounded_whoever_calls() -> None:
    paces = Paces(60, most=100)
    for caller in range(10_000):
        assert paces.wait(caller, 5.0) == 0.0
        assert len(paces) <= 100


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", True),
        ("curl/8.5.0", True), ("", True), (None, True), ("WhatsApp/2.24.1 A", True),
        ("Mozilla/5.0 (Linux; Android 14; wv) Chrome/142.0 Mobile WhatsApp/2.24", False),
        ("Mozilla/5.0 (X11; Linux x86_64) HeadlessChrome/142.0", True),
        ("Mozilla/5.0 (Linux; Android 13; CUBOT P80) Chrome/142.0 Mobile", False),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 Safari/604.1", False),
    ],
)  # fmt: skip
def test_programs_that_say_so_are_bots(agent: str | None, expected: bool) -> None:
    assert is_bot(agent) is expected


@pytest.mark.parametrize(
    ("peer", "forwarded", "whose"),
    [
        ("198.51.100.7", "203.0.113.1", "198.51.100.7"),
        ("10.0.0.2", "203.0.113.1", "203.0.113.1"),
        ("10.0.0.2", "6.6.6.6, 203.0.113.1, 10.9.9.9", "203.0.113.1"),
        ("10.0.0.2", "203.0.113.1, unknown", "10.0.0.2"),
        ("10.0.0.2", "", "10.0.0.2"),
        (None, "203.0.113.1", ""),
    ],
)
def test_only_a_trusted_proxy_is_believed_about_an_address(peer: str | None, forwarded: str, whose: str) -> None:
    collect = Collect(None, None, None, b"", Settings(trusted_proxies="10.0.0.0/8"), Limits(), Refusals())
    assert collect._address({"x-forwarded-for": forwarded}, peer) == whose


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("203.0.113.1", "203.0.113.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("::ffff:203.0.113.1", "203.0.113.1"),
        ("", ""),
    ],
)
def test_the_addresses_of_one_line_count_as_one(address: str, line: str) -> None:
    assert line_of(address) == line


@pytest.mark.parametrize("served", [{"collect_site_per_minute": 3}], indirect=True)
async def test_who_posts_too_often_is_told_when_to_come_again(served: Any) -> None:
    for n, expected in enumerate((200, 200, 200, 429)):
        body = {"site_key": served.keys.site_key, "events": [{"event": "x", "event_id": f"e{n}"}]}
        headers = {"Origin": "https://a.example"}
        async with served.http.post(f"{served.url}/collect", data=json.dumps(body), headers=headers) as answer:
            assert answer.status == expected
            assert answer.headers["Access-Control-Allow-Origin"] == "https://a.example"
    assert 1 <= int(answer.headers["Retry-After"]) <= 20


@pytest.mark.parametrize("served", [{"collect_site_per_minute": 3, "collect_address_per_minute": 5}], indirect=True)
async def test_a_post_that_its_site_refuses_counts_once_for_its_address(served: Any) -> None:
    said: list[str] = []
    for n in range(6):
        body = {"site_key": served.keys.site_key, "events": [{"event": "x", "event_id": f"e{n}"}]}
        async with served.http.post(f"{served.url}/collect", data=json.dumps(body)) as answer:
            said.append((await answer.json()).get("error", {}).get("message", "")[:12])
    assert said == ["", "", "", "This site se", "This site se", "This address"]
