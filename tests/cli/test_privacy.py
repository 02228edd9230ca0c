"""`postback privacy`, where no worker runs: the command does the work."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from postback import installation, visitors
from postback.db import Tx, buckets
from tests.intake.taking import scalar

Run = Callable[..., Any]


def test_a_person_is_exported_erased_and_the_receipt_is_theirs(on_database: Run, tmp_path: Path) -> None:
    file = tmp_path / "person.json"
    told = on_database("privacy", "export", str(file), "--email", "jane@x.example")
    assert (told.code, stat.S_IMODE(file.stat().st_mode)) == (0, 0o600)
    assert json.loads(file.read_text()) == {"events": [], "visitors": [], "touches": [], "links": 0}
    done = on_database("privacy", "erase", "--email", "jane@x.example", "--yes", "--json").json
    # Of the address, and of how it is written where its dots do not count.
    assert (done["status"], done["asked_by"], done["removed"]["tombstones"]) == ("done", "email", 2)
    receipt = tmp_path / "receipt.json"
    receipt.write_text(json.dumps(done["receipt"]))
    verify = ["privacy", "verify", str(receipt)]
    assert on_database(*verify, "--json").json == {"genuine": True, "of_this_person": None}
    assert on_database(*verify, "--email", "Jane@X.example", "--json").json["of_this_person"] is True
    other = on_database(*verify, "--email", "bob@x.example")
    assert (other.code, "another person's" in other.out) == (1, True)
    by_phone = on_database(*verify, "--phone", "+4917012345678")
    assert (by_phone.code, "It was asked for by --email" in by_phone.err) == (2, True)
    receipt.write_text(json.dumps(done["receipt"] | {"text": done["receipt"]["text"].replace("email", "phone")}))
    assert on_database(*verify).code == 1
    assert "jane" not in done["receipt"]["text"]


def test_an_export_that_fails_leaves_no_part(on_database: Run, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    assert on_database("privacy", "export", str(taken), "--email", "jane@x.example").code != 0
    assert list(tmp_path.iterdir()) == [taken]


async def test_a_dry_run_counts_and_does_nothing(on_database: Run, installed: installation.Made, tx: Tx) -> None:
    key = visitors.key_of(UUID(installed.workspace), "v-1")
    await tx.execute(
        "INSERT INTO visitor (bucket, key, workspace_id, id, identifiers, first_seen_at, last_seen_at) "
        "VALUES (%s, %s, %s, 'v-1', '{}', now(), now())",
        (buckets.of_key(key), UUID(bytes=key), installed.workspace),
    )
    asked = ("privacy", "erase", "--visitor", "v-1", "--dry-run")
    told = on_database(*asked)
    assert (told.code, told.out) == (0, "Would go: visitors 1, events 0. Nothing was done.\n"), told.err
    assert on_database(*asked, "--json").json == {"visitors": 1, "events": 0}
    rows = [await scalar(tx, f"SELECT count(*) FROM {table}") for table in ("visitor", "erasure")]
    assert rows == [1, 0]


def test_a_receipt_is_found_in_whatever_an_erasure_printed(on_database: Run, tmp_path: Path) -> None:
    asked = ("privacy", "erase", "--email", "jane@x.example", "--yes")
    plain, as_json = on_database(*asked).out, on_database(*asked, "--json")
    assert [line[:1] for line in plain.splitlines()] == ["e", "{"]
    changed = json.dumps(as_json.json["receipt"] | {"text": "{}"})
    file = tmp_path / "receipt.json"
    for text, is_genuine in (
        (plain, True),
        (plain.splitlines()[1], True),
        (as_json.out, True),
        (json.dumps(as_json.json, indent=2), True),
        (json.dumps(as_json.json["receipt"], indent=2), True),
        (f"erasure done\n{changed}", False),
    ):
        file.write_text(text)
        assert on_database("privacy", "verify", str(file), "--json").json["genuine"] is is_genuine, text


def test_a_file_without_a_receipt_is_told(on_database: Run, tmp_path: Path) -> None:
    file = tmp_path / "receipt.json"
    running = '{"id": "1", "status": "running", "receipt": null}'
    for given in (b"", b"erasure 1 done: 1 tombstones\n", b"\xff\n\xff", b"[]", b'{"receipt": 1}', running.encode()):
        file.write_bytes(given)
        told = on_database("privacy", "verify", str(file))
        assert (told.code, "holds no receipt" in told.err) == (2, True), told.err
        assert ("was not done yet" in told.err) is (given == running.encode()), told.err


def test_nobody_is_erased_unasked_or_unnamed(on_database: Run) -> None:
    assert on_database("privacy", "erase", "--email", "jane@x.example").code == 2
    unnamed = on_database("privacy", "erase", "--yes")
    assert (unnamed.code, "exactly one of" in unnamed.err) == (2, True)
    two = on_database("privacy", "erase", "--yes", "--email", "a@x.example", "--phone", "+14155550100")
    assert two.code == 2
