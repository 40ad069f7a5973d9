"""From a delivery to what is said: the definition's texts with the delivery's values.

The definition is the revision that decided, not the newest one.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import NamedTuple

from engine.delivery.senders import Push
from schemas.deliveries import Delivery
from schemas.topics import Lane
from triggers.definition import TriggerDefinition
from triggers.filling import fill_text, is_fixed
from triggers.formats import reader_of
from triggers.links import Utm, written_address
from triggers.texts import LOCALE_PATH, RenderError, pick_text

Definitions = Callable[[str, int], TriggerDefinition | None]
LocalisedText = str | Mapping[str, str]

KEPT_MAX = 4_000


class _Texts(NamedTuple):
    title: LocalisedText
    body: LocalisedText
    link: str | None
    image: str | None
    utm: Utm | None


class Rendered(NamedTuple):
    """A message before it is addressed to a device."""

    title: str
    body: str
    link: str | None
    data: Mapping[str, str]
    collapse_key: str
    urgent: bool

    def to(self, delivery_id: str, token: str, expires_at_ms: int) -> Push:
        """For one device; `expires_at_ms` is wall time."""
        return Push(
            delivery_id,
            token,
            self.title,
            self.body,
            self.link,
            self.data,
            self.collapse_key,
            expires_at_ms,
            self.urgent,
        )


class Renderer:
    """`definitions` gives any registered revision of a trigger, None for one that is not there."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._texts: OrderedDict[tuple[str, int, str, str], _Texts] = OrderedDict()

    def render(self, delivery: Delivery) -> Rendered:
        """Raises `RenderError`, and what `definitions` raises.

        A newer marketing message of a trigger replaces the one still on its way or on the screen;
        a transactional one replaces nothing but a repeat of itself.
        """
        texts = self._texts_of(delivery.trigger, delivery.revision, delivery.text, delivery.variant)
        link, image = _address(texts.link, delivery), _address(texts.image, delivery)
        if link is not None and texts.utm is not None:
            said = delivery.variant or delivery.text
            link = texts.utm.tagged(link, trigger=delivery.trigger, said=said)
        data = {"trigger": delivery.trigger}
        if image is not None:
            data["image"] = image
        return Rendered(
            fill(texts.title, delivery),
            fill(texts.body, delivery),
            link,
            data,
            delivery.trigger if delivery.marketing else delivery.delivery_id,
            delivery.lane != Lane.LOW,
        )

    def _texts_of(self, trigger: str, revision: int, text: str, variant: str) -> _Texts:
        key = (trigger, revision, text, variant)
        texts = self._texts.get(key)
        if texts is None:
            texts = self._texts[key] = self._read(*key)
            if len(self._texts) > KEPT_MAX:
                self._texts.popitem(last=False)
        return texts

    def _read(self, trigger: str, revision: int, text: str, variant: str) -> _Texts:
        definition = self._definitions(trigger, revision)
        if definition is None:
            raise RenderError(f"there is no revision {revision} of {trigger}")
        message = definition.message_of(text, variant)
        if message is None:
            raise RenderError(f"revision {revision} of {trigger} has no message {text}".rstrip())
        push = message.push
        return _Texts(push.title, push.body, message.link, push.image, definition.utm)


def _address(source: str | None, delivery: Delivery) -> str | None:
    """One that is the same for everybody stays as it is written."""
    if source is None or is_fixed(source):
        return source
    return written_address(fill(source, delivery))


def fill(texts: LocalisedText, delivery: Delivery) -> str:
    """A text with the delivery's values. Raises `RenderError`."""
    locale = delivery.fields.get("event", {}).get(LOCALE_PATH)
    source, language = pick_text(texts, locale)
    reader = reader_of(language, locale, delivery.zone)
    return fill_text(source, delivery.fields, delivery.trigger, delivery.items, reader)
