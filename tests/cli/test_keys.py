"""`keys`: made, shown once, listed, replaced, revoked, on the database itself."""

from collections.abc import Callable
from typing import Any

Run = Callable[..., Any]


def states(run: Run) -> dict[str, str]:
    return {key["label"]: key["state"] for key in run("keys", "list", "--json").json["items"]}


def test_a_key_is_shown_once_and_ends_when_it_is_revoked(on_database: Run) -> None:
    made = on_database("keys", "create", "backend", "--scope", "ingest", "--scope", "read", "--json").json
    assert made["key"].startswith("pb_live_")
    assert made["scopes"] == ["ingest", "read"]
    listed = on_database("keys", "list", "--json")
    assert made["key"] not in listed.out
    assert made["key"][-4:] in [key["last_four"] for key in listed.json["items"]]
    assert states(on_database) == {"backend": "active", "ingest": "active", "admin": "active"}
    for _ in range(2):  # repeating is harmless
        assert on_database("keys", "revoke", made["id"]).code == 0
    assert states(on_database)["backend"] == "revoked"


def test_a_replaced_key_ends_after_its_grace(on_database: Run) -> None:
    old = on_database("keys", "create", "backend", "--prefix", "vel", "--json").json
    new = on_database("keys", "rotate", old["id"], "--grace-seconds", "3600", "--json").json
    assert new["key"].startswith("vel_live_")
    assert new["label"] == "backend"
    by_id = {key["id"]: key["state"] for key in on_database("keys", "list", "--json").json["items"]}
    assert by_id[new["id"]] == "active"
    assert by_id[old["id"]].startswith("ends ")


def test_what_is_not_there_or_not_valid_is_told(on_database: Run) -> None:
    unknown = on_database("keys", "revoke", "019f0000-0000-7000-8000-000000000000")
    assert (unknown.code, unknown.out) == (1, "")
    scope = on_database("keys", "create", "x", "--scope", "everything")
    assert scope.code == 2
    assert "everything" in scope.err
    site = on_database("keys", "create", "x", "--site", "nowhere")
    assert site.code == 1
    assert "there are default" in site.err


def test_a_key_of_one_site_says_which(on_database: Run) -> None:
    site = on_database("init", "--json").json
    made = on_database("keys", "create", "x", "--site", site["site_key"], "--json").json
    assert made["site"] == site["site"]
    assert "ingest" in on_database("keys", "list").out
