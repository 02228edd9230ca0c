"""An array made by hand is, to PostgreSQL, the list that it was made of."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postback.db import arrays
from postback.secret import Secret

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIMES = st.integers(-(2**52), 2**52).map(lambda n: EPOCH + timedelta(microseconds=n))
MAKERS: dict[str, tuple[Callable[[Any], arrays.Array], st.SearchStrategy[Any], str]] = {
    "uuids": (arrays.uuids, st.binary(min_size=16, max_size=16), "uuid"),
    "texts": (arrays.texts, TEXTS, "text"),
    "byteas": (arrays.byteas, st.binary(max_size=40), "bytea"),
    "ints": (arrays.ints, st.integers(-(2**31), 2**31 - 1), "int4"),
    "bigints": (arrays.bigints, st.integers(-(2**63), 2**63 - 1), "int8"),
    "times": (arrays.times, TIMES, "timestamptz"),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_list_arrives_as_it_was(database: Secret, name: str) -> None:
    make, item, kind = MAKERS[name]
    # Items that come again, one that all are, and None among them are told apart by how the array is made.
    few = st.lists(item | st.none(), min_size=1, max_size=2).flatmap(lambda known: st.lists(st.sampled_from(known)))
    with psycopg.connect(database.reveal(), autocommit=True) as conn:

        @settings(max_examples=60, deadline=None)
        @given(st.lists(item, max_size=5) | st.lists(item | st.none(), max_size=5) | few)
        def arrives(sent: list[Any]) -> None:
            row = conn.execute(f"SELECT %b::{kind}[]".encode(), [make(iter(sent))], binary=True).fetchone()
            assert row is not None
            read = [one.bytes if isinstance(one, UUID) else one for one in row[0]]
            assert read == sent

        arrives()
