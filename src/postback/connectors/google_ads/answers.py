"""What Google's answers mean.

The Data Manager API takes all events of a request or none, and names those that were wrong by their index. The Google
Ads API judges each row: one that it did not take is an empty object among `results`, with its error among the details.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from postback.connectors import (
    Delivered,
    Failed,
    Outcome,
    Refused,
    Response,
    Retry,
    of_one,
    otherwise,
    said,
    unlisted,
)

SIX_HOURS, HALF_A_DAY, A_DAY = 21_600.0, 43_200.0, 86_400.0
WAITS = {
    "CONVERSION_ACTION_TOO_RECENTLY_CREATED": SIX_HOURS,
    "TOO_RECENT_CONVERSION_ACTION": SIX_HOURS,
    "TOO_RECENT_EVENT": SIX_HOURS,
    "TOO_RECENT_CONVERSION": A_DAY,
    "CONVERSION_NOT_FOUND": HALF_A_DAY,  # it may still be on its way, for up to three days
}
DONE = frozenset(
    "CLICK_CONVERSION_ALREADY_EXISTS ORDER_ID_ALREADY_IN_USE DUPLICATE_ORDER_ID DUPLICATE_CLICK_CONVERSION_IN_REQUEST "
    "CONVERSION_ALREADY_RETRACTED RESTATEMENT_ALREADY_EXISTS CONVERSION_ALREADY_ENHANCED MORE_RECENT_RESTATEMENT_FOUND "
    "DUPLICATE_ADJUSTMENT_IN_REQUEST".split()
)
_CONNECT = "Connect the account again: give a new refresh token, or another service account's key."
_ACCESS = (
    "Give the user or the service account access to this Google Ads account, with the scopes datamanager and adwords, "
    "and check the customer ids."
)
_ACTION = "Check conversion_actions: the ids must be this account's, of a type that takes uploads."
_TERMS = "Accept the customer data terms in Google Ads > Goals > Settings, and enable enhanced conversions for leads."
_EVENT = "Correct what Google names, in the sender's events or in this destination's blueprint."
# What is wrong with the configuration, and what to do about it.
FIXES = {
    "INVALID_CONVERSION_ACTION_ID": _ACTION,
    "INVALID_CONVERSION_ACTION_TYPE": _ACTION,
    "NO_CONVERSION_ACTION_FOUND": _ACTION,
    "INVALID_DESTINATION": _ACCESS,
    "UNAUTHORIZED_CUSTOMER": _ACCESS,
    "INVALID_CUSTOMER_FOR_CLICK": _ACCESS,
    "DESTINATION_ACCOUNT_NOT_ENABLED_ENHANCED_CONVERSIONS_FOR_LEADS": _TERMS,
    "DESTINATION_ACCOUNT_ENHANCED_CONVERSIONS_TERMS_NOT_SIGNED": _TERMS,
    "TERMS_AND_CONDITIONS_NOT_SIGNED": _TERMS,
    "CUSTOMER_NOT_ACCEPTED_CUSTOMER_DATA_TERMS": _TERMS,
    "CUSTOMER_NOT_ENABLED_ENHANCED_CONVERSIONS_FOR_LEADS": _TERMS,
    "CUSTOMER_NOT_ALLOWLISTED_FOR_THIS_FEATURE": "Google closed this upload to new projects: install the connector "
    "with the variant default.",
}
_ANSWER_FIELDS = frozenset({"requestId", "fieldWarnings", "results", "jobId"})
_EVENT_INDEX = re.compile(r"events\[([0-9]{1,6})\]").search
_ROWS = ("conversions", "conversion_adjustments", "conversionAdjustments")
# An error that says that it is there already beats all others of its row.
_STRONGEST_FIRST = (Delivered, Refused, Failed, Retry)


class _Fault(Struct, frozen=True):
    """One error of an answer; `index` None: it does not say of which event."""

    index: int | None
    outcome: Outcome


def interpret(response: Response, count: int) -> Outcome | list[Outcome]:
    """Google's verdict; of each event, where it names them."""
    answer = response.json
    if response.status == 200:
        return _taken(response, answer, count)
    error = answer.get("error") if isinstance(answer, dict) else None
    words = said(error.get("status"), error.get("message")) if isinstance(error, dict) else ""
    reason = said(f"answered {response.status}", words)
    match response.status:
        case 401:
            return Refused(reason, _CONNECT)
        case 403 | 404:
            return Refused(reason, _ACCESS)
        case 400 if isinstance(error, dict):
            return _refused(error, reason, count)
        case _:
            return otherwise(response, words)


def interpret_probe(response: Response) -> Outcome:
    """That Google takes the credential and knows the account; an event that it did not like proves that too."""
    outcome = of_one(interpret(response, 1))
    if response.status == 200 and isinstance(response.json, dict) and isinstance(outcome, Delivered | Failed):
        return Delivered("Google takes the credential and knows the account.")
    return outcome


