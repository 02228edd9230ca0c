"""What a malformed part of a batch costs at `/collect`: itself."""

import json
from typing import Any

import pytest

from tests.web.collecting import FIREFOX, batch, event, identifiers, post, rows, stored, taken

MALFORMED: dict[str, Any] = {
    "fbclid": {"value": "x" * 10_000}, "fbc": {"value": "fbc.1.2"}, "gclid": {"value": "<script>"}, "ttclid": {"value": 7},
    "msclkid": {"value": "a b"}, "unknown": {"value": "x"}, "wbraid": None, "twclid": [],
}  # fmt: skip


async def test_a_malformed_identifier_is_dropped_alone_with_a_note(served: Any) -> None:
    about = {"identifiers": MALFORMED | {"epik": {"value": "good"}}, "utm": {"source": "<script>alert(1)</script>"}}
    await taken(served, event("a"), event("b"), **about)
    found = identifiers(served)
    assert found.keys() & MALFORMED.keys() == set()
    assert found["epik"][0] == "good"
    notes = stored(served)[0]["notes"]
    assert {"click_ids.fbclid: malformed, dropped", "click_ids.fbc: malformed, dropped"} <= set(notes)
    assert "utm.source: malformed, dropped" in notes
    assert "notes" not in stored(served)[1]


@pytest.mark.parametrize("bad", ["\0", "summer \ud83d", "\udc00"])
async def test_a_character_that_cannot_be_kept_loses_no_event_and_nothing_else_of_the_batch(
    served: Any, bad: str
) -> None:
    about = {
        "utm": {"source": "x", "campaign": bad},
        "identifiers": {"gclid": {"value": bad}, "epik": {"value": "good"}},
    }
    own = {"experiments": {"a": bad, "b": "c"}, "user_data": {"user_id": bad}, "title": bad, "items": [{"name": bad}]}
    body = await taken(served, event("a"), event("b", **own), event("c", event_id=bad), visitor_id=bad, **about)
    assert (body["accepted"], [one["error"]["field"] for one in body["rejected"]]) == (2, ["event_id"])
    assert body["visitor_id"].startswith("v_")
    first, second = stored(served)
    assert set(first["notes"]) == {f"{part} malformed, dropped" for part in ("visitor_id:", "utm: 1", "identifiers: 1")}
    assert set(second["notes"]) == {
        f"{part} malformed, dropped" for part in ("experiments: 1", "user_data: 1", "title:", "items: 1")
    }
    assert second["experiments"] == {"b": "c"}
    assert {"epik", "experiment.b"} == identifiers(served).keys()


@pytest.mark.parametrize("about", [{"identifiers": 7}, {"utm": []}, {"session": "x"}, {"link": {}}])
async def test_a_part_of_the_wrong_type_costs_no_event(served: Any, about: dict[str, Any]) -> None:
    assert (await taken(served, **about))["accepted"] == 1


@pytest.mark.parametrize("consent", ["denied", "granted", False, [], 0, {"analytics": "Denied"}, {"analytics": 0}])
async def test_a_choice_that_cannot_be_read_denies(served: Any, consent: Any) -> None:
    body = await taken(served, event(), event("consent"), consent=consent)
    [only] = stored(served)
    assert (body["accepted"], only["name"], only["consent"]["analytics"]) == (1, "consent", False)
    assert [note for note in only["notes"] if note.startswith("consent") and "taken as a denial" in note]


async def test_a_purpose_of_unknown_name_is_noted_and_the_others_hold(served: Any) -> None:
    await taken(served, consent={"ad_userdata": False, "ad_user_data": False})
    [only] = stored(served)
    assert (only["consent"], only["notes"]) == ({"ad_user_data": False}, ["consent: one of unknown name, dropped"])


@pytest.mark.parametrize(
    ("part", "note"),
    [
        ({"user_data": {"user_id": 5}}, "user_data: one that is no text, dropped"),
        ({"user_data": {"user_id": True, "email": []}}, "user_data: one that is no text, dropped"),
        ({"user_data": ["jane@example.com"]}, "user_data: not an object, dropped"),
        ({"user_data": "jane@example.com"}, "user_data: not an object, dropped"),
        ({"user_data": 0}, "user_data: not an object, dropped"),
        ({"experiments": {"a": True, "b": 0.5}}, "experiments: one that is neither text nor a whole number, dropped"),
        ({"experiments": ["a"]}, "experiments: not an object, dropped"),
        ({"experiments": False}, "experiments: not an object, dropped"),
    ],
)
async def test_a_malformed_part_of_an_event_is_dropped_alone_with_a_note(
    served: Any, part: dict[str, Any], note: str
) -> None:
    good = {"user_data": {"user_id": "u-1"}, "experiments": {"exp": "v", "n": 7, "none": None}}
    both = {
        name: good[name] | part[name] if isinstance(part.get(name), dict) else part.get(name, good[name])
        for name in good
    }
    body = await taken(served, event(**both), event("lead"))
    assert (body["accepted"], body["rejected"]) == (2, [])
    first, second = stored(served)
    assert set(first["notes"]) == {note}
    assert "notes" not in second
    if "user_data" in part:
        assert first["experiments"] == {"exp": "v", "n": "7"}
    else:
        assert first.get("experiments", {}) == ({"exp": "v", "n": "7"} if isinstance(part["experiments"], dict) else {})


async def test_hashes_made_in_the_browser_are_taken_by_name_and_nothing_readable_is_kept(served: Any) -> None:
    person = {"email_sha256": "A" * 64, "email_google_sha256": "b" * 64, "phone_sha256": "no hash", "user_id": "u1"}
    await taken(served, event("identify", user_data=person))
    [one] = stored(served)
    assert (one["user"]["email_sha256"], one["user"]["email_google_sha256"]) == ("a" * 64, "b" * 64)
    assert "user_data.phone_sha256: not a SHA-256 by a known name, dropped" in one["notes"]
    assert {kind for (kind,) in rows(served, "SELECT kind FROM link")} == {"session", "email", "external_id"}
    assert FIREFOX not in str(rows(served, "SELECT * FROM visitor"))


async def test_a_line_of_an_order_that_is_no_utf_8_costs_its_part_alone(served: Any) -> None:
    body = json.dumps(batch(served, event("a"), event("b", items=[{"name": "<bad>", "product_id": "p"}]))).encode()
    status, said, _ = await post(served, body.replace(b"<bad>", b"\xff"))
    assert (status, said["accepted"]) == (200, 2)
    assert stored(served)[1]["notes"] == ["items[0].name: of the wrong type, left out"]


async def test_as_many_malformed_entries_as_a_sender_likes_are_told_once(served: Any) -> None:
    await taken(served, event(experiments={f"e{n}": [] for n in range(1000)}))
    assert stored(served)[0]["notes"] == ["experiments: one that is neither text nor a whole number, dropped"]
