"""What arrived and what was answered: the last 50,000 requests, oldest first, and counts by platform.

`at` is ISO 8601 in UTC. `status` is null until an answer was given, and stays so where none was.
"""

import zlib
from collections import Counter, deque
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qsl

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from postback.sandbox.platform import Answer, Problem, Request

KEPT = 50_000
_PACKED_ABOVE_BYTES = 16_384  # 50,000 batches of a thousand events would not fit into memory as they are


class Entry(Struct):
    """One recorded request as it is kept."""

    at: float
    platform: str
    path: str
    request: Request
    packed: bytes
    status: int | None = None
    problems: tuple[Problem, ...] | None = None

    def text(self) -> bytes:
        return self.request.raw or (zlib.decompress(self.packed) if self.packed else b"")


class EntryOut(Struct, frozen=True):
    """One recorded request as it is shown; `problems` only where the platform's answer hides them."""

    at: str
    platform: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Raw | dict[str, str] | None
    raw: str
    status: int | None
    problems: tuple[Problem, ...] | UnsetType = UNSET


class Counts(Struct, frozen=True):
    """Since the start or the last time they were forgotten. `unanswered` are those without a status, as yet or ever."""

    requests: int
    unanswered: int
    events_accepted: int
    statuses: dict[str, int]
    fault: str | None


class Records:
    """The requests of all platforms and their counts."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._requests: Counter[str] = Counter()
        self._events: Counter[str] = Counter()
        self._statuses: Counter[tuple[str, str]] = Counter()

    def arrived(self, platform: str, path: str, request: Request, at: float) -> Entry:
        """Keep a request; its answer is added later, if one is given."""
        packed = b""
        if len(request.raw) > _PACKED_ABOVE_BYTES:
            packed = zlib.compress(request.raw, 1)
            request = msgspec.structs.replace(request, raw=b"")
        entry = Entry(at, platform, path, request, packed)
        self._entries.append(entry)
        self._requests[platform] += 1
        return entry

    def answered(self, entry: Entry, answer: Answer) -> None:
        """Note what was answered."""
        entry.status, entry.problems = answer.status, answer.problems
        self._events[entry.platform] += answer.events
        self._statuses[entry.platform, str(answer.status)] += 1

    def shown(self, platform: str | None = None) -> list[EntryOut]:
        """The requests of one platform or of all, oldest first."""
        return [_shown(entry) for entry in self._entries if platform in (None, entry.platform)]

    def forget(self, platform: str | None = None) -> None:
        """Drop the requests and counts of one platform or of all."""
        kept = [] if platform is None else [entry for entry in self._entries if entry.platform != platform]
        self._entries = deque(kept, maxlen=KEPT)
        for counter in (self._requests, self._events):
            for name in list(counter) if platform is None else [platform]:
                del counter[name]
        self._statuses = Counter({k: n for k, n in self._statuses.items() if platform not in (None, k[0])})

    def counts(self, platform: str, fault: str | None) -> Counts:
        """The counts of one platform."""
        statuses = {status: n for (name, status), n in sorted(self._statuses.items()) if name == platform}
        requests = self._requests[platform]
        return Counts(requests, max(0, requests - sum(statuses.values())), self._events[platform], statuses, fault)


def _shown(entry: Entry) -> EntryOut:
    raw, request = entry.text(), entry.request
    return EntryOut(
        at=datetime.fromtimestamp(entry.at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        platform=entry.platform,
        method=request.method,
        path=entry.path,
        query=request.query,
        headers=request.headers,
        body=_parsed(raw, request.media_type),
        raw=raw.decode(errors="replace"),
        status=entry.status,
        problems=UNSET if entry.problems is None else entry.problems,
    )


def _parsed(raw: bytes, media_type: str) -> Raw | dict[str, str] | None:
    """JSON verbatim, a form as its fields, None for anything else."""
    try:
        text = raw.decode()
        if media_type == "application/x-www-form-urlencoded":
            return dict(parse_qsl(text, keep_blank_values=True))
        return msgspec.json.decode(text, type=Raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
