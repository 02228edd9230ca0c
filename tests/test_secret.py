"""A secret is shown by nothing but `reveal`."""

import json

import msgspec
import pytest
from msgspec import Struct

from postback import secret
from postback.secret import Secret


class Inner(Struct, frozen=True):
    password: Secret
    user: str = "u"


class Config(Struct, frozen=True):
    token: Secret
    inner: Inner
    name: str = "n"
    other: Secret | None = None


def test_formatting_a_secret_gives_its_stand_in() -> None:
    one = Secret("hunter2")
    shown = [str(one), repr(one), f"{one}", "%s" % one, f"{one!r}", str([one]), str(Config(one, Inner(one)))]  # noqa: UP031
    assert all(one.stand_in in text and "hunter2" not in text for text in shown)
    assert one.reveal() == "hunter2"


@pytest.mark.parametrize("encode", [msgspec.json.encode, json.dumps, msgspec.to_builtins])
def test_a_secret_is_not_encoded_unasked(encode: object) -> None:
    assert callable(encode)
    with pytest.raises(TypeError):
        encode(Secret("hunter2"))


def test_each_stand_in_is_another_and_secrets_are_equal_by_value() -> None:
    one, same, other = Secret("a"), Secret("a"), Secret("b")
    assert one.stand_in != same.stand_in
    assert one == same
    assert len({one, same, other}) == 2
    assert one != "a"


def test_a_stand_in_may_be_there_before_the_value() -> None:
    assert str(Secret("later", "pbsecret-token")) == "pbsecret-token"


def test_the_secrets_of_a_config_are_found_in_nested_structs_too() -> None:
    token, password = Secret("t"), Secret("p")
    assert secret.of(Config(token, Inner(password))) == [token, password]


def test_a_secret_is_read_from_text() -> None:
    read = msgspec.json.decode(b'{"password": "p"}', type=Inner, dec_hook=secret.decode_hook)
    assert read.password == Secret("p")
