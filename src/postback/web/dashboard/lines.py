"""Where in a JSON text something stands, so that a mistake is shown with its line."""

import json
import re

import msgspec

_VALUE = json.JSONDecoder()
_SPACE = re.compile(r"\s*")
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def of_error(text: str, error: msgspec.DecodeError) -> int | None:
    """The line at which a text stops being JSON."""
    found = re.search(r"byte (\d+)", str(error))
    return text.encode()[: int(found[1])].count(b"\n") + 1 if found else line(text, len(text.rstrip()))


def of_path(text: str, path: str) -> int:
    """The line of what a path such as `rules[1].filter` names; of what is around it, where it is not there itself."""
    at = _skip(text, 0)
    try:
        for name, number in _STEP.findall(path):
            found = _in_list(text, at, int(number)) if number else _in_object(text, at, name)
            if found is None:
                break
            at = found
    except (ValueError, IndexError):
        pass
    return line(text, at)


def _in_list(text: str, at: int, number: int) -> int | None:
    if text[at] != "[":
        return None
    at = _skip(text, at + 1)
    for _ in range(number):
        at = _skip(text, _VALUE.raw_decode(text, at)[1])
        if text[at] != ",":
            return None
        at = _skip(text, at + 1)
    return at


def _in_object(text: str, at: int, name: str) -> int | None:
    if text[at] != "{":
        return None
    while text[at] != "}":
        key_at = _skip(text, at + 1)
        key, end = _VALUE.raw_decode(text, key_at)
        value_at = _skip(text, _skip(text, end) + 1)
        if key == name:
            return value_at
        at = _skip(text, _VALUE.raw_decode(text, value_at)[1])
    return None


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
