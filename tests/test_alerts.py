"""When alerts are raised and resolved: the rules alone, and how their text is read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioagg.errors import SettingsError
from trioagg.integrity.alerts import Alarms, Change, Key, Rule, Subject
from trioagg.settings import Settings, load
from trioagg.settings.levels import level

LAG = Rule(10, 5, 30, 20)
DISK = Rule(500, 600, 0, 10, "MB")
KEY: Key = "lag", Subject("binance")
STEPS = st.lists(st.tuples(st.floats(0.1, 20), st.none() | st.floats(-20, 20)), max_size=60)
"""Seconds to the next look, and what it finds."""


def told(rule: Rule, *looks: tuple[float, float | None]) -> list[tuple[str, float]]:
    """What turned at which look: (seconds, value) each."""
    alarms = Alarms({"lag": rule})
    return [(change.turn, at) for at, value in looks for change in alarms.observe({KEY: value}, at)]


def test_an_alert_is_raised_once_and_resolved_once() -> None:
    """After so many seconds at its level, and after so many seconds back at the other one."""
    looks = [(at, 12.0 if 100 <= at < 200 else 1.0) for at in range(0, 400, 10)]

    assert told(LAG, *looks) == [("raised", 130), ("resolved", 220)]


def test_what_does_not_last_is_not_told() -> None:
    """A value that is well for a moment begins anew; one between the two levels is not well, and not bad."""
    assert told(LAG, *[(at, 12.0 if at % 20 else 7.0) for at in range(0, 1000, 5)]) == []
    assert told(LAG, (0, 12), (40, 12), (50, 4), (60, 7), (70, 4), (80, 7), (100, 7)) == [("raised", 40)]


def test_the_sign_does_not_matter() -> None:
    """Too far below is as bad as too far above."""
    assert told(LAG, (0, -12), (30, -12), (40, -1), (60, 1)) == [("raised", 30), ("resolved", 60)]


def test_less_may_be_worse() -> None:
    """Where the level to resolve is the higher one."""
    assert told(DISK, (0, 900), (1, 500), (2, 550), (3, 600), (13, 601), (14, 1)) == [
        ("raised", 1),
        ("resolved", 13),
        ("raised", 14),
    ]


def test_what_nobody_knows_changes_nothing() -> None:
    """Neither is it raised nor resolved, and what was so before it does not count; what is not told of is well."""
    assert told(LAG, (0, 12), (20, None), (30, 12), (59, 12), (60, 12), (70, None), (500, None)) == [("raised", 60)]
    alarms = Alarms({"lag": LAG})
    alarms.observe({KEY: 12}, 0)
    assert [change.turn for at in (30, 40, 60) for change in alarms.observe({KEY: 12} if at < 40 else {}, at)] == [
        "raised",
        "resolved",
    ]


def test_an_alert_knows_its_value_and_how_long_it_took() -> None:
    """When it is raised, while it stands, and when it is resolved."""
    alarms = Alarms({"lag": LAG})
    changes = [
        change for at, value in ((0, 11), (30, 12), (40, 4), (60, 3)) for change in alarms.observe({KEY: value}, at)
    ]

    assert [(change.alert.value, change.alert.since, change.lasted) for change in changes] == [
        (12, 30, 0),
        (12, 30, 30),
    ]
    assert not alarms.standing
    assert alarms.observe({("unknown", Subject()): 99}, 70) == []


@given(STEPS)
def test_turns_alternate_and_never_hurry(steps: list[tuple[float, float | None]]) -> None:
    """Raised and resolved take turns, each no sooner after the one before than it must last, and never in the band."""
    alarms, now, before = Alarms({"lag": LAG}), 0.0, ("resolved", 0.0)
    for pause, value in steps:
        now += pause
        for change in alarms.observe({KEY: value}, now):
            assert value is not None and change.turn != before[0]
            assert now - before[1] >= (LAG.hold if change.turn == "raised" else LAG.rest)
            assert abs(value) >= LAG.level if change.turn == "raised" else abs(value) <= LAG.calm
            before = change.turn, now


@given(st.lists(st.floats(5.01, 9.99), max_size=200), st.booleans())
def test_nothing_turns_between_the_levels(values: list[float], raised: bool) -> None:  # noqa: FBT001
    """However long a value wanders there."""
    alarms = Alarms({"lag": Rule(10, 5, 0, 0)})
    changes: list[Change] = alarms.observe({KEY: 10.0 if raised else 5.0}, 0)
    changes += [change for at, value in enumerate(values, 1) for change in alarms.observe({KEY: value}, at)]

    assert len(changes) == raised


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 20)), max_size=80))
def test_subjects_are_apart(looks: list[tuple[str, float]]) -> None:
    """Each turns as if there were no other."""
    whole = Alarms({"lag": LAG})
    alone = {name: Alarms({"lag": LAG}) for name in "abc"}
    last: dict[Key, float | None] = {}
    for at, (name, value) in enumerate(looks):
        last["lag", Subject(name)] = value
        found = whole.observe(last, 10.0 * at)
        expected = [
            change for key, told in last.items() for change in alone[key[1].exchange].observe({key: told}, 10.0 * at)
        ]
        assert found == expected


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("10s for 30s until 5s for 20s", LAG),
        ("10 S for 30 s until 5 s", Rule(10, 5, 30, 30)),
        ("0.5s", Rule(0.5, 0.25, 0, 10)),
        ("4s for 3s", Rule(4, 2, 3, 10)),
        ("4s until 1s for 0s", Rule(4, 1, 0, 0)),
        ("off", None),
    ],
)
def test_a_rule_is_a_short_sentence(text: str, rule: Rule | None) -> None:
    """What is left out follows from the rest."""
    assert level(LAG)(text) == rule


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("lag", "10", "must look like 10s for 30s until 5s for 30s, or off"),
        ("lag", "", "must look like"),
        ("lag", "0s", "must be above 0; off turns it off"),
        ("lag", "5s until 5s", "must have a lower level behind until"),
        ("price", "0.02", "must look like 2% for 30s until 1% for 30s, or off"),
        ("webhook_form", "slak", "did you mean slack?"),
        ("command", "a 'b", "No closing quotation"),
    ],
)
def test_a_bad_rule_is_one_line(name: str, text: str, words: str) -> None:
    """It says how a good one looks."""
    with pytest.raises(SettingsError) as caught:
        load(environment={f"TRIOAGG_ALERTS_{name.upper()}": text})
    assert words in str(caught.value) and f"TRIOAGG_ALERTS_{name.upper()}: bad value {text!r}" in str(caught.value)


@pytest.mark.parametrize(
    "url", ["hooks.example/T0/secret", "ftp://hooks.example/secret", "https:/x/secret", "https:///secret"]
)
def test_a_bad_webhook_stays_secret(url: str) -> None:
    """Whatever follows its host may let anybody post."""
    with pytest.raises(SettingsError, match=r"must look like https://host/path") as caught:
        load(environment={"TRIOAGG_ALERTS_WEBHOOK": url})
    assert "secret" not in str(caught.value)


def test_the_settings_of_alerts() -> None:
    """Texts as a person writes them."""
    given: dict[str, Any] = {
        "PRICE": "3% for 5s",
        "GAP": "off",
        "WEBHOOK": "https://hooks.example/T0/x?wait=true",
        "COMMAND": "/bin/page --to 'the team'",
    }
    settings = load(environment={f"TRIOAGG_ALERTS_{name}": text for name, text in given.items()})

    alerts = settings.alerts
    assert settings.rules["price"] == Rule(0.03, 0.015, 5, 10, "%")
    assert settings.rules.keys() == Settings().rules.keys() - {"gap"}
    assert alerts.command == ("/bin/page", "--to", "the team")
    assert alerts.webhook.endswith("?wait=true")


def test_some_levels_stand_among_the_settings_of_a_run() -> None:
    """Each in one place; no room at all is a reason for nothing where 0 says so."""
    given = {"TRIOAGG_RUN_MIN_FREE_DISK": "1000", "TRIOAGG_RUN_MAX_SKEW": "0", "TRIOAGG_RUN_FIRST_DATA_TIMEOUT": "9"}
    rules = load(environment=given).rules

    assert rules["disk"].bad(999) and not rules["disk"].bad(1001) and rules["disk"].well(1200)
    assert rules["skew"].bad(0.001) and not rules["skew"].bad(0) and rules["skew"].well(0)
    assert rules["unheard"].bad(9) and not rules["unheard"].bad(8.9)
    assert "disk" not in load(environment={"TRIOAGG_RUN_MIN_FREE_DISK": "0"}).rules


@pytest.mark.parametrize("name", Settings().rules)
def test_the_default_rules_read_as_they_are_written(name: str) -> None:
    """The shipped file says all of each."""
    rule = Settings().rules[name]
    assert level(rule)(str(rule)) == rule
