import os
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postback.pii import Sealer, SealError, link_key, new_key, parse_keys

OLD, NEW = b"o" * 32, b"n" * 32


def sealer(*keys: bytes) -> Sealer:
    return Sealer(keys, os.urandom)


@given(st.binary(max_size=300))
def test_what_was_sealed_is_unsealed(plain: bytes) -> None:
    seal = sealer(NEW)
    blob = seal.seal(plain)
    assert seal.unseal(blob) == plain
    assert len(plain) < 8 or plain not in blob


def test_two_seals_of_the_same_text_differ() -> None:
    seal = sealer(NEW)
    assert seal.seal(b"text") != seal.seal(b"text")


def test_the_newest_key_seals_and_all_open() -> None:
    old = sealer(OLD).seal(b"text")
    both = sealer(NEW, OLD)
    assert both.unseal(old) == b"text"
    assert not both.is_current(old)
    assert both.is_current(both.seal(b"text"))
    assert sealer(NEW).unseal(both.seal(b"text")) == b"text"


def test_a_blob_of_a_key_that_is_not_here_is_refused_by_name() -> None:
    with pytest.raises(SealError, match="POSTBACK_SEAL_KEYS"):
        sealer(NEW).unseal(sealer(OLD).seal(b"text"))


@pytest.mark.parametrize("place", [5, 17, -1])
def test_an_altered_blob_is_refused(place: int) -> None:
    blob = bytearray(sealer(NEW).seal(b"some text"))
    blob[place] ^= 1
    with pytest.raises(SealError, match="altered"):
        sealer(NEW).unseal(bytes(blob))


@pytest.mark.parametrize("length", [0, 1, 4, 10, 31])
def test_a_blob_cut_short_is_refused(length: int) -> None:
    with pytest.raises(SealError):
        sealer(NEW).unseal(sealer(NEW).seal(b"text")[:length])


def test_what_a_blob_is_bound_to_must_be_the_same() -> None:
    blob = sealer(NEW).seal(b"text", b"this row")
    assert sealer(NEW).unseal(blob, b"this row") == b"text"
    with pytest.raises(SealError):
        sealer(NEW).unseal(blob, b"that row")


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=3))
def test_keys_are_read_as_they_were_written(keys: list[bytes]) -> None:
    assert parse_keys(",".join(map(new_key, keys))) == keys
    assert parse_keys(" , ".join(urlsafe_b64encode(key).decode() for key in keys)) == keys


@pytest.mark.parametrize(
    "text", ["abc", new_key(NEW)[:-2], new_key(NEW) + "A" * 8, "!" * 43, "é" * 43, new_key(NEW) + ",x"]
)
def test_a_malformed_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(SealError) as refused:
        parse_keys(text)
    assert text.split(",")[-1] not in refused.value.message or len(text.split(",")[-1]) == 1


def test_no_key_at_all_is_refused() -> None:
    assert parse_keys("") == []
    with pytest.raises(SealError, match="no seal key"):
        Sealer([], os.urandom)


def test_a_link_key_differs_by_installation_workspace_kind_and_value() -> None:
    first = link_key(OLD, b"w" * 16, "email", "a")
    assert len(first) == 16
    assert first == link_key(OLD, b"w" * 16, "email", "a")
    others = {
        link_key(NEW, b"w" * 16, "email", "a"),
        link_key(OLD, b"v" * 16, "email", "a"),
        link_key(OLD, b"w" * 16, "phone", "a"),
        link_key(OLD, b"w" * 16, "email", "b"),
    }
    assert len(others | {first}) == 5
