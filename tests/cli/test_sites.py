"""`sites` and `goals` on the database itself, and that whatever the command line changes is written down."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from postback.secret import Secret

Run = Callable[..., Any]


def test_a_site_is_made_with_its_goals_changed_and_removed(on_database: Run, database: Secret) -> None:
    site = on_database("sites", "create", "Shop", "--set", "currency=eur", "--set", "window_days=30", "--json").json
    assert (site["name"], site["currency"], site["window_days"]) == ("Shop", "EUR", 30)
    goals = on_database("goals", "list", "--json").json["items"]
    assert [goal["name"] for goal in goals if goal["site"] == site["id"]] == ["Purchases", "Leads"]
    changed = on_database("sites", "change", "Shop", "--set", "country=DE", "--json").json
    assert changed == site | {"country": "DE"}
    assert site["site_key"] in on_database("sites", "list").out
    assert on_database("sites", "remove", site["site_key"]).out == "Removed Shop.\n"
    assert [one["name"] for one in on_database("sites", "list", "--json").json["items"]] == ["default"]
    with psycopg.connect(database.reveal()) as conn:
        actors = conn.execute("SELECT DISTINCT actor FROM audit").fetchall()
        actions = conn.execute("SELECT action FROM audit WHERE noun = 'site' ORDER BY id").fetchall()
    assert actors == [("command line",)]
    assert actions == [("created",), ("changed",), ("removed",)]


def test_a_list_is_set_as_text_with_commas_or_as_json(on_database: Run) -> None:
    for text in ("a.example,b.example", '["a.example", "b.example"]'):
        site = on_database("sites", "change", "default", "--set", f"link_domains={text}", "--json").json
        assert site["link_domains"] == ["a.example", "b.example"]
    assert on_database("sites", "change", "default", "--set", "link_domains=[]", "--json").json["link_domains"] == []


def test_an_origin_with_a_wildcard_is_refused_by_name(on_database: Run, tmp_path: Path) -> None:
    file = tmp_path / "postback.toml"
    file.write_text('[[sites]]\nname = "Shop"\nallowed_origins = ["https://*.example"]\n')
    for arguments in (
        ("sites", "create", "Shop", "--set", 'allowed_origins=["https://*.example"]'),
        ("sites", "change", "default", "--set", 'allowed_origins=["https://*.example"]'),
        ("apply", str(file), "--yes"),
    ):
        told = on_database(*arguments)
        assert (told.code, "allowed_origins[0] must be an origin" in told.err) == (2, True), told.err
    assert len(on_database("sites", "list", "--json").json["items"]) == 1


def test_a_goal_is_made_changed_and_removed(on_database: Run) -> None:
    sets = ("--set", "default_value=12.50", "--set", "filter=value > 10")
    goal = on_database(
        "goals", "create", "Trials", "--event", "start_trial", "--event", "Form Submitted", *sets, "--json"
    )
    assert json.loads(goal.out, parse_float=str)["default_value"] == "12.50"
    made = goal.json
    assert (made["events"], made["filter"]) == (["start_trial", "lead"], "value > 10")
    number = str(made["id"])
    off = on_database("goals", "change", number, "--set", "active=false", "--set", "filter=null", "--json").json
    assert off == made | {"active": False, "filter": None}
    assert "disabled" in on_database("goals", "list").out
    assert on_database("goals", "remove", number).code == 0
    assert on_database("goals", "remove", number).code == 1


def test_keys_and_destinations_are_written_down_too(on_database: Run, database: Secret) -> None:
    key = on_database("keys", "create", "shop", "--rate-limit-per-minute", "60", "--json").json
    assert key["rate_limit_per_minute"] == 60
    on_database("keys", "revoke", key["id"])
    hook = on_database("destinations", "install", "webhook", "--set", "url=https://example.com/", "--json").json
    on_database("destinations", "pause", hook["id"])
    with psycopg.connect(database.reveal()) as conn:
        said = conn.execute("SELECT noun, action FROM audit ORDER BY id").fetchall()
        written = str(conn.execute("SELECT * FROM audit").fetchall())
    assert said == [("key", "created"), ("key", "revoked"), ("destination", "created"), ("destination", "paused")]
    assert key["key"] not in written
    assert hook["config"]["secret"] not in written


def test_what_is_no_field_or_not_valid_is_told(on_database: Run) -> None:
    for arguments, told in (
        (("sites", "create", "x", "--set", "colour=red"), "colour"),
        (("sites", "create", "x", "--set", "currency=gold"), "currency"),
        (("sites", "create", "x", "--set", "window_days=many"), "window_days"),
        (("goals", "create", "x", "--set", "active"), "field=value"),
        (("goals", "create", "x", "--set", 'default_value="5"'), "default_value"),
    ):
        ran = on_database(*arguments)
        assert (ran.code, ran.out) == (2, "")
        assert told in ran.err
    ran = on_database("goals", "create", "x", "--site", "nowhere")
    assert ran.code == 1
    assert "there are default" in ran.err
