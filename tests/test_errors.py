"""The tree of errors is what its page says."""

import inspect
import re

from postback import errors
from postback.errors import Invalid, PostbackError, TooMany

ALL = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, PostbackError) and kind is not PostbackError
]


def test_the_tree_at_the_top_names_each_error_below_its_parent_with_its_status() -> None:
    tree = re.findall(r"^( +)(\w+) +(.*)$", (errors.__doc__ or "").partition("A platform's")[0], re.MULTILINE)
    shown = {name: (len(indent), text) for indent, name, text in tree}
    assert shown.keys() == {kind.__name__ for kind in ALL}
    for kind in ALL:
        depth, text = shown[kind.__name__]
        assert depth == 2 + 2 * len(kind.__mro__[1 : kind.__mro__.index(PostbackError)]) + 2, kind
        if kind.__name__ != "Rejected":
            assert str(kind.status) in text, kind


def test_each_error_has_a_code_of_its_own() -> None:
    assert len({kind.code for kind in ALL}) == len(ALL)


def test_a_body_that_cannot_be_read_is_a_bad_request_and_a_field_that_cannot_be_used_is_not() -> None:
    read, unread = Invalid("no", field="a.b"), Invalid("no", malformed=True)
    assert (read.status, read.code, read.field) == (422, "validation_failed", "a.b")
    assert (unread.status, unread.code, unread.field) == (400, "bad_request", None)


def test_an_error_is_its_message() -> None:
    assert str(TooMany("Wait a minute.", retry_after_seconds=60)) == "Wait a minute."
