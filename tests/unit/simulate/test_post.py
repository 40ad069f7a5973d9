from datetime import UTC, datetime
from random import Random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from engine.simulate.people import Device, Person
from engine.simulate.post import IsoTime, Post
from schemas.events import decode_event, to_ms


def person() -> Person:
    return Person("u1", "u1-anon", True, [], {}, 0.0, 0.0, 0.0)


def phone(offline_until_ms: float = 0.0) -> Device:
    return Device("mobile", msgspec.Raw(b"{}"), 0.0, offline_until_ms)


def test_what_an_offline_phone_did_arrives_together_when_it_is_back() -> None:
    post = Post(Random(1), 1, 0.0, 1.0)
    sender, device = person(), phone(offline_until_ms=60_000)
    for second in range(10):
        post.send(second * 1_000.0, sender, device, "track", "Seen")
    assert post.appended_before(60_000) == []
    arrived = post.appended_before(120_000)
    assert len(arrived) == 10
    assert {to_ms(decode_event(m.value).timestamp or datetime.min) for m in arrived} == set(
        range(0, 10_000, 1_000)
    )


def test_nothing_sent_later_is_appended_before_what_was_given_out() -> None:
    post = Post(Random(1), 1, 0.1, 1.0)
    sender, device = person(), phone()
    given_out = []
    for now_ms in range(0, 200_000, 37):
        post.send(float(now_ms), sender, device, "track", "Seen")
        given_out += post.appended_before(now_ms)
    given_out += post.appended_before(10**9)
    times = [message.a_ms for message in given_out]
    assert times == sorted(times)
    assert len(times) == post.sent


@given(st.integers(0, 4_102_444_800_000))
def test_a_time_is_written_as_datetime_reads_it(moment_ms: int) -> None:
    read = datetime.fromisoformat(IsoTime()(moment_ms))
    assert read.tzinfo == UTC
    assert to_ms(read) == moment_ms
