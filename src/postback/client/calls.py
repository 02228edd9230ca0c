"""Calls: one event, many, what waits on disk, and what became of one. See the folder's docstring for the guarantees."""

import http.client
import json
import os
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard
from urllib.parse import quote, urlsplit

from postback.client.disk import Encoded, Queue, batches, encoded
from postback.client.shapes import Delivery, EventStatus, Flushed, NotReached, NotTaken, Receipt, Refusal

LONGEST_PAUSE_SECONDS = 10.0
RESTING_SECONDS = 5.0  # with a queue: nothing is tried so soon after a Postback that was not reached
# Of one event in a batch: worth another try as it stands.
_LATER = frozenset({"too_many_requests", "unavailable", "internal_error"})
_UNFIT = frozenset({400, 413, 422})
_TRY_AGAIN = frozenset({408, 425, 429})


class Client:
    """One Postback and one ingest key. `timeout_seconds` is for each try, `patience_seconds` for all of a call.
    `queue`: a folder for what could not be sent yet, made where it is not there."""

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        timeout_seconds: float = 10,
        patience_seconds: float = 60,
        queue: str | os.PathLike[str] | None = None,
        queue_bytes_max: int = 100_000_000,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{base_url} is not an address; give one like https://postback.example.com.")
        self._connection = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._host, self._port = parts.hostname, parts.port
        self._path = parts.path.rstrip("/")
        self._headers = {"authorization": f"Bearer {key}", "accept": "application/json"}
        self._timeout_seconds = timeout_seconds
        self._patience_seconds = patience_seconds
        self._queue = Queue(Path(queue), queue_bytes_max) if queue is not None else None
        self._resting_until = 0.0

    def send(self, event: Mapping[str, Any]) -> Receipt:
        """Store one event; its fields are those of `/v1/events`. Safe to repeat with the same `event_id`.

        Amounts may be Decimal, times aware datetimes. Raises NotTaken, and NotReached, or with a queue QueueFull.
        """
        event_id, body = encoded(event)
        if self._queue is None:
            return _receipt(self._call("POST", "/v1/events", body, event_id, self._patience_seconds))
        (file,) = self._queue.put_all([[(event_id, body)]])
        try:
            answer = self._try_once(body, event_id)
        except NotReached:
            return Receipt(event_id, "queued")
        except NotTaken:
            self._queue.drop(file)
            raise
        self._queue.drop(file)
        return _receipt(answer)

    def send_many(self, events: Iterable[Mapping[str, Any]]) -> list[Receipt | Refusal]:
        """Store many events, some hundreds a request; one result each, in their order. One that is refused harms no
        other. Raises NotReached, and NotTaken where the key or the address is wrong; they have what is done and what is
        not. With a queue QueueFull: none was taken."""
        results: list[Receipt | Refusal] = []
        parts = list(batches([encoded(event) for event in events]))
        files = self._queue.put_all(parts) if self._queue else []
        for place, batch in enumerate(parts):
            try:
                if self._queue is None:
                    results += self._post(batch, self._patience_seconds)
                else:
                    results += self._send_kept(self._queue, files[place], batch)
            except (NotReached, NotTaken) as error:
                if self._queue is not None:
                    self._queue.drop_all(files[place:])
                error.done = results
                error.unsent = [json.loads(body) for part in parts[place:] for _, body in part]
                raise
        return results

    def _send_kept(self, queue: Queue, file: Path, batch: Sequence[Encoded]) -> list[Receipt | Refusal]:
        """Try once a batch that is on disk, and leave there what is worth another try."""
        try:
            found = self._post(batch, None)
        except NotReached:
            return [Receipt(event_id, "queued") for event_id, _ in batch]
        later = {result.event_id for result in found if _is_for_later(result)}
        queue.keep([file], later)
        return [Receipt(r.event_id, "queued") if r.event_id in later else r for r in found]

    def flush(self) -> Flushed:
        """Send what waits in the queue, the oldest first, for up to `patience_seconds` without an answer. Raises
        NotTaken where the key or the address is wrong; what waits stays."""
        done = Flushed()
        if self._queue is None:
            return done
        with self._queue.flushing:
            done.damaged = self._queue.set_damaged_aside()
            for files, batch in self._queue.batches():
                done.left += len(batch)
                if done.problem is not None:
                    continue
                try:
                    found = self._post(batch, self._patience_seconds)
                except NotReached as away:
                    done.problem = away.message
                    continue
                later = [result for result in found if _is_for_later(result)]
                self._queue.keep(files, {result.event_id for result in later})
                refused = [result for result in found if isinstance(result, Refusal) and result not in later]
                done.refused += refused
                done.left -= len(batch) - len(later)
                done.sent += len(batch) - len(later) - len(refused)
                if later:
                    done.problem = later[0].message
        return done

    def _post(self, batch: Sequence[Encoded], patience_seconds: float | None) -> list[Receipt | Refusal]:
        """One request of many events, halved where it is refused as a whole for what is in it. `patience_seconds` None:
        one try, and none while resting."""
        body = b'{"events":[' + b",".join(body for _, body in batch) + b"]}"
        try:
            if patience_seconds is None:
                answer = self._try_once(body, batch[0][0])
            else:
                answer = self._call("POST", "/v1/events", body, batch[0][0], patience_seconds)
        except NotTaken as refusal:
            if refusal.status not in _UNFIT:
                raise
            if len(batch) == 1:
                return [Refusal(batch[0][0], refusal.code, refusal.message, refusal.field)]
            middle = len(batch) // 2
            return self._post(batch[:middle], patience_seconds) + self._post(batch[middle:], patience_seconds)
        if len(results := answer.get("results", ())) != len(batch):
            raise NotTaken(200, "unexpected_answer", "This is not an answer of Postback's; check the address.")
        return [_result(one, event_id) for one, (event_id, _) in zip(results, batch, strict=True)]

    def status(self, event_id: str) -> EventStatus:
        """What became of an event, by your own id or the one we answered. Raises NotTaken (404), NotReached."""
        path = f"/v1/events/{quote(event_id, safe='')}"
        answer = self._call("GET", path, None, event_id, self._patience_seconds)
        return EventStatus(answer["event_id"], answer["event"], answer["status"], _deliveries(answer.get("deliveries")))

    def _try_once(self, body: bytes, event_id: str) -> dict[str, Any]:
        if time.monotonic() < self._resting_until:
            raise NotReached(f"{self._host} was not reached a moment ago; try again later.", event_id)
        try:
            return self._call("POST", "/v1/events", body, event_id, 0.0)
        except NotReached:
            self._resting_until = time.monotonic() + RESTING_SECONDS
            raise

    def _call(
        self, method: str, path: str, body: bytes | None, event_id: str, patience_seconds: float
    ) -> dict[str, Any]:
        deadline = time.monotonic() + patience_seconds
        tries = 0
        while True:
            wait_seconds = 0.0
            try:
                status, wait_seconds, text = self._try(method, path, body)
            except (OSError, http.client.HTTPException) as error:
                problem = f"{self._host} cannot be reached ({error or type(error).__name__})"
            else:
                if status < 500 and status not in _TRY_AGAIN:
                    return _read(status, text)
                problem = f"{self._host} answered {status}"
            longest = min(LONGEST_PAUSE_SECONDS, 0.1 * 2**tries)
            pause = max(wait_seconds, random.uniform(0, longest))
            tries += 1
            if time.monotonic() + pause > deadline:
                raise NotReached(f"{problem}; tried {tries} times, try again later.", event_id)
            time.sleep(pause)

    def _try(self, method: str, path: str, body: bytes | None) -> tuple[int, float, bytes]:
        connection = self._connection(self._host, self._port, timeout=self._timeout_seconds)
        try:
            headers = self._headers | ({"content-type": "application/json"} if body is not None else {})
            connection.request(method, self._path + path, body, headers)
            response = connection.getresponse()
            return response.status, _seconds(response.headers.get("retry-after")), response.read()
        finally:
            connection.close()