def _taken(response: Response, answer: Any, count: int) -> Outcome | list[Outcome]:
    match answer:
        case {"partialFailureError": {"details": [*details]}}:
            results = answer.get("results")
            return _each(list(_row_faults(details)), results if isinstance(results, list) else [], count)
        case {"partialFailureError": _}:
            return Failed("Google took a part and did not say which", fix=_EVENT)
        case dict() if answer.keys() <= _ANSWER_FIELDS:
            return Delivered(_note(answer))
        case _:
            return unlisted(response)


def _each(faults: Sequence[_Fault], results: Sequence[Any], count: int) -> Outcome | list[Outcome]:
    """Of each row; an error that names none is that of the empty rows which no other names."""
    named = _by_index(faults, count)
    if unnamed := [fault.outcome for fault in faults if fault.index is None or fault.index >= count]:
        worst = _strongest(unnamed)
        empty = [index for index, row in enumerate(results[:count]) if row == {} and index not in named]
        if not empty and not named:
            return worst
        named |= dict.fromkeys(empty, worst)
    return [named.get(index, Delivered()) for index in range(count)]


def _refused(error: Mapping[str, Any], reason: str, count: int) -> Outcome | list[Outcome]:
    """Nothing of the request was taken: what its errors name is judged by them, and the rest goes again."""
    details = error.get("details")
    found = details if isinstance(details, list) else []
    faults = [*_violations(found), *_row_faults(found)]
    for kind in (Refused, Retry):
        if whole := [fault.outcome for fault in faults if isinstance(fault.outcome, kind)]:
            return whole[0]
    named = _by_index(faults, count)
    if not named:
        return faults[0].outcome if faults else Failed(reason, fix=_EVENT)
    again = Retry("another event of its request was refused")
    return [named.get(index, again) for index in range(count)]


def _by_index(faults: Sequence[_Fault], count: int) -> dict[int, Outcome]:
    found: dict[int, list[Outcome]] = {}
    for fault in faults:
        if fault.index is not None and fault.index < count:
            found.setdefault(fault.index, []).append(fault.outcome)
    return {index: _strongest(outcomes) for index, outcomes in found.items()}


def _strongest(outcomes: Sequence[Outcome]) -> Outcome:
    return min(outcomes, key=lambda outcome: _STRONGEST_FIRST.index(type(outcome)))


def _violations(details: Sequence[Any]) -> Iterator[_Fault]:
    """Of the Data Manager API: `fieldViolations`."""
    for detail in details:
        violations = detail.get("fieldViolations") if isinstance(detail, dict) else None
        for violation in violations if isinstance(violations, list) else ():
            if isinstance(violation, dict):
                field, code = _text(violation.get("field")), _text(violation.get("reason"))
                place = _EVENT_INDEX(field)
                text = f"{field}: {_text(violation.get('description'))}"
                yield _Fault(int(place[1]) if place else None, _outcome("", code, text))


def _row_faults(details: Sequence[Any]) -> Iterator[_Fault]:
    """Of the Google Ads API: the errors of a `GoogleAdsFailure`."""
    for detail in details:
        errors = detail.get("errors") if isinstance(detail, dict) else None
        for error in errors if isinstance(errors, list) else ():
            if isinstance(error, dict):
                codes = error.get("errorCode")
                kind, code = next(iter(codes.items()), ("", "")) if isinstance(codes, dict) else ("", "")
                yield _Fault(_row(error.get("location")), _outcome(kind, _text(code), _text(error.get("message"))))


def _row(location: Any) -> int | None:
    """The row that an error is about: an index that is missing is 0."""
    match location:
        case {"fieldPathElements": [{"fieldName": name, **rest}, *_]} if name in _ROWS:
            index = rest.get("index", 0)
            return index if isinstance(index, int) and index >= 0 else None
        case _:
            return None


def _outcome(kind: str, code: str, text: str) -> Outcome:
    reason = said(f"Google's {code or 'error'}", text)
    if code in DONE:
        return Delivered(f"Google has it already: {code}")
    if code in WAITS:
        return Retry(reason, WAITS[code])
    if kind == "quotaError":
        return Retry(reason, throttled=True)
    if kind == "internalError":
        return Retry(reason)
    if kind == "authenticationError":
        return Refused(reason, _CONNECT)
    # Of a retraction, only what the account may do at all is the configuration's fault.
    if kind == "authorizationError" or (code in FIXES and kind != "conversionAdjustmentUploadError"):
        return Refused(reason, FIXES.get(code, _ACCESS))
    return Failed(reason, fix=_EVENT)


def _note(answer: Mapping[str, Any]) -> str | None:
    request_id, warnings = answer.get("requestId"), answer.get("fieldWarnings")
    parts = [f"requestId {request_id}"] if isinstance(request_id, str) else []
    for warning in warnings if isinstance(warnings, list) else ():
        if isinstance(warning, dict):
            parts.append(f"{_text(warning.get('field'))}: {_text(warning.get('reason'))}")
    return said(*parts, between="; ") or None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
