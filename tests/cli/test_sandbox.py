"""`sandbox`: the stand-ins in the foreground."""

import re
import socket
import urllib.request
from collections.abc import Callable
from typing import Any


def test_it_says_where_it_is_ready_and_ends_when_asked(start: Callable[..., Any], eventually: Any) -> None:
    sandbox = start("sandbox", "--port", "0")
    url = eventually(lambda: re.search(r"ready at (\S+)", "".join(sandbox.logs)))[1]
    with urllib.request.urlopen(f"{url}/_sandbox/stats") as answer:
        assert answer.status == 200
    assert sandbox.end() == 0


def test_a_destination_is_aimed_at_it_by_its_endpoint(
    start: Callable[..., Any], on_database: Callable[..., Any], eventually: Any
) -> None:
    sandbox = start("sandbox", "--port", "0")
    url = eventually(lambda: re.search(r"ready at (\S+)", "".join(sandbox.logs)))[1]
    allowed = {"POSTBACK_DANGEROUS_ALLOW_PRIVATE_DESTINATIONS": "1"}
    sets = "--set", "dataset_id=1234567890", "--set", "access_token=any-token", "--set", f"endpoint={url}/meta"
    made = on_database("destinations", "install", "meta", *sets, "--json", **allowed).json
    assert on_database("destinations", "probe", made["id"], "--json", **allowed).json["ok"] is True
    hook = ("destinations", "install", "webhook", "--set", f"url={url}/webhook/orders")
    assert on_database(*hook, **allowed).code == 0
    alone = on_database(*hook, "--name", "Other")
    assert (alone.code, "its own environment" in alone.err) == (2, True), alone.err


def test_a_taken_port_is_told(postback: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = postback("sandbox", "--port", str(taken.getsockname()[1]))
    assert refused.code == 2
    assert "--port" in refused.err
