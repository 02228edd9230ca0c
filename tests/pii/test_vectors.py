"""`vectors.json`: what becomes of emails and phones, the same here as in the browser (`tests/browser/test_identify.py`)."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from postback.event import RawUser
from postback.pii.identify import identify

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: json.dumps(vector)[:40])
def test_a_vector_gives_the_hashes_of_its_texts(vector: dict[str, Any]) -> None:
    sent = {field: value for field, value in vector.items() if field != "hashed"}
    expected = {name: sha256(text.encode()).hexdigest() for name, text in vector["hashed"].items()}
    assert identify(RawUser(**sent), None, [], keep_email=False).hashed == expected
