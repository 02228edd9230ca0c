"""The client's queue on disk, and many events at once: nothing that was taken is lost, nothing counts twice."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postback.client import Client, NotReached, NotTaken, QueueFull, Receipt, Refusal, calls
from postback.client.disk import Queue, encoded
from tests.test_client import OK, serving

NOBODY = "http://127.0.0.1:9"


def results(*statuses: str, code: str = "validation_failed") -> tuple[int, dict[str, str], object]:
    shown = [
        {"index": n, "status": status, "event_id": f"e{n}", "destinations": []}
        | ({"error": {"code": code, "field": "value", "message": "No."}} if status == "invalid" else {})
        for n, status in enumerate(statuses)
    ]
    return 202, {}, {"results": shown}


def events(count: int) -> list[dict[str, Any]]:
    return [{"event": "lead", "event_id": f"e{n}"} for n in range(count)]


def sent(server: Any) -> list[str]:
    return [event["event_id"] for _, _, _, body in server.requests for event in body.get("events", [body])]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "queue"


def test_many_events_go_in_one_request_and_one_that_is_refused_harms_no_other() -> None:
    with serving(results("accepted", "invalid", "duplicate")) as server:
        found = Client(server.url, "k").send_many(events(3))
    assert [type(one) for one in found] == [Receipt, Refusal, Receipt]
    assert found[1] == Refusal("e1", "validation_failed", "No.", "value")
    assert sent(server) == ["e0", "e1", "e2"]


def test_very_many_events_go_in_several_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postback.client.disk.BATCH_EVENTS", 2)
    with serving(results(*["accepted"] * 2), results(*["accepted"] * 2), results("accepted")) as server:
        assert len(Client(server.url, "k").send_many(events(5))) == 5
    assert [len(body["events"]) for _, _, _, body in server.requests] == [2, 2, 1]


def test_a_batch_that_is_refused_as_a_whole_is_halved_until_the_culprit_stands_alone() -> None:
    no = (413, {}, {"error": {"code": "too_large", "message": "Too large."}})
    with serving(no, results("accepted"), no) as server:
        found = Client(server.url, "k").send_many(events(2))
    assert [type(one) for one in found] == [Receipt, Refusal]
    assert sent(server) == ["e0", "e1", "e0", "e1"]


def test_when_patience_is_over_what_is_left_of_many_is_told_with_its_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postback.client.disk.BATCH_EVENTS", 1)
    with serving(results("accepted"), (503, {}, {})) as server, pytest.raises(NotReached) as caught:
        Client(server.url, "k", patience_seconds=0.2).send_many([{"event": "lead"}, {"event": "signup"}])
    assert [one.event_id for one in caught.value.done] == ["e0"]
    (left,) = caught.value.unsent
    assert left["event"] == "signup"
    assert left["event_id"] == sent(server)[-1]


def test_an_event_that_cannot_be_sent_waits_on_disk_and_is_flushed(folder: Path) -> None:
    client = Client(NOBODY, "k", queue=folder, patience_seconds=0)
    receipt = client.send({"event": "lead", "value": 5})
    assert receipt.status == "queued"
    assert [one.status for one in client.send_many(events(2)) if isinstance(one, Receipt)] == ["queued"] * 2
    away = client.flush()
    assert (away.sent, away.left) == (0, 3)
    assert "cannot be reached" in (away.problem or "")
    with serving(results(*["accepted"] * 3)) as server:
        done = Client(server.url, "k", queue=folder).flush()
    assert (done.sent, done.left, done.problem) == (3, 0, None)
    assert sent(server) == [receipt.event_id, "e0", "e1"]
    assert list(folder.iterdir()) == []


def test_an_event_that_is_sent_leaves_nothing_on_disk(folder: Path) -> None:
    with serving(OK, results("accepted", "invalid")) as server:
        client = Client(server.url, "k", queue=folder)
        assert client.send({"event": "lead"}).status == "accepted"
        assert isinstance(client.send_many(events(2))[1], Refusal)
    assert list(folder.iterdir()) == []


def test_an_event_that_is_refused_is_not_in_the_queue(folder: Path) -> None:
    no = (401, {}, {"error": {"code": "unauthenticated", "message": "No."}})
    with serving(no) as server:
        client = Client(server.url, "k", queue=folder)
        for call in (lambda: client.send({"event": "lead"}), lambda: client.send_many(events(2))):
            with pytest.raises(NotTaken):
                call()
        assert list(folder.iterdir()) == []


def test_a_refused_key_keeps_the_queue(folder: Path) -> None:
    Client(NOBODY, "k", queue=folder).send({"event": "lead"})
    with serving((401, {}, {"error": {"code": "unauthenticated", "message": "No."}})) as server:
        client = Client(server.url, "k", queue=folder)
        with pytest.raises(NotTaken):
            client.flush()
    assert len(list(folder.iterdir())) == 1


def test_what_is_refused_while_flushing_leaves_the_queue_and_is_told(folder: Path) -> None:
    Client(NOBODY, "k", queue=folder).send_many(events(2))
    with serving(results("accepted", "invalid")) as server:
        done = Client(server.url, "k", queue=folder).flush()
    assert (done.sent, [one.event_id for one in done.refused], done.left) == (1, ["e1"], 0)
    assert list(folder.iterdir()) == []


def test_what_is_refused_for_now_stays(folder: Path) -> None:
    with serving(results("accepted", "invalid", code="too_many_requests"), results("accepted")) as server:
        client = Client(server.url, "k", queue=folder)
        assert [one.status for one in client.send_many(events(2)) if isinstance(one, Receipt)] == ["accepted", "queued"]
        assert client.flush().sent == 1
    assert sent(server) == ["e0", "e1", "e1"]


def test_a_postback_that_is_away_is_not_tried_for_each_event(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving((503, {}, {}), OK) as server:
        client = Client(server.url, "k", queue=folder)
        assert [client.send({"event": "lead"}).status for _ in range(5)] == ["queued"] * 5
        assert len(server.requests) == 1
        monkeypatch.setattr(client, "_resting_until", 0.0)
        assert client.send({"event": "lead"}).status == "accepted"
    assert calls.RESTING_SECONDS > 0


def test_the_queue_is_bounded(folder: Path) -> None:
    client = Client(NOBODY, "k", queue=folder, queue_bytes_max=300)
    for _ in range(3):
        client.send({"event": "lead", "event_id": "e"})
    with pytest.raises(QueueFull, match="flush"):
        client.send_many([{"event": "lead"}] * 5)
    assert len(list(folder.iterdir())) == 3


def test_only_this_user_can_read_the_queue(folder: Path) -> None:
    Client(NOBODY, "k", queue=folder).send({"event": "lead"})
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}


KILLED = """
import os, signal, sys
from postback.client import Client
client = Client("http://127.0.0.1:9", "k", queue=sys.argv[1])
for n in range(20):
    client.send({"event": "lead", "event_id": f"e{n}"})
    print(n, flush=True)
    if n == 10:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_queued_survives_a_kill(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, folder], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == [str(n) for n in range(11)]
    with serving(results(*["accepted"] * 11)) as server:
        assert Client(server.url, "k", queue=folder).flush().sent == 11
    assert sent(server) == [f"e{n}" for n in range(11)]


