"""Every fixture is run: what is built, what an answer means, what a probe proves."""

import re
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from postback import queue, secret
from postback.connectors import Connector, Delivered, Item, Skipped
from tests.connectors.fixture import (
    CONNECTORS,
    BuildCase,
    Fixture,
    InterpretCase,
    assert_is,
    cases,
    config_of,
    each_connector,
    event_of,
    fixture_of,
    outcome_of,
    plain,
    response_of,
)


@pytest.mark.parametrize("connector, fixture, case", cases("build"))
def test_an_event_is_built_as_its_fixture_says(connector: Connector, fixture: Fixture, case: BuildCase) -> None:
    config = config_of(connector, fixture.config | case.config)
    event = event_of(fixture.event, case.event)
    built = connector.build(event, config, fixture.now)
    if case.skipped is not None:
        assert isinstance(built, Skipped), built
        assert (built.reason, built.fix if case.fix is not None else None) == (case.skipped, case.fix)
        return
    assert isinstance(built, Item), built
    assert any([case.request, case.item, case.events, case.holds, case.noticed]), "the case expects nothing"
    if case.noticed is not None:
        assert (built.notice and built.notice.reason) == (case.noticed or None)
    if case.request:
        assert_is(connector.pack([built], config, fixture.now), case.request, config)
    if case.item:
        assert plain(built.body) == plain(case.item)
    if case.events:
        assert plain(built.body["events"]) == plain(case.events)
    for field, value in case.holds.items():
        assert plain(built.body)[field] == plain(value), field
    if case.repeat_is_safe is not None:
        assert connector.repeat_is_safe(event) is case.repeat_is_safe
    if case.max_age_hours != "unsaid":
        age = connector.max_age(event)
        assert (age and age / timedelta(hours=1)) == case.max_age_hours


@pytest.mark.parametrize("connector, fixture, case", cases("interpret"))
def test_an_answer_means_what_its_fixture_says(connector: Connector, fixture: Fixture, case: InterpretCase) -> None:
    assert connector.interpret(response_of(case.response), case.count) == outcome_of(case.outcome)


@pytest.mark.parametrize("connector, fixture, case", cases("interpret"))
def test_a_reason_begins_with_our_words(connector: Connector, fixture: Fixture, case: InterpretCase) -> None:
    """Up to where it is kept of an erased event, and of a request that many share; a code has no space."""
    outcomes = outcome_of(case.outcome)
    for outcome in outcomes if isinstance(outcomes, list) else [outcomes]:
        reason = (outcome.note if isinstance(outcome, Delivered) else outcome.reason) or ""
        ours = re.match(queue.OURS, reason)
        assert ours is not None
        theirs = [text for text in texts(response_of(case.response).json) if " " in text]
        assert not [text for text in theirs if text[:20] in ours[0]], reason


def texts(answer: Any) -> list[str]:
    match answer:
        case str():
            return [answer]
        case dict():
            return [text for value in answer.values() for text in texts(value)]
        case list():
            return [text for value in answer for text in texts(value)]
        case _:
            return []


@pytest.mark.parametrize("connector, fixture, case", cases("probe"))
def test_a_probe_proves_what_its_fixture_says(connector: Connector, fixture: Fixture, case: InterpretCase) -> None:
    assert connector.interpret_probe
    assert connector.interpret_probe(response_of(case.response)) == outcome_of(case.outcome)


@each_connector
def test_a_probe_is_sent_as_its_fixture_says(connector: Connector) -> None:
    fixture = fixture_of(connector)
    assert (fixture.probe is None) == (connector.probe is None) == (connector.interpret_probe is None)
    if connector.probe and fixture.probe:
        config = config_of(connector, fixture.config)
        assert_is(connector.probe(config, fixture.now), fixture.probe.request, config)


@each_connector
def test_a_connector_has_a_fixture_with_a_case_of_each_kind(connector: Connector) -> None:
    fixture = fixture_of(connector)
    assert fixture.build
    assert any(case.request for case in fixture.build)
    outcomes = [case.outcome if isinstance(case.outcome, list) else [case.outcome] for case in fixture.interpret]
    assert {kind for case in outcomes for one in case for kind in one} >= {"Delivered", "Retry"}


def test_the_fixtures_give_every_required_secret() -> None:
    for connector in CONNECTORS.values():
        config = config_of(connector, fixture_of(connector).config)
        required = {field.name for field in msgspec.structs.fields(connector.config) if field.required}
        assert required
        assert all(getattr(config, name) for name in required)
        assert secret.of(config)
