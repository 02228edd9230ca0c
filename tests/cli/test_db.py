"""`db`: a backup restored elsewhere is the same installation; the seal key travels apart."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from postback.secret import Secret

Run = Callable[..., Any]


def test_a_backup_restored_elsewhere_is_the_same_installation(
    on_database: Run, empty_database: Secret, tmp_path: Path
) -> None:
    key = on_database("keys", "create", "kept", "--json").json
    written = on_database("db", "backup", str(tmp_path / "backup"), "--json")
    assert written.code == 0, written.err
    assert written.json["seal_key_in_it"] is False
    assert oct((tmp_path / "backup").stat().st_mode)[-3:] == "600"

    elsewhere = {"POSTBACK_DATABASE_URL": empty_database.reveal()}
    asked = on_database("db", "restore", str(tmp_path / "backup"), **elsewhere)
    assert asked.code == 2
    assert "--yes" in asked.err
    restored = on_database("db", "restore", str(tmp_path / "backup"), "--yes", "--json", **elsewhere)
    assert (restored.code, restored.json["seal_key_opens"]) == (0, True), restored.err
    assert key["id"] in on_database("keys", "list", "--json", **elsewhere).out

    other_key = {"POSTBACK_SEAL_KEYS": "A" * 43}
    again = on_database("db", "restore", str(tmp_path / "backup"), "--yes", "--json", **elsewhere, **other_key)
    assert again.json["seal_key_opens"] is False
    assert "does not open this database" in again.json["note"]


def test_a_data_folder_is_restored_from_nothing_and_asks_for_its_seal_key(postback: Run, folder: Path) -> None:
    first, second = str(folder / "one"), str(folder / "two")
    site = postback("init", "--data-dir", first, "--json").json["site"]
    assert "seal.key" in postback("db", "backup", str(folder / "backup"), "--data-dir", first).out
    restored = postback("db", "restore", str(folder / "backup"), "--data-dir", second)
    assert restored.code == 0, restored.err
    assert "seal key" in restored.out
    assert postback("init", "--data-dir", second).code == 2
    (folder / "one" / "seal.key").rename(folder / "two" / "seal.key")
    assert postback("init", "--data-dir", second, "--json").json["site"] == site


def test_what_is_no_backup_is_refused_and_harms_nothing(on_database: Run, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no backup")
    refused = on_database("db", "restore", str(tmp_path / "text"), "--yes")
    assert refused.code == 1
    assert on_database("keys", "list").code == 0


def test_migrating_again_does_nothing(on_database: Run) -> None:
    assert on_database("db", "migrate", "--json").json == {"migrations": []}
    assert "already" in on_database("db", "migrate").out
