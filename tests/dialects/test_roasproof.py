from postback.dialects.roasproof import DIALECT
from postback.event import STANDARD_NAMES


def test_eight_standard_names_are_allowed_besides_the_workspaces_own() -> None:
    assert DIALECT.allowed_names is not None
    assert len(DIALECT.allowed_names) == 8
    assert DIALECT.allowed_names < STANDARD_NAMES
