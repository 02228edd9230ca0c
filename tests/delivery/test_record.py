"""What the log keeps is masked."""

from collections.abc import Iterable

import msgspec
import pytest

from postback.connectors import Request, Response, encode
from postback.delivery import record
from postback.delivery.record import PRIVATE, Record
from postback.secret import MASK, Secret

TOKEN = Secret('s3cret/"+&value')
RECORD = Record([TOKEN], {"client_ip_address", "ip"})


def test_the_head_shows_method_url_and_headers_without_the_secret() -> None:
    request = Request(
        method="POST", url=f"https://a.example/x?key={TOKEN}", headers={"authorization": f"Bearer {TOKEN}"}
    )
    assert RECORD.head(request) == f"POST https://a.example/x?key={MASK}\nauthorization: Bearer {MASK}"


def test_private_keys_are_masked_at_any_depth_and_nothing_else_is() -> None:
    body = {"user": {"client_ip_address": "1.2.3.4", "em": ["h"]}, "list": [{"ip": {"x": 1}}], "n": 1}
    assert msgspec.json.decode(RECORD.body(body)) == {
        "user": {"client_ip_address": PRIVATE, "em": ["h"]}, "list": [{"ip": PRIVATE}], "n": 1
    }  # fmt: skip
    assert msgspec.json.decode(RECORD.body({"token": str(TOKEN)})) == {"token": MASK}
    assert RECORD.body({"n": 1}, encode({"n": 1})) == b'{"n":1}'
    assert RECORD.body({"a": ({"ip": 1}, 2), "ip": {}}) == b'{"a":[{"ip":"[private]"},2],"ip":"[private]"}'


def test_masking_looks_at_each_object_once_however_deep_a_list_goes_and_leaves_what_is_sent_alone() -> None:
    class Counted(frozenset[str]):
        asked = 0

        def isdisjoint(self, other: Iterable[object]) -> bool:
            Counted.asked += 1
            return super().isdisjoint(other)

    deep: object = {"ip": 1}
    for _ in range(18):
        deep = [deep]
    body = {"deep": deep, "user": {"ip": 1}}
    sent = encode(body)
    assert encode(record._masked(body, Counted({"ip"}))) == sent.replace(b'"ip":1', b'"ip":"[private]"')
    assert (encode(body), Counted.asked) == (sent, 3)


@pytest.mark.parametrize(
    "form",
    [TOKEN.reveal(), "s3cret%2F%22%2B%26value", 's3cret/\\"+&value', TOKEN.stand_in],
    ids=["as it is", "percent", "json", "stand-in"],
)
def test_an_answer_that_repeats_a_secret_in_any_form_is_masked(form: str) -> None:
    shown = RECORD.answer(Response(400, {}, f"bad key <{form}>, from 10.1.2.3".encode()), ["10.1.2.3"], 4096)
    assert shown == f"bad key <{MASK}>, from {PRIVATE}"


def test_an_answer_is_cut_and_can_be_stored_whatever_it_holds() -> None:
    assert RECORD.answer(Response(200, {}, b"x" * 9999), (), 100) == "x" * 100
    shown = RECORD.answer(Response(200, {}, b"\x00\xff\xfe ok \xed\xa0\x80"), (), 100)
    assert "\x00" not in shown
    assert "ok" in shown
    shown.encode()
    assert RECORD.text("a\ud800b\x00") == "a?b\ufffd"
