"""What is said, as its author writes it: a message and its parts."""

from triggers.fields import LocalisedText, Url
from triggers.model import Model


class Push(Model):
    """A push message; texts are Liquid templates, by themselves or by locale."""

    title: LocalisedText
    """Liquid, by itself or by locale: `{{ start.properties.name }}`."""
    body: LocalisedText
    """Liquid, by itself or by locale."""
    image: Url | None = None
    """The address of a picture; Liquid."""


class Message(Model):
    """What is said; `link` opens on a tap."""

    row = "message"

    link: Url | None = None
    """What opens on a tap; Liquid: `https://shop.example/p/{{ start.properties.product_id }}`."""
    push: Push
    """The push message."""
