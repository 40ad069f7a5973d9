"""What triggers call an event."""

import pytest

from schemas.events import decode_event, event_name

WHO = b'"messageId":"m","userId":"ann"'


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (b'"type":"screen","name":"Cart"', "Screen: Cart"),
        (b'"type":"page","name":"Cart","properties":{}', "Page: Cart"),
        (b'"type":"page","properties":{"name":"Cart"}', "Page: Cart"),
        (b'"type":"page","name":"Cart","properties":{"name":"Basket"}', "Page: Cart"),
        (b'"type":"page","name":"","properties":{"name":"Basket"}', "Page: Basket"),
        (b'"type":"page","name":7,"properties":{"name":["x"]},"event":"Cart"', "Page: Cart"),
        (b'"type":"page","name":7', None),
        (b'"type":"page"', None),
        (b'"type":"track","event":"Seen","name":"Cart"', "Seen"),
        (b'"type":"identify","name":"Cart"', None),
    ],
)
def test_a_page_or_screen_is_named_by_its_name_else_by_that_of_its_properties(
    said: bytes, name: str | None
) -> None:
    assert event_name(decode_event(b"{%b,%b}" % (said, WHO))) == name
