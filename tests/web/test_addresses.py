"""Private addresses are refused when a destination is installed or changed."""

import pytest
from msgspec import Struct

from postback.errors import Invalid
from postback.settings import Settings
from postback.web.admin.addresses import refuse_private


class Config(Struct):
    url: str | None = None
    endpoint: str | None = None


@pytest.mark.parametrize(
    "address",
    [
        "https://127.0.0.1/x", "https://localhost/x", "https://a.localhost", "https://10.0.0.1", "https://192.168.1.1",
        "https://169.254.169.254/latest", "https://[::1]/", "https://[fd00::1]/", "https://[::ffff:127.0.0.1]/",
        "https://2130706433/", "https://0x7f000001/", "https://127.1/", "https://0.0.0.0", "https://db.internal/",
        "http://example.com", "https://user:pass@example.com", "https://example.com:22",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["url", "endpoint"])
def test_an_address_that_the_sender_would_refuse_is_refused_by_name(address: str, name: str) -> None:
    with pytest.raises(Invalid) as caught:
        refuse_private(Config(**{name: address}), Settings())
    assert caught.value.field == f"config.{name}"


@pytest.mark.parametrize("address", ["https://example.com", "https://example.com:8443/x?y=1", "https://93.184.215.14/"])
def test_a_public_address_is_taken(address: str) -> None:
    refuse_private(Config(url=address), Settings())


def test_a_private_address_is_taken_where_the_deployment_says_so() -> None:
    refuse_private(Config(url="http://127.0.0.1:9/x"), Settings(dangerous_allow_private_destinations=True))


@pytest.mark.parametrize("address", ["", "x", "ftp://example.com", "//example.com", "https://", "https://a:b:c"])
def test_what_is_no_web_address_is_refused_even_there(address: str) -> None:
    with pytest.raises(Invalid):
        refuse_private(Config(url=address), Settings(dangerous_allow_private_destinations=True))
