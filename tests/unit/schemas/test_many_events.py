"""Events decoded many at a time are those decoded one at a time."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from schemas.events import (
    EVENT_BYTES_MAX,
    ID_CHARS_MAX,
    BadRecord,
    decode_event,
    decode_events,
    to_ms,
)

PLAIN = b'{"type":"track","event":"Seen","messageId":"m1","userId":"ann","properties":{"price":1}}'
FINE = [
    PLAIN,
    b'{"type":"track","event":"Seen","messageId":"m2","anonymousId":"a","context":{"ip":"1"}}',
    b'{"type":"identify","messageId":"m3","userId":"ann","traits":{"plan":"pro"}}',
    b'{"type":"page","messageId":"m4","userId":"ann","properties":{"name":"Home"}}',
    b'{"type":"screen","messageId":"m6","userId":"ann","name":"Cart"}',
    b'{"type":"track","event":"Seen","messageId":"m7","userId":"ann","name":{"first":"Ann"}}',
    b'{"type":"signal","messageId":"m5","userId":"ann","event":"moved"}',
]
REFUSED = [
    b"",
    b"not json",
    b'{"type":"track","event":"Seen","messageId":"m","userId":"ann","properties":{"a":"\xff"}}',
    b'{"type":"track","event":"Seen","messageId":"m","userId":"ann","properties":{"a":1e999}}',
    b'{"type":"track","event":"Seen","messageId":"m","userId":"ann","properties":[1]}',
    b'{"type":"track","event":"Seen","messageId":"m","userId":"ann","timestamp":"yesterday"}',
    b'{"type":"track","event":"Seen","messageId":"m","userId":"a","timestamp":"1969-12-31T23:00:00Z"}',
    b'{"type":"track","event":"Seen","userId":"ann"}',
    b'{"type":"track","event":"Seen","messageId":"m"}',
    b'{"type":"track","messageId":"m","userId":"ann"}',
    b'{"type":"signal","messageId":"m","userId":"ann"}',
    b'{"type":"outcome","event":"x","messageId":"m","userId":"ann"}',
    b'{"type":"unheard","messageId":"m","userId":"ann"}',
    b'{"type":"track","event":"Seen","messageId":"m","userId":"%b"}' % (b"u" * (ID_CHARS_MAX + 1)),
    b'{"type":"track","event":"Seen","messageId":"%b","userId":"a"}' % (b"m" * (ID_CHARS_MAX + 1)),
    b'{"type":"track","event":"S","messageId":"m","userId":"a","properties":%b}'
    % (b'{"a":' * 3_000 + b"1" + b"}" * 3_000),
    PLAIN + b" " * EVENT_BYTES_MAX,
]


def test_many_events_are_those_decoded_one_by_one() -> None:
    assert decode_events(FINE) == [decode_event(value, signals=True) for value in FINE]


@pytest.mark.parametrize("value", REFUSED, ids=range(len(REFUSED)))
def test_one_refused_event_leaves_the_judgement_to_the_one_by_one_decoder(value: bytes) -> None:
    with pytest.raises(BadRecord):
        decode_event(value, signals=True)
    assert decode_events([PLAIN, value, PLAIN]) is None


@pytest.mark.parametrize(
    ("moment", "ms"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(1970, 1, 1), 0),
        (datetime(1970, 1, 1, 0, 0, 0, 1_999, tzinfo=UTC), 1),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), -1),
        (datetime(2026, 1, 5, 10, 0, 0, 169_000, tzinfo=UTC), 1_767_607_200_169),
        (datetime(2026, 1, 5, 15, tzinfo=timezone(timedelta(hours=5))), 1_767_607_200_000),
        (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), 253_402_300_799_999),
    ],
)
def test_a_moment_in_milliseconds_is_rounded_down(moment: datetime, ms: int) -> None:
    assert to_ms(moment) == ms
