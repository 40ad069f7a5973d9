"""Buckets: GrowthBook's hash, version 2, and the rollout that uses it."""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.unit.triggers.user import HELLO, User, program_of
from triggers.buckets import bucket
from triggers.definition import TriggerDefinition

#: (seed, value, bucket): "hash" of version 2 in the cases that the SDKs of GrowthBook share.
PUBLISHED = [
    ("seed", "a", 505),
    ("seed", "b", 2696),
    ("foo", "ab", 2575),
    ("foo", "def", 2019),
    ("89123klj", "8952klfjas09ujkasdf", 1240),
    ("90850943850283058242805", "123", 7516),
    ("()**(%$##$%#$#", '___)((*":&', 128),
]


@pytest.mark.parametrize(("seed", "value", "expected"), PUBLISHED)
def test_a_bucket_is_that_of_the_published_vectors(seed: str, value: str, expected: int) -> None:
    assert bucket(seed, value) == expected


def reached(share: str, count: int = 2_000) -> set[str]:
    program = program_of({**HELLO, "rollout": share})
    found = set()
    for number in range(count):
        user = User(program, name=f"user-{number}")
        user.event("0s", "Opened")
        if user.lines == ["0s hello m0 ADMITTED"]:
            found.add(user.name)
        else:
            assert user.lines == ["0s hello m0 NOT_ROLLED_OUT"]
    return found


def test_a_rollout_reaches_its_share_and_keeps_its_users_when_it_grows() -> None:
    five, twenty = reached("5%"), reached("20%")
    assert 60 <= len(five) <= 140
    assert 330 <= len(twenty) <= 470
    assert five < twenty


def test_a_rollout_of_nothing_reaches_nobody_and_of_all_everybody() -> None:
    assert reached("0%", 50) == set()
    assert len(reached("100%", 50)) == 50


def test_two_triggers_roll_out_to_different_users() -> None:
    both = program_of({**HELLO, "rollout": "50%"}, {**HELLO, "id": "other", "rollout": "50%"})
    ends = set()
    for number in range(50):
        user = User(both, name=f"user-{number}")
        user.event("0s", "Opened")
        ends.add(tuple(line.split()[-1] for line in user.lines))
    assert len(ends) == 4


@pytest.mark.parametrize("share", ["5", 5, "101%", "-1%", "5.123%", "half"])
def test_a_rollout_is_a_share_in_percent(share: Any) -> None:
    with pytest.raises(ValidationError, match=r"percent|at most 100%"):
        TriggerDefinition.model_validate({**HELLO, "rollout": share})


def test_a_rollout_is_written_back_as_it_was_read() -> None:
    for share in ("5%", "0.5%", "12.25%", "100%"):
        made = TriggerDefinition.model_validate({**HELLO, "rollout": share})
        assert made.to_document()["rollout"] == share
