"""`destinations`: installed, listed without secrets, paused and resumed, tried."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from postback.secret import Secret

Run = Callable[..., Any]
META = {"dataset_id": "123", "access_token": "very-secret"}


def install(run: Run, folder: Path, **more: str) -> dict[str, Any]:
    file = folder / "meta.json"
    file.write_text(json.dumps(META | more))
    ran = run("destinations", "install", "meta", "--values", str(file), "--name", "Ads", "--json")
    assert ran.code == 0, ran.err
    return ran.json


def test_a_destination_is_installed_paused_and_resumed(on_database: Run, tmp_path: Path) -> None:
    made = install(on_database, tmp_path)
    assert "very-secret" not in json.dumps(made)
    assert (made["connector"], made["name"], made["status"]) == ("meta", "Ads", "active")
    assert on_database("destinations", "pause", made["id"], "--json").json["status"] == "paused"
    listed = on_database("destinations", "list", "--json")
    assert [item["status"] for item in listed.json["items"]] == ["paused"]
    assert "very-secret" not in listed.out
    assert "Ads" in on_database("destinations", "list").out
    for _ in range(2):  # repeating is harmless
        assert on_database("destinations", "resume", made["id"], "--json").json["status"] == "active"


def test_a_secret_that_was_made_is_shown_once(on_database: Run) -> None:
    made = on_database("destinations", "install", "webhook", "--set", "url=https://example.com/hook", "--json").json
    secret = made["config"]["secret"]
    assert secret.startswith("whsec_")
    assert secret not in on_database("destinations", "list", "--json").out


def test_what_cannot_be_installed_is_told(on_database: Run, tmp_path: Path) -> None:
    unknown = on_database("destinations", "install", "acme")
    assert unknown.code == 1
    assert "webhook" in unknown.err
    incomplete = on_database("destinations", "install", "meta", "--set", "dataset_id=1")
    assert incomplete.code == 2
    assert "access_token" in incomplete.err
    private = on_database("destinations", "install", "webhook", "--set", "url=http://127.0.0.1:1/")
    assert private.code == 2
    assert "POSTBACK_DANGEROUS_ALLOW_PRIVATE_DESTINATIONS" in private.err
    assert on_database("destinations", "install", "meta", "--set", "dataset_id").code == 2
    (tmp_path / "list.json").write_text("[]")
    assert on_database("destinations", "install", "meta", "--values", str(tmp_path / "list.json")).code == 2


def test_what_is_logged_meanwhile_is_json_on_stderr(on_database: Run, database: Secret) -> None:
    on_database("destinations", "install", "webhook", "--set", "url=https://example.com/hook")
    with psycopg.connect(database.reveal()) as connection:
        connection.execute("UPDATE destination SET connector = 'vanished'")
    listed = on_database("destinations", "list", "--json")
    assert [item["connector"] for item in listed.json["items"]] == ["vanished"]
    (line,) = listed.err.splitlines()
    assert json.loads(line)["event"] == "destination does not open"


def test_a_platform_that_cannot_be_reached_fails_the_probe(on_database: Run, tmp_path: Path) -> None:
    allowed = {"POSTBACK_DANGEROUS_ALLOW_PRIVATE_DESTINATIONS": "1"}
    file = tmp_path / "meta.json"
    file.write_text(json.dumps(META | {"endpoint": "http://127.0.0.1:1"}))
    made = on_database("destinations", "install", "meta", "--values", str(file), "--json", **allowed).json
    tried = on_database("destinations", "probe", made["id"], "--json", **allowed)
    assert tried.code == 1
    assert tried.json["ok"] is False
    blocked = on_database("destinations", "probe", made["id"])
    assert (blocked.code, blocked.out.split(".")[0]) == (
        1,
        "Meta Conversions API was not asked: Only https is sent to, not http",
    )
