"""`init`: one JSON object, once; then that it was done, and no secret again."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from postback.secret import Secret
from tests.cli.conftest import SEAL_KEY

Run = Callable[..., Any]
SECRETS = {"api_key", "admin_key", "owner_password"}
FIELDS = {"workspace", "organization_id", "site", "site_key", "owner_email"} | SECRETS


def test_the_first_init_prints_one_object_and_the_second_no_secret(postback: Run, folder: Path) -> None:
    first = postback("init", "--data-dir", str(folder / "data"), "--json")
    assert (first.code, first.json.keys()) == (0, FIELDS), first.err
    assert not (folder / "data" / "postgres" / "postmaster.pid").exists(), "it stops the database that it started"
    assert oct((folder / "data" / "seal.key").stat().st_mode)[-3:] == "600"

    again = postback("init", "--data-dir", str(folder / "data"), "--json")
    assert again.code == 0, again.err
    assert again.json["already"] is True
    assert {name: again.json[name] for name in ("workspace", "site", "site_key")} == {
        name: first.json[name] for name in ("workspace", "site", "site_key")
    }
    assert not any(first.json[name] in again.out for name in SECRETS)

    (folder / "data" / "seal.key").unlink()
    lost = postback("init", "--data-dir", str(folder / "data"))
    assert lost.code == 2
    assert "seal.key is missing" in lost.err
    assert not (folder / "data" / "seal.key").exists(), "another key would hide the loss"


def test_a_database_of_ones_own_needs_a_seal_key_and_is_offered_one(postback: Run, empty_database: Secret) -> None:
    where = {"POSTBACK_DATABASE_URL": empty_database.reveal()}
    refused = postback("init", "--json", **where)
    assert (refused.code, refused.out) == (2, "")
    assert "POSTBACK_SEAL_KEYS" in refused.err
    offered = refused.err.strip().rpartition(" ")[2]
    made = postback("init", "--json", POSTBACK_SEAL_KEYS=offered, **where)
    assert (made.code, made.json.keys()) == (0, FIELDS), made.err


def test_a_seal_key_that_does_not_open_the_database_is_refused(on_database: Run) -> None:
    wrong = on_database("init", POSTBACK_SEAL_KEYS="A" * 43)
    assert wrong.code == 2
    assert "does not open this database" in wrong.err
    assert on_database("init", POSTBACK_SEAL_KEYS="short").code == 2


def test_the_environment_is_fixed_by_the_first_init(on_database: Run) -> None:
    other = on_database("init", "--environment", "test")
    assert other.code == 2
    assert "--environment live" in other.err


def test_people_are_told_what_scripts_are(postback: Run, database: Secret) -> None:
    key = {"POSTBACK_DATABASE_URL": database.reveal(), "POSTBACK_SEAL_KEYS": "A" * 43}
    told = postback("init", **key)
    assert told.code == 0, told.err
    assert "ingest key  pb_live_" in told.out
    assert "shown at the first start" in postback("init", **key).out
    assert json.loads(postback("init", "--json", **key).out)["site_key"] in told.out


def test_what_is_held_is_named_by_init_and_at_the_start_of_serve(
    on_database: Run, database: Secret, start: Callable[..., Any]
) -> None:
    made = on_database("destinations", "install", "webhook", "--set", "url=https://example.com/", "--json").json
    with psycopg.connect(database.reveal()) as connection:
        connection.execute("UPDATE lane SET state = 'held', reason = 'answered 401', fix = 'Check the token.'")
    held = {"id": made["id"], "name": "Webhook", "reason": "answered 401", "fix": "Check the token."}
    assert on_database("init", "--json").json["held"] == [held]
    told = "Webhook is held and sends nothing: answered 401. Check the token. Then "
    resume = f"destinations resume {made['id']}"
    said = on_database("init").out
    assert (told in said, resume in said) == (True, True), said
    where = {"POSTBACK_DATABASE_URL": database.reveal(), "POSTBACK_SEAL_KEYS": SEAL_KEY}
    start("serve", "--port", "0", **where).wait_for(re.escape(told))
