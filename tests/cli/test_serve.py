"""`serve`: one command, several processes; who dies comes back, nobody is refused meanwhile, all end in order."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from postback.cli.serve import database_settings
from postback.settings import Settings

Run = Callable[..., Any]
pytestmark = pytest.mark.xdist_group("serve")  # they share one


def test_the_first_start_shows_the_keys_and_a_curl_that_runs_as_it_stands(serve: Any) -> None:
    command = serve.wait_for(r"^curl (?:.*\\\n)*.*$")[0]
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["status"] == "accepted"


def test_the_children_show_their_role_and_no_secret_in_their_command_lines(serve: Any) -> None:
    assert serve.child("api")
    assert serve.child("worker")
    assert not any("postgresql://" in line or "POSTBACK" in line for line in serve.children().values())


def test_logs_are_json_on_stderr_alone(serve: Any) -> None:
    assert serve.logs
    assert len({json.loads(line)["pid"] for line in serve.logs}) > 1  # who spoke
    assert {"at", "level", "event"} <= set.intersection(*(set(json.loads(line)) for line in serve.logs))
    assert not any(line.startswith("{") for line in serve.lines)


def test_commands_join_the_database_of_a_running_serve(serve: Any, postback: Run) -> None:
    made = postback("keys", "create", "joined", "--data-dir", str(serve.data_dir), "--json")
    assert made.code == 0, made.err
    sent = postback("send", "-", "--url", serve.url, stdin='{"event": "lead"}', POSTBACK_KEY=made.json["key"])
    assert sent.code == 0, sent.err
    assert sent.out.startswith("accepted  ")
    assert postback("keys", "revoke", made.json["id"], "--data-dir", str(serve.data_dir)).code == 0
    refused = postback("send", "-", "--url", serve.url, stdin='{"event": "lead"}', POSTBACK_KEY=made.json["key"])
    assert refused.code == 1
    assert "401" in refused.err


def test_doctor_sees_its_worker(serve: Any, postback: Run) -> None:
    found = postback("doctor", "--data-dir", str(serve.data_dir), "--json").json["items"]
    assert [item["said"] for item in found if item["about"] == "workers"] == ["1 alive"]


def test_send_tells_what_is_wrong_with_an_event(serve: Any, postback: Run, tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text('{"event": "purchase", "value": -1, "currency": "EUR"}')
    refused = postback("send", str(tmp_path / "event.json"), "--url", serve.url, POSTBACK_KEY=serve.api_key)
    assert refused.code == 1
    assert "value" in refused.err
    assert postback("send", "-", "--url", serve.url, stdin="{", POSTBACK_KEY=serve.api_key).code == 2
    assert postback("send", str(tmp_path / "none.json"), POSTBACK_KEY="k").code == 1


def test_tail_shows_events_as_they_come(serve: Any, start: Callable[..., Any], postback: Run, eventually: Any) -> None:
    tail = start("tail", "--json", "--data-dir", str(serve.data_dir))
    eventually(lambda: "waiting for events" in "".join(tail.logs))

    def shown() -> bool:
        assert (
            postback("send", "-", "--url", serve.url, stdin='{"event": "signup"}', POSTBACK_KEY=serve.api_key).code == 0
        )
        return any(json.loads(line)["event"] == "signup" for line in tail.lines)

    eventually(shown)
    assert tail.end(signal.SIGINT) == 130


def test_a_second_start_on_the_same_folder_is_refused_with_a_sentence(serve: Any, postback: Run) -> None:
    second = postback("serve", "--data-dir", str(serve.data_dir), "--port", "0")
    assert (second.code, second.out) == (1, "")
    assert "already runs" in second.err
    same_port = postback("serve", "--data-dir", str(serve.data_dir), "--port", serve.url.rpartition(":")[2])
    assert same_port.code == 1
    assert "already runs" in same_port.err


def test_a_taken_port_is_refused_with_a_sentence(serve: Any, postback: Run, folder: Path) -> None:
    taken = postback("serve", "--data-dir", str(folder / "data"), "--port", serve.url.rpartition(":")[2])
    assert (taken.code, taken.out) == (2, "")
    assert "--port" in taken.err


def test_a_restore_while_it_runs_is_refused(serve: Any, postback: Run, tmp_path: Path) -> None:
    (tmp_path / "backup").write_bytes(b"")
    refused = postback("db", "restore", str(tmp_path / "backup"), "--yes", "--data-dir", str(serve.data_dir))
    assert refused.code == 2
    assert "stop it" in refused.err


def test_while_a_killed_api_is_started_again_no_connection_is_refused(serve: Any, eventually: Any) -> None:
    killed = serve.child("api")
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: serve.child("api") != killed)
    assert serve.get("/healthz")[0] == 200  # urllib would raise where it is refused
    assert serve.child("api") != killed


@pytest.mark.parametrize(("api", "workers", "connections"), [(1, 1, "100"), (2, 64, "822")])
def test_the_database_takes_as_many_connections_as_the_processes_open(api: int, workers: int, connections: str) -> None:
    settings = Settings(api_processes=api, worker_processes=workers)
    assert database_settings(settings)["max_connections"] == connections


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_order_and_starts_again_with_its_data(
    start_serve: Callable[..., Any], folder: Path, number: signal.Signals
) -> None:
    with start_serve(folder / "data", "--api-processes", "2", "--worker-processes", "3") as running:
        key = running.api_key
        roles = [re.search(r"postback (api|worker)", line) for line in running.children().values()]
        assert Counter(role[1] for role in roles if role) == {"api": 2, "worker": 3}
        begin = time.monotonic()
        assert running.end(number) == 0
        assert time.monotonic() - begin < 15
        assert running.is_gone()
    with start_serve(folder / "data") as again:
        assert "ingest key" not in "".join(again.lines)
        assert key not in "".join(again.lines)
        assert again.get("/healthz")[0] == 200


def test_a_stop_before_all_is_up_leaves_nothing_running(
    start: Callable[..., Any], folder: Path, eventually: Any
) -> None:
    begun = start("serve", "--data-dir", str(folder / "data"), "--port", "0")
    eventually((folder / "data" / "postgres" / "postmaster.pid").exists)
    assert begun.end() == 0
    assert not (folder / "data" / "postgres" / "postmaster.pid").exists()


def test_an_inherited_socket_that_is_none_is_refused(postback: Run) -> None:
    with socket.socket() as unbound:
        assert postback("api", "--fd", str(unbound.fileno())).code == 2
