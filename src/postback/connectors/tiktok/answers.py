"""What TikTok's answers mean. HTTP is 200 for nearly everything: the JSON `code` decides, 0 is taken."""

from collections.abc import Mapping
from typing import Any

from postback.connectors import (
    Delivered,
    Failed,
    Outcome,
    Refused,
    Response,
    Retry,
    encode,
    said,
    unlisted,
)

PARTIAL, NO_PERMISSION, INVALID, NO_SUCH_PIXEL, TOO_MANY = 20001, 40001, 40002, 40007, 40100
BAD_TOKEN = frozenset({40102, 40104, 40105})

_GENERATE = "Generate a new access token in Events Manager > your pixel > Settings > Events API."


def interpret(response: Response, count: int) -> Outcome:
    """TikTok's verdict on the whole batch, by the JSON `code`, whatever HTTP says below 500."""
    match response.json:
        case {"code": int(code)} as answer if response.status != 429 and response.status < 500:
            return _by_code(code, answer, response.retry_after_seconds)
        case _:
            return unlisted(response)


def interpret_probe(response: Response) -> Outcome:
    """That the empty batch is what was refused proves the token and the pixel, as far as TikTok tells."""
    match interpret(response, 0), response.json:
        case Failed(), {"code": code} if code == INVALID:
            return Delivered("TikTok refused neither token nor pixel. Whether it takes an event shows with the first.")
        case outcome, _:
            return outcome


def _by_code(code: int, answer: Mapping[str, Any], retry_after: float | None) -> Outcome:
    reason = f"TikTok's code {code}: {said(answer.get('message'))}"
    if code == 0:
        request_id = answer.get("request_id")
        return Delivered(said(f"request_id {request_id}") if isinstance(request_id, str) else None)
    if code == PARTIAL:
        return Delivered(said("partial success", encode(answer.get("data")).decode("utf-8", "replace")))
    if code == TOO_MANY:
        return Retry(reason, after_seconds=max(1.0, min(60.0, retry_after or 1.0)), throttled=True)
    if code == NO_PERMISSION:
        return Refused(reason, fix="Give the token's account the right to manage this pixel, or check the pixel code.")
    if code == NO_SUCH_PIXEL:
        return Refused(reason, fix="Check the pixel code: TikTok has none of that name.")
    if code in BAD_TOKEN:
        return Refused(reason, fix=_GENERATE)
    if 40_000 <= code < 50_000:
        return Failed(reason, fix="Correct what TikTok names in the sender's events or this destination's blueprint.")
    if 50_000 <= code < 60_000:
        return Retry(reason, retry_after)
    return Failed(reason, fix="Read the answer in the delivery log.")
