"""The client against a server that answers as it is told: what it sends, when it tries again, what it raises."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from postback.client import Client, NotReached, NotTaken, calls

ACCEPTED = {
    "index": 0,
    "status": "accepted",
    "event_id": "e-1",
    "destinations": [
        {"id": "d1", "connector": "meta", "name": "Meta", "status": "skipped", "reason": "consent denied"}
    ],
}


class Server:
    """Answers in turn with (status, headers, body); the last one again and again. `None`: closes without an answer."""

    def __init__(self, *answers: tuple[int, dict[str, str], object] | None) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.times: list[float] = []
        self.url = ""

    def next(self) -> tuple[int, dict[str, str], object] | None:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def serving(*answers: tuple[int, dict[str, str], object] | None) -> Iterator[Server]:
    told = Server(*answers)

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            told.times.append(time.monotonic())
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            told.requests.append((self.command, self.path, headers, json.loads(body) if body else None))
            if (answer := told.next()) is None:
                self.close_connection = True
                return
            status, extra, content = answer
            text = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"content-length": str(len(text)), **extra}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_GET = do

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


OK = (202, {}, ACCEPTED)


def test_an_event_is_posted_with_its_key_and_the_receipt_is_read() -> None:
    with serving(OK) as server:
        receipt = Client(f"{server.url}/hub/", "pb_live_x").send({"event": "purchase", "event_id": "e-1", "value": 5})
    assert receipt.event_id == "e-1"
    assert receipt.status == "accepted"
    assert receipt.deliveries[0].reason == "consent denied"
    assert not receipt.deliveries[0].is_open
    method, path, headers, body = server.requests[0]
    assert (method, path) == ("POST", "/hub/v1/events")
    assert headers["authorization"] == "Bearer pb_live_x"
    assert headers["content-type"] == "application/json"
    assert body == {"event": "purchase", "event_id": "e-1", "value": 5}


def test_an_event_without_an_id_is_given_one_that_all_its_tries_share() -> None:
    with serving((503, {}, {}), None, OK) as server:
        Client(server.url, "k").send({"event": "lead"})
    ids = [body["event_id"] for _, _, _, body in server.requests]
    assert len(ids) == 3
    assert len(set(ids)) == 1
    assert len(ids[0]) == 36


@pytest.mark.parametrize("first", [(429, {}, {}), (500, {}, {}), (503, {}, b"<html>"), (408, {}, {}), None])
def test_what_may_pass_is_tried_again(first: tuple[int, dict[str, str], object] | None) -> None:
    with serving(first, OK) as server:
        assert Client(server.url, "k").send({"event": "lead"}).status == "accepted"
    assert len(server.requests) == 2


def test_retry_after_is_waited_for() -> None:
    with serving((429, {"retry-after": "1"}, {}), OK) as server:
        Client(server.url, "k").send({"event": "lead"})
    assert server.times[1] - server.times[0] >= 1


def test_pauses_are_drawn_from_a_range_that_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    ranges: list[float] = []
    monkeypatch.setattr(calls.random, "uniform", lambda _, longest: ranges.append(longest) or 0)
    with serving((500, {}, {}), (500, {}, {}), (500, {}, {}), OK) as server:
        Client(server.url, "k").send({"event": "lead"})
    assert ranges == [0.1, 0.2, 0.4]


def test_a_refusal_is_not_tried_again_and_says_which_field() -> None:
    error = {"error": {"code": "validation_failed", "field": "currency", "message": "No such currency."}}
    with serving((422, {}, error)) as server, pytest.raises(NotTaken, match="No such currency") as caught:
        Client(server.url, "k").send({"event": "purchase"})
    assert (caught.value.status, caught.value.code, caught.value.field) == (422, "validation_failed", "currency")
    assert len(server.requests) == 1


def test_an_answer_of_another_program_is_refused_with_advice() -> None:
    with serving((200, {}, b"<html>")) as server, pytest.raises(NotTaken, match="check the address"):
        Client(server.url, "k").send({"event": "purchase"})


def test_when_patience_is_over_the_event_id_is_told_for_another_try() -> None:
    with serving((503, {"retry-after": "30"}, {})) as server, pytest.raises(NotReached, match="503") as caught:
        Client(server.url, "k", patience_seconds=1).send({"event": "lead", "event_id": "e-9"})
    assert caught.value.event_id == "e-9"
    assert len(server.requests) == 1


def test_a_server_that_is_not_there_is_not_reached() -> None:
    with serving(OK) as server:
        url = server.url
    with pytest.raises(NotReached, match="cannot be reached"):
        Client(url, "k", patience_seconds=0.3).send({"event": "lead"})


def test_the_status_of_an_event_is_asked_for_by_its_encoded_id() -> None:
    delivery = {
        "id": "x",
        "connector": "ga4",
        "name": "GA4",
        "status": "retrying",
        "next_attempt_at": "2026-11-21T00:00:00Z",
    }
    shown = {"event_id": "a/b c", "event": "lead", "status": "accepted", "deliveries": [delivery]}
    with serving((200, {}, shown)) as server:
        status = Client(server.url, "k").status("a/b c")
    assert server.requests[0][:2] == ("GET", "/v1/events/a%2Fb%20c")
    assert status.event == "lead"
    assert status.deliveries[0].is_open
    assert status.deliveries[0].next_attempt_at == "2026-11-21T00:00:00Z"


def test_decimals_and_times_are_written_exactly() -> None:
    at = datetime(2026, 11, 21, 1, tzinfo=timezone(timedelta(hours=2)))
    with serving(OK) as server:
        Client(server.url, "k").send({"event": "lead", "value": Decimal("49.90"), "occurred_at": at})
    body = server.requests[0][3]
    assert body["value"] == 49.9
    assert datetime.fromisoformat(body["occurred_at"]) == at.astimezone(UTC)


@pytest.mark.parametrize("value", [Decimal("0.1234567890123456789"), datetime(2026, 1, 1), float("nan")])  # noqa: DTZ001
def test_what_json_cannot_hold_exactly_is_refused_before_it_is_sent(value: object) -> None:
    with serving(OK) as server, pytest.raises(ValueError, match=r"digits|zone|compliant"):
        Client(server.url, "k").send({"event": "lead", "value": value})
    assert not server.requests


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x", ""])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        Client(url, "k")
