"""What holds on every ingest path, whatever dialect it speaks: each refusal is in that dialect's own shape."""

from typing import Any

from postback.web.ingest import ANY_CASE, ROUTES

JSON = {"Content-Type": "application/json"}
UNREADABLE = [
    b"", b"{", b"[1]", b'"text"', b"7", b"null", b"NaN", b"\xff\xfe", b"[" * 10_000 + b"]" * 10_000,
    b'{"x":' * 10_000 + b"1" + b"}" * 10_000, b'{"goalId": 1, "visitorId": "a\\u0000b", "batch": "\\ud800"}',
]  # fmt: skip


def said(answer: Any) -> str:
    error = answer["error"]
    assert isinstance(error, str) is ("success" in answer)
    assert answer.get("success") is (False if isinstance(error, str) else None)
    return error if isinstance(error, str) else error["message"]


async def nothing_was_stored(served: Any) -> bool:
    _, listed = await served.call("GET", "/v1/admin/events")
    return listed["items"] == []


async def test_without_a_key_it_is_401_and_says_where_the_key_goes(served: Any) -> None:
    for path in ROUTES:
        async with served.http.post(served.url + path, json={}) as answer:
            assert answer.status == 401, path
            assert "Authorization: Bearer" in said(await answer.json()), path
            assert answer.headers["X-Request-Id"]


async def test_a_body_that_cannot_be_read_is_a_4xx_and_changes_nothing(served: Any) -> None:
    for path in ROUTES:
        for body in UNREADABLE:
            status, answer = await served.call("POST", path, body, headers=JSON)
            assert status in (400, 422), (path, body[:30], answer)
            assert said(answer) if answer.get("status") != "invalid" else answer["error"]["message"]
    assert await nothing_was_stored(served)


async def test_a_body_over_the_limit_is_413(served: Any) -> None:
    for path, dialect in ROUTES.items():
        body = b'{"x": "' + b"a" * dialect.max_bytes + b'"}'
        status, answer = await served.call("POST", path, body, headers=JSON)
        assert status == 413, path
        assert "bytes" in said(answer), path


async def test_another_method_is_405_and_another_type_415(served: Any) -> None:
    for path in [*ROUTES, *ANY_CASE]:
        async with served.http.put(served.url + path, headers={"Authorization": "Bearer x"}) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST"), path
            said(await answer.json())
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        status, answer = await served.call("POST", path, b"a=b", headers=form)
        assert status == 415, path
        said(answer)
