"""`replay` and `backfill`: count, ask, do, and show how far it came."""

import os
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from postback.client import Client
from postback.secret import Secret
from tests.cli.conftest import PROGRAM, SEAL_KEY, surroundings

Run = Callable[..., Any]


@pytest.fixture
def hook(on_database: Run) -> str:
    """A destination to which three deliveries failed."""
    made = on_database("destinations", "install", "webhook", "--set", "url=https://example.com/", "--json")
    return made.json["id"]


def fill(database: Secret, destination: str) -> list[str]:
    """Three events with a delivery that failed each; their deliveries' ids."""
    with psycopg.connect(database.reveal()) as conn:
        [(workspace,)] = conn.execute("SELECT id FROM workspace").fetchall()
        for number in range(3):
            at = "((extract(epoch from now()) * 1000)::bigint << 16)"
            [(id_,)] = conn.execute(
                f"SELECT (lpad(to_hex({at} | 28672), 16, '0') || '80000000000{number}0000')::uuid"  # bucket 60
            ).fetchall()
            body = b'{"event_id":"e","name":"lead","source_name":"lead","occurred_at":"2026-01-01T00:00:00Z","dialect":"native"}'
            row = (id_, workspace, f"e{number}", body)
            conn.execute(
                "INSERT INTO event (bucket, id, workspace_id, name, event_id, body) VALUES (60, %s, %s, 'lead', %s, %s)",
                row,
            )
            conn.execute(
                "INSERT INTO delivery (bucket, event_id, destination_id, status, due_at, reason, settled_at)"
                " VALUES (60, %s, %s, 'failed', now(), 'no email', now() - interval '1 s')", (id_, destination)
            )  # fmt: skip
        found = conn.execute(
            "SELECT replace(event_id::text, '-', ''), replace(destination_id::text, '-', '') FROM delivery"
        )
        return [f"{event}-{to}" for event, to in found.fetchall()]


def test_a_replay_is_counted_and_made_and_waits_for_a_worker(on_database: Run, database: Secret, hook: str) -> None:
    ids = fill(database, hook)
    count = {"total": 3, "may_count_twice": 0, "complete": True}
    assert on_database("replay", "--dry-run", "--json").json == count
    narrow = ["--destination", hook, "--status", "failed", "--reason", "no", "--event", "lead", "--from", "2026-01-01"]
    assert on_database("replay", "--dry-run", "--json", *narrow).json == count
    assert (
        on_database("replay", "--dry-run", "--json", *narrow, "--site", "default").json["total"] == 0
    )  # they have none
    assert "3 deliveries to send again" in on_database("replay", "--dry-run").out
    one = on_database("replay", ids[0], "--yes", "--json").json
    assert (one["status"], one["total"], one["created_by"]) == ("running", 1, "command line")
    told = on_database("replay", "--yes")
    assert told.code == 0
    assert "No worker runs" in told.out
    stopped = on_database("replay", "--stop", one["id"])
    assert (stopped.code, "stopped" in stopped.out) == (0, True)
    assert on_database("replay", "--resume", one["id"], "--json").json["status"] == "running"


def test_nobody_is_asked_where_nobody_is(on_database: Run, database: Secret, hook: str) -> None:
    fill(database, hook)
    asked = on_database("replay")
    assert asked.code == 2
    assert "--yes" in asked.err


def test_people_are_asked_and_a_no_does_nothing(on_database: Run, database: Secret, hook: str) -> None:
    fill(database, hook)
    environment = {"POSTBACK_DATABASE_URL": database.reveal(), "POSTBACK_SEAL_KEYS": SEAL_KEY}
    ours, theirs = os.openpty()
    for answer, code, said in ((b"n\n", 1, "Nothing was done."), (b"y\n", 0, "No worker runs")):
        os.write(ours, answer)
        asked = subprocess.run(
            [*PROGRAM, "replay"],
            stdin=theirs,
            capture_output=True,
            text=True,
            env=surroundings(**environment),
            check=False,
        )
        assert (asked.returncode, said in asked.stdout) == (code, True), asked
        assert "3 deliveries to send again\nGo on? [y/N]" in asked.stdout
    os.close(ours)
    os.close(theirs)


def test_what_cannot_be_replayed_is_told(on_database: Run, hook: str) -> None:
    for arguments, code, said in (
        (["replay", "--status", "queued"], 2, "failed, skipped, delivered"),
        (["replay", "--from", "2026-02-01", "--to", "2026-01-01"], 2, "--from"),
        (["backfill", str(uuid.UUID(int=1))], 1, "destinations list"),
        (["replay", "--stop", str(uuid.UUID(int=1))], 1, "no replay"),
    ):
        ran = on_database(*arguments)
        assert (ran.code, said in ran.err) == (code, True), (arguments, ran.err)


@pytest.mark.xdist_group("serve")
def test_a_running_serve_does_what_was_asked_and_the_command_sees_it_done(
    serve: Any, postback: Run, tmp_path: Path, eventually: Any
) -> None:
    here = ("--data-dir", str(serve.data_dir))
    client = Client(serve.url, serve.api_key)
    for number in range(5):
        client.send({"event": "lead", "event_id": f"r{number}"})
    url = "url=https://postback.invalid/"  # nobody answers there
    hook = postback("destinations", "install", "webhook", "--set", url, "--json", *here).json["id"]
    counted = postback("backfill", hook, "--dry-run", "--json", *here)
    assert counted.json["total"] == 5
    filled = postback("backfill", hook, "--yes", "--json", *here)
    assert filled.code == 0, filled.err
    assert (filled.json["status"], filled.json["done"]) == ("done", 5)
    assert postback("backfill", hook, *here).out == "0 past events to deliver\n"
    assert postback("ledger", *here).code == 0
