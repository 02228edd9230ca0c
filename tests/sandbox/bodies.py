"""Bodies of requests made from a page's worked example, and what an answer says."""

import copy
import json
from typing import Any

from postback.sandbox import Answer

ABSENT = object()


def told(answer: Answer) -> Any:
    return json.loads(answer.body)


def put(place: Any, path: str, value: object) -> None:
    """Set what is at a path such as `user.email` or `items.0.price`; ABSENT removes it."""
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    for parent in parents:
        place = place[parent]
    if value is ABSENT:
        del place[last]
    else:
        place[last] = value


def changed_data(example: bytes, *changes: tuple[str, object]) -> dict[str, Any]:
    """The example with values set or removed, at paths below the only one of its `data`; `/` begins at the top."""
    body = json.loads(example)
    for path, value in changes:
        put(body if path.startswith("/") else body["data"][0], path.strip("/"), value)
    return body


def repeated_data(example: bytes, count: int) -> dict[str, Any]:
    """The example with the only one of its `data` as often as `count`, each a copy of its own."""
    body = json.loads(example)
    body["data"] = [copy.deepcopy(body["data"][0]) for _ in range(count)]
    return body
