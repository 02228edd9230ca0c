"""What an answer means for the deliveries of a request, and for their lane. Pure: time and randomness are arguments."""

import random
import re
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec
import structlog
from msgspec import Struct, structs

from postback import queue
from postback.connectors import Connector, Delivered, Failed, Item, Outcome, Refused, Request, Response, Retry
from postback.delivery import verdict
from postback.delivery.record import RESPONSE_CHARS, Record
from postback.delivery.sender import Answer, NotSent, Unanswered, Unsendable
from postback.delivery.verdict import Limits
from postback.event import Event, JoinedEvent
from postback.queue.sending import Ended, Settled, Ticket

log = structlog.get_logger()
_OURS = re.compile(queue.OURS).match
_NAMES = {Delivered: "delivered", Retry: "retry", Failed: "failed", Refused: "refused"}


class Parcel(Struct, eq=False):
    """One delivery on its way. `reaches`: what is remembered once it is delivered."""

    ticket: Ticket
    event: JoinedEvent
    item: Item
    limits: Limits
    tries: int
    reaches: tuple[bytes, bytes] | None = None


class Judged(Struct):
    """`settled`: a row for each delivery. `is_failure`: no answer or a 5xx, for the breaker; None: nothing was sent.
    `refused`: the destination is to be held; its texts are masked. `throttled`: the platform asked for fewer calls.
    `is_split`: refused as a whole, to be sent again by halves. `wait_seconds`: the longest that the platform
    asked for."""

    settled: list[Settled]
    is_failure: bool | None = False
    refused: Refused | None = None
    throttled: Retry | None = None
    is_split: bool = False
    wait_seconds: float = 0.0


class _Lost(Struct, frozen=True):
    """The outcome of a request that may have been taken."""

    reason: str


def judge(
    parcels: Sequence[Parcel],
    request: Request,
    answer: Answer,
    connector: Connector,
    record: Record,
    *,
    leaving: frozenset[str],
    content: bytes,
    at: datetime,
    latency_ms: int,
    now: datetime,
    roll: Callable[[], float] = random.random,
) -> Judged:
    """One row for each parcel. What a platform says of many may quote any of them, and an erasure would find it with
    its own event alone: of such an answer the log keeps what it means, in our words.

    `leaving`: names of the identifiers that the destination is sent. `content`: the request's; `at`: when the attempt
    began; `roll`: random numbers in [0, 1), for the waits."""
    outcomes = _outcomes(answer, connector, len(parcels))
    is_of_many = len(parcels) > 1 and isinstance(answer, Response)
    if is_of_many and len(outcomes) == 1:
        outcomes = [_ours(outcomes[0])]
    judged = Judged([], is_failure=_is_failure(answer))
    if len(parcels) > 1 and isinstance(outcomes[0], Failed) and len(outcomes) == 1:
        judged.is_split = True
    if len(outcomes) == 1:
        outcomes = [outcomes[0]] * len(parcels)
    head = record.head(request)
    # Of all, since a text that all share may name any; the longer first, since one may hold another.
    values = {value for parcel in parcels for value in parcel.event.readable.values()}
    readable = sorted(values, key=len, reverse=True)
    status, response = None, None
    if isinstance(answer, Response):
        status = answer.status
        response = record.answer(answer, readable, RESPONSE_CHARS) if not is_of_many else None
    texts: dict[str, str] = {}
    # Where the item is the whole request, it was encoded already.
    is_whole = request.json is parcels[0].item.body
    for parcel, outcome in zip(parcels, outcomes, strict=True):
        _note(judged, outcome)
        name, standing = _standing(parcel, outcome, connector, judged.is_split, at, now, roll)
        reason = outcome.note if isinstance(outcome, Delivered) else outcome.reason
        for text in (reason, standing.reason, standing.fix):
            if text and text not in texts:
                texts[text] = record.text(text, readable)
        body = record.body(parcel.item.body, content if is_whole else None)
        origins = msgspec.json.encode(parcel.event.origins(leaving))
        ended = Ended(name, texts.get(reason or ""), status, latency_ms, head, body, response, origins)
        why, fix = texts.get(standing.reason or ""), texts.get(standing.fix or "")
        reached = parcel.reaches if isinstance(outcome, Delivered) else None
        judged.settled.append(Settled(parcel.ticket, standing.status, standing.due_at, why, fix, ended, at, reached))
    if (refused := judged.refused) is not None:
        judged.refused = Refused(record.text(refused.reason, readable), record.text(refused.fix, readable))
    return judged


def _ours(outcome: Outcome | _Lost) -> Outcome | _Lost:
    """The same without the platform's own words."""
    if isinstance(outcome, Delivered):
        return Delivered(_head(outcome.note)) if outcome.note is not None else outcome
    return structs.replace(outcome, reason=_head(outcome.reason))


def _head(reason: str) -> str:
    found = _OURS(reason)
    return found[0] if found is not None else ""


def is_repeatable(connector: Connector, event: Event, sent_at: datetime, now: datetime) -> bool:
    """Whether a request that may have been taken at `sent_at` can be sent again without counting twice."""
    return connector.repeat_is_safe(event) or now - sent_at < connector.dedup_window


def _outcomes(answer: Answer, connector: Connector, count: int) -> Sequence[Outcome | _Lost]:
    """One for all, or one for each."""
    match answer:
        case NotSent(reason):
            return [Retry(reason)]
        case Unsendable(reason, fix):
            return [Refused(reason, fix)]
        case Unanswered(reason):
            return [_Lost(reason)]
        case Response():
            pass
    try:
        outcome = connector.interpret(answer, count)
    except Exception as error:  # interpret never raises; if it does, the platform has the request all the same
        log.exception("interpret failed", connector=connector.name)
        return [_Lost(f"our bug: {type(error).__name__} in {connector.name}")]
    if not isinstance(outcome, list):
        return [outcome]
    if len(outcome) != count:
        log.error("wrong number of outcomes", connector=connector.name, events=count, outcomes=len(outcome))
        return [_Lost(f"our bug: {len(outcome)} outcomes for {count} events in {connector.name}")]
    return outcome


def _is_failure(answer: Answer) -> bool | None:
    match answer:
        case Response():
            return answer.status >= 500
        case Unsendable():
            return None
        case _:
            return True


def _note(judged: Judged, outcome: Outcome | _Lost) -> None:
    match outcome:
        case Refused():
            judged.refused = outcome
        case Retry(_, after_seconds, throttled):
            judged.wait_seconds = max(judged.wait_seconds, after_seconds or 0.0)
            if throttled:
                judged.throttled = outcome
        case _:
            pass


def _standing(
    parcel: Parcel,
    outcome: Outcome | _Lost,
    connector: Connector,
    is_split: bool,
    at: datetime,
    now: datetime,
    roll: Callable[[], float],
) -> tuple[str, verdict.Standing]:
    if isinstance(outcome, _Lost):
        standing = verdict.unknown(
            outcome.reason,
            parcel.limits,
            repeat_is_safe=is_repeatable(connector, parcel.event, at, now),
            tries=parcel.tries,
            now=now,
            random=roll(),
        )
        return "unknown", standing
    if isinstance(outcome, Delivered) and (notice := parcel.item.notice) is not None:
        return "delivered", verdict.Standing("delivered", now, notice.reason, notice.fix)
    if is_split:
        return "failed", verdict.Standing("retrying", now, outcome.reason if isinstance(outcome, Failed) else None)
    return _NAMES[type(outcome)], verdict.standing(outcome, parcel.limits, tries=parcel.tries, now=now, random=roll())
