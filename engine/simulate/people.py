"""Who shops, and on what: habits, carts and favourites; tokens, clock error, outages."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import msgspec

from engine.simulate.market import Market, Product
from engine.simulate.options import SimulationOptions

#: (time zone, locale, city), most frequent first.
_PLACES: Final = (
    ("Asia/Almaty", "ru-KZ", "Almaty"),
    ("Europe/London", "en-GB", "London"),
    ("America/New_York", "en-US", "New York"),
    ("Asia/Almaty", "ru-KZ", "Astana"),
    ("Europe/Berlin", "de-DE", "Berlin"),
    ("Asia/Tashkent", "ru-UZ", "Tashkent"),
    ("America/Sao_Paulo", "pt-BR", "São Paulo"),
)
_IOS: Final = ("iPhone14,5", "iPhone15,2", "iPhone16,1", "iPad13,18")
_ANDROID: Final = ("Pixel 8", "SM-S911B", "Redmi Note 12", "SM-A546E")
_VERSIONS: Final = ("5.1.0", "5.2.3", "5.3.0")

#: Written once per device, as JSON: id, model, token, app version, locale, time zone.
_IOS_CONTEXT: Final = (
    '{"device":{"id":"%012x","type":"ios","model":"%s","token":"%s"},'
    '"os":{"name":"iOS","version":"17.4"},"app":{"name":"Shop","version":"%s"},'
    '"library":{"name":"analytics-swift","version":"1.5.11"},"locale":"%s","timezone":"%s"}'
)
_ANDROID_CONTEXT: Final = (
    '{"device":{"id":"%012x","type":"android","model":"%s","token":"%s"},'
    '"os":{"name":"Android","version":"14"},"app":{"name":"Shop","version":"%s"},'
    '"library":{"name":"analytics-kotlin","version":"1.16.3"},"locale":"%s","timezone":"%s"}'
)
_WEB_CONTEXT: Final = (
    '{"library":{"name":"analytics.js","version":"2.11.1"},'
    '"userAgent":"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",'
    '"locale":"%s","timezone":"%s"}'
)

_TRAITS: Final = {
    (city, plus): {"city": city, "plan": "plus" if plus else "free"}
    for _, _, city in _PLACES
    for plus in (False, True)
}

#: Share of tokens the provider has forgotten; they begin with "dead", so a stand-in can tell.
DEAD_TOKENS: Final = 0.02


@dataclass(slots=True, eq=False)
class Device:
    """`context` is what it adds to every message. `skew_ms` is what its clock is ahead of the true
    one. Until `offline_until_ms` nothing leaves it."""

    platform: str
    context: msgspec.Raw
    skew_ms: float
    offline_until_ms: float = 0.0


@dataclass(slots=True, eq=False)
class Person:
    """`user_id` "" for a guest. `known`: messages carry the userId by now.

    Habits are probabilities: `adds` and `likes` a viewed product, `buys` a filled cart.
    """

    user_id: str
    anonymous_id: str
    known: bool
    devices: list[Device]
    traits: dict[str, Any]
    adds: float
    likes: float
    buys: float
    sent: int = 0
    cart: list[Product] = field(default_factory=list)
    favourites: list[Product] = field(default_factory=list)
    orders: int = 0

    @property
    def profile(self) -> str:
        """What the log is keyed by: the userId once known, else the anonymousId."""
        return self.user_id if self.known else self.anonymous_id


def make_person(
    index: int, options: SimulationOptions, market: Market, source: Random, compression: float
) -> Person:
    """The user number `index`, as first met: some have a cart and favourites from before."""
    draw = source.random
    zone, locale, city = _PLACES[int(len(_PLACES) * draw() ** 1.5)]
    guest = draw() < options.guests
    devices = [_device(zone, locale, source, compression) for _ in range(_device_count(draw()))]
    keen = draw()
    person = Person(
        user_id="" if guest else f"{options.prefix}{index:06d}",
        anonymous_id=f"{options.prefix}{index:06d}-anon",
        known=not guest and draw() > 0.05,
        devices=devices or [_browser(zone, locale, source, compression)],
        traits=_TRAITS[city, keen > 0.85],
        adds=0.1 + 0.25 * keen,
        likes=0.05 + 0.15 * draw(),
        buys=0.15 + 0.5 * keen,
    )
    if draw() < 0.15:
        person.cart.append(market.pick())
    if draw() < 0.2:
        person.favourites.append(market.pick())
    return person


def _device_count(drawn: float) -> int:
    """Phones of a user: most have one, some two, some none (a browser without push)."""
    if drawn < 0.12:
        return 0
    return 1 if drawn < 0.85 else 2


def _device(zone: str, locale: str, source: Random, compression: float) -> Device:
    ios = source.random() < 0.4
    dead = source.random() < DEAD_TOKENS
    token = f"{source.getrandbits(256):064x}" if ios else _fcm_token(source)
    context = (_IOS_CONTEXT if ios else _ANDROID_CONTEXT) % (
        source.getrandbits(48),
        _pick(_IOS if ios else _ANDROID, source),
        "dead" + token[4:] if dead else token,
        _pick(_VERSIONS, source),
        locale,
        zone,
    )
    return Device("mobile", msgspec.Raw(context), _skew_ms(source, compression))


def _browser(zone: str, locale: str, source: Random, compression: float) -> Device:
    context = msgspec.Raw(_WEB_CONTEXT % (locale, zone))
    return Device("web", context, _skew_ms(source, compression))


def _pick(values: Sequence[str], source: Random) -> str:
    return values[int(len(values) * source.random())]


def _fcm_token(source: Random) -> str:
    return f"{source.getrandbits(88):022x}:APA91b{source.getrandbits(256):064x}"


def _skew_ms(source: Random, compression: float) -> float:
    """Most clocks are right to a fraction of a second, a few are minutes off."""
    drawn, side = source.random(), 2 * source.random() - 1
    if drawn < 0.85:
        return 300 * side
    return (8_000 if drawn < 0.97 else 180_000) * side / compression
