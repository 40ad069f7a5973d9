from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.files import to_segment
from schemas.events import Event, decode_event, occurred_at_ms, to_ms

_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3)
    ),
    max_leaves=8,
)
_OBJECTS = st.none() | st.dictionaries(st.text(max_size=5), _VALUES, max_size=4)
_IDS = st.text(min_size=1, max_size=20)
_ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5)), timezone(timedelta(minutes=-210))])
_MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=_ZONES)


@given(
    event=st.builds(
        Event,
        type=st.sampled_from(["track", "identify", "page", "screen", "group", "alias"]),
        message_id=_IDS,
        event=_IDS,
        name=_VALUES,
        user_id=_IDS,
        anonymous_id=st.none() | _IDS,
        previous_id=st.none() | _IDS,
        timestamp=st.none() | _MOMENTS,
        properties=_OBJECTS,
        context=_OBJECTS,
        traits=_OBJECTS,
    ),
    a_ms=st.integers(0, 4_000_000_000_000),
)
def test_the_message_decodes_to_the_same_event_at_the_same_times(event: Event, a_ms: int) -> None:
    again = decode_event(to_segment(event, a_ms))
    assert again.received_at is not None
    assert to_ms(again.received_at) == a_ms
    assert occurred_at_ms(again, a_ms) == occurred_at_ms(event, a_ms)
    again.received_at = event.received_at
    assert again == event