def test_what_was_half_written_is_not_sent_and_goes_in_time(folder: Path) -> None:
    folder.mkdir()
    (folder / "1.new").write_text("00000000 {")
    (folder / "2.new").write_text("00000000 {")
    os.utime(folder / "1.new", (0, 0))
    assert Client(NOBODY, "k", queue=folder).flush().left == 0
    assert [file.name for file in folder.iterdir()] == ["2.new"]


@given(data=st.data())
@settings(max_examples=60)
def test_damage_to_some_lines_loses_no_other(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        queue = Queue(Path(place), 10**9)
        sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
        queue.put_all(
            [[encoded({"event": "lead", "event_id": f"{n}-{m}"}) for m in range(size)] for n, size in enumerate(sizes)]
        )
        files = sorted(Path(place).iterdir())
        whole = {event_id for _, batch in queue.batches() for event_id, _ in batch}
        assert len(whole) == sum(sizes)
        file = files[data.draw(st.integers(0, len(files) - 1))]
        content = bytearray(file.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            may_lose = content[at:].count(b"\n")
            del content[at:]
        else:
            may_lose = 2 if content[at : at + 1] == b"\n" else 1  # without its end a line runs into the next
            content[at] = data.draw(st.integers(0, 255))
        file.write_bytes(content)
        damaged = queue.set_damaged_aside()
        left = {event_id for _, batch in queue.batches() for event_id, _ in batch}
        assert left <= whole
        assert len(whole) - len(left) <= may_lose
        assert bool(damaged) == bool(list(Path(place).glob("*.damaged")))
        assert queue.set_damaged_aside() == 0


async def test_a_hub_counts_each_event_of_a_queue_once(served: Any, folder: Path) -> None:
    def use() -> None:
        away = Client(NOBODY, served.keys.api_key, queue=folder)
        away.send_many([*events(3), {"event": "lead", "event_id": "bad", "value": -1, "currency": "EUR"}])
        kept = folder.with_name("kept")
        shutil.copytree(folder, kept)
        client = Client(served.url, served.keys.api_key, queue=folder)
        done = client.flush()
        assert (done.sent, done.left) == (3, 0)
        assert [(one.event_id, one.field) for one in done.refused] == [("bad", "value")]
        again = Client(served.url, served.keys.api_key, queue=kept).flush()
        assert again.sent == 3
        assert client.status("e1").event == "lead"
        (receipt, refusal) = client.send_many([{"event": "lead", "event_id": "e0"}, {"event": "lead", "value": "x"}])
        assert isinstance(receipt, Receipt)
        assert receipt.status == "duplicate"
        assert isinstance(refusal, Refusal)

    await asyncio.to_thread(use)
    _, listed = await served.call("GET", "/v1/admin/events")
    assert sorted(event["event_id"] for event in listed["items"]) == ["e0", "e1", "e2"]


def test_a_line_is_the_event_as_it_is_sent(folder: Path) -> None:
    Client(NOBODY, "k", queue=folder).send({"event": "lead", "event_id": "e", "value": 4.9})
    (file,) = folder.iterdir()
    _, _, body = file.read_text().partition(" ")
    assert json.loads(body) == {"event": "lead", "event_id": "e", "value": 4.9}