def _receipt(shown: dict[str, Any]) -> Receipt:
    return Receipt(shown["event_id"], shown["status"], _deliveries(shown.get("destinations")))


def _result(shown: dict[str, Any], event_id: str) -> Receipt | Refusal:
    if shown["status"] in ("accepted", "duplicate"):
        return _receipt(shown)
    error = shown.get("error") or {}
    return Refusal(event_id, str(error.get("code", "")), str(error.get("message", "")), error.get("field"))


def _is_for_later(result: Receipt | Refusal) -> TypeGuard[Refusal]:
    return isinstance(result, Refusal) and result.code in _LATER


def _read(status: int, text: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and 200 <= status < 300 and ("event_id" in answer or "results" in answer):
        return answer
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict):
        raise NotTaken(status, str(error.get("code", "")), str(error.get("message", "")), error.get("field"))
    raise NotTaken(status, "unexpected_answer", f"{status} is not an answer of Postback's; check the address.")


def _deliveries(shown: Any) -> list[Delivery]:
    return [
        Delivery(d["id"], d["connector"], d["name"], d["status"], d.get("reason"), d.get("next_attempt_at"))
        for d in shown or []
    ]


def _seconds(retry_after: str | None) -> float:
    try:
        return max(0.0, float(retry_after or 0))
    except ValueError:  # an HTTP date
        return 0.0
