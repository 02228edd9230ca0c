"""The client's queue: events as they are sent, in a folder, until they are answered."""

import contextlib
import itertools
import json
import os
import threading
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from postback.client.shapes import QueueFull

BATCH_EVENTS, BATCH_BYTES = 500, 3_000_000  # of one request; the server takes 1000 and 4 MB
LEFTOVER_SECONDS = 3600
COUNTED_SECONDS = 5.0

Encoded = tuple[str, bytes]  # an event's id, and its JSON


class Queue:
    """A folder of small files, each with a line for every event: a checksum, and the event as it is sent.

    A file is written aside, forced to disk, then given its name; so what was taken is there, and what is half written
    is not. A damaged line harms no other.
    """

    def __init__(self, folder: Path, bytes_max: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.flushing = threading.Lock()
        self._folder = folder
        self._bytes_max = bytes_max
        self._numbers = itertools.count()
        self._held, self._held_at = 0, float("-inf")
        for leftover in folder.glob("*.new"):
            with contextlib.suppress(OSError):
                if time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS:
                    leftover.unlink()

    def put_all(self, batches: Sequence[Sequence[Encoded]]) -> list[Path]:
        """Keep events until they are dropped, a file for each batch. Raises QueueFull: none is kept then."""
        files: list[Path] = []
        try:
            for batch in batches:
                files.append(self._put(_written([body for _, body in batch])))
        except BaseException:
            self.drop_all(files)
            raise
        return files

    def _put(self, lines: bytes) -> Path:
        self._make_room(len(lines))
        name = f"{time.time_ns():020d}-{next(self._numbers)}-{uuid.uuid4().hex}.events"
        self._write(self._folder / name, lines)
        return self._folder / name

    def drop(self, file: Path) -> None:
        with contextlib.suppress(FileNotFoundError):  # another process had it too
            size = file.stat().st_size
            file.unlink()
            self._held -= size

    def drop_all(self, files: Iterable[Path]) -> None:
        for file in files:
            self.drop(file)

    def keep(self, files: Iterable[Path], event_ids: set[str]) -> None:
        """Forget all events of some files but these."""
        for file in files:
            readable, _ = _lines(file)
            left = [body for event_id, body in readable if event_id in event_ids]
            if not left:
                self.drop(file)
            elif len(left) < len(readable):
                self._write(file, _written(left))

    def set_damaged_aside(self) -> int:
        """Put files that have unreadable lines aside, and their readable lines back; how many lines were not."""
        damaged = 0
        for file in self._files():
            readable, unreadable = _lines(file)
            if unreadable:
                damaged += unreadable
                self._write(file.with_suffix(f".{uuid.uuid4().hex[:8]}.damaged"), file.read_bytes())
                if readable:
                    self._write(file, _written([body for _, body in readable]))
                else:
                    self.drop(file)
        return damaged

    def batches(self) -> Iterator[tuple[list[Path], list[Encoded]]]:
        """What waits, the oldest first: whole files together, as much as fits a request."""
        files: list[Path] = []
        batch: list[Encoded] = []
        for file in self._files():
            readable, _ = _lines(file)
            size = sum(len(body) for _, body in (*batch, *readable))
            if batch and (len(batch) + len(readable) > BATCH_EVENTS or size > BATCH_BYTES):
                yield files, batch
                files, batch = [], []
            files.append(file)
            batch += readable
        if batch:
            yield files, batch

    def _make_room(self, size: int) -> None:
        """Raises QueueFull. What is held is counted anew now and then, since others may use the folder too."""
        if (now := time.monotonic()) > self._held_at + COUNTED_SECONDS:
            with os.scandir(self._folder) as found:
                self._held, self._held_at = sum(_size(entry) for entry in found), now
        if self._held + size > self._bytes_max:
            raise QueueFull(f"The queue in {self._folder} holds {self._held} of {self._bytes_max} bytes; flush it.")
        self._held += size

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.events"))

    def _write(self, file: Path, lines: bytes) -> None:
        aside = file.with_suffix(".new")
        try:
            with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
                out.write(lines)
                out.flush()
                os.fsync(out.fileno())
            aside.replace(file)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        with contextlib.suppress(PermissionError):  # Windows opens no folders, and needs not
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def encoded(event: Mapping[str, Any]) -> Encoded:
    event_id = str(event.get("event_id") or uuid.uuid4())
    return event_id, json.dumps({**event, "event_id": event_id}, default=_plain, allow_nan=False).encode()


def batches(events: Sequence[Encoded]) -> Iterator[list[Encoded]]:
    batch: list[Encoded] = []
    size = 0
    for event_id, body in events:
        if batch and (len(batch) >= BATCH_EVENTS or size + len(body) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((event_id, body))
        size += len(body)
    if batch:
        yield batch


def _written(bodies: Sequence[bytes]) -> bytes:
    return b"".join(b"%08x %s\n" % (zlib.crc32(body), body) for body in bodies)


def _lines(file: Path) -> tuple[list[Encoded], int]:
    """A file's events, and how many lines cannot be read; none of a file that another process has done with."""
    try:
        lines = file.read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], 0
    found: list[Encoded] = []
    unreadable = 0
    for line in filter(None, lines):
        checksum, _, body = line.partition(b" ")
        if checksum == b"%08x" % zlib.crc32(body):
            found.append((json.loads(body)["event_id"], body))
        else:
            unreadable += 1
    return found, unreadable


def _size(entry: "os.DirEntry[str]") -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:
        return 0


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        number = float(value)
        # A float is written in the shortest form that reads back the same, so up to 15 digits nothing is lost.
        if Decimal(repr(number)) != value:
            raise ValueError(f"{value} has more digits than JSON numbers keep here; give at most 15.")
        return number
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone; give an aware datetime.")
        return value.isoformat()
    if isinstance(value, date | uuid.UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
