"""The clickstream of the benches: seeded, so that two runs on two machines decide the same.

Shoppers come for a session, look at things, put some into the cart, seldom buy. `StreamShape` says
how many of them and how dense; `make_stream` gives the messages in the order of their append times.
Messages are Segment `track` records of about 500 bytes: what a mobile SDK really sends, with the
device in every one of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import heapify, heappop, heappush
from random import Random
from typing import NamedTuple

#: 2026-01-05T10:00:00Z, where the log of a bench begins.
T0_MS = 1_767_607_200_000
SEED = 20_260_105

#: 28 event names of a shop and how often each happens, in thousandths.
WEIGHTS = {
    "Product Viewed": 340,
    "Product List Viewed": 130,
    "Product Clicked": 105,
    "Products Searched": 70,
    "Application Opened": 55,
    "Application Backgrounded": 50,
    "Promotion Viewed": 50,
    "Product Added": 30,
    "Cart Viewed": 40,
    "Promotion Clicked": 8,
    "Product Added to Wishlist": 12,
    "Checkout Started": 8,
    "Checkout Step Viewed": 8,
    "Product Removed": 12,
    "Payment Info Entered": 7,
    "Coupon Entered": 10,
    "Product Shared": 10,
    "Store Visited": 9,
    "Order Completed": 5,
    "Push Opened": 8,
    "Product Removed from Wishlist": 6,
    "Signed In": 6,
    "Coupon Denied": 4,
    "Product Reviewed": 4,
    "Signed Up": 3,
    "Payment Failed": 2,
    "Order Cancelled": 2,
    "Order Refunded": 1,
}
#: In the stream for a thousand triggers: the share of events of the ten commonest names that the
#: ten triggers of the small workspace match, and the share of all events the others match.
HOT_SHARE = 0.06
OTHER_SHARE = 0.01
OTHER_CATEGORIES = 36

PRODUCTS = 5_000
CATEGORIES = 40


@dataclass(frozen=True, slots=True)
class StreamShape:
    """`events` messages at `events_per_s` of log time, in sessions of about `session_events`
    messages, `gap_ms` apart. `tagged`: categories as the thousand triggers name them.

    The density decides how often one user comes twice in a batch. A sparse log would flatter the
    numbers: several changes of a state are one write.
    """

    events: int = 400_000
    events_per_s: float = 1_000.0
    users: int = 200_000
    session_events: float = 30.0
    gap_ms: float = 30_000.0
    tagged: bool = False
    seed: int = SEED

    @property
    def span_ms(self) -> float:
        """How much log time passes."""
        return self.events / self.events_per_s * 1000


class Message(NamedTuple):
    """One record of the log. `head` and `tail` enclose the client time, for a stream sent now."""

    a_ms: int
    e_ms: int
    user: str
    head: str
    tail: str

    @property
    def value(self) -> bytes:
        """The JSON text."""
        return f"{self.head}{iso(self.e_ms)}{self.tail}".encode()


class _Session:
    """One visit: the user, their phone, and what they have in hand."""

    __slots__ = ("cart", "left", "product", "tail", "user")

    def __init__(self, user: int, left: int) -> None:
        self.user = f"u{user:06d}"
        self.left = left
        self.product = user % PRODUCTS
        self.cart: list[int] = []
        self.tail = _context(user)


def iso(ms: int) -> str:
    """`2026-01-05T10:00:00.000Z`."""
    seconds, rest = divmod(ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"


def make_stream(shape: StreamShape) -> Iterator[Message]:
    """Exactly `shape.events` messages, sorted by append time."""
    random = Random(shape.seed)
    names, weights = list(WEIGHTS), list(WEIGHTS.values())
    hot = set(names[:10])
    length_ms = shape.session_events * shape.gap_ms
    # Sessions under way at the beginning are begun before it, so the stream is steady at once.
    sessions = round(shape.events / shape.session_events * (1 + length_ms / shape.span_ms) * 1.1)
    queue = [(random.uniform(-length_ms, shape.span_ms), number) for number in range(sessions)]
    heapify(queue)
    open_sessions: dict[int, _Session] = {}
    made = 0
    while queue and made < shape.events:
        at, number = heappop(queue)
        session = open_sessions.get(number)
        if session is None:
            left = 1 + int(random.expovariate(1 / shape.session_events))
            session = _Session(random.randrange(shape.users), left)
            open_sessions[number] = session
        session.left -= 1
        if session.left > 0:
            heappush(queue, (at + random.expovariate(1 / shape.gap_ms), number))
        else:
            del open_sessions[number]
        if at < 0:
            continue
        made += 1
        name = random.choices(names, weights)[0]
        yield _message(random, session, name, int(at), made, shape.tagged, name in hot)


def _message(
    random: Random, session: _Session, name: str, at: int, number: int, tagged: bool, hot: bool
) -> Message:
    a_ms = T0_MS + at
    product = _product(random, session, name)
    category = _tag(random, hot) if tagged else f"c{product % CATEGORIES}"
    price = product * 7919 % 1000
    head = (
        f'{{"type":"track","messageId":"{random.getrandbits(96):024x}-{number:07d}",'
        f'"userId":"{session.user}","event":"{name}",'
        f'"properties":{{"product_id":"p{product}","name":"Item number {product} in blue",'
        f'"category":"{category}","price":{price},"currency":"KZT","order_id":"o{number}",'
        f'"results":{random.randrange(60)},"position":{random.randrange(24)}}},"timestamp":"'
    )
    # Phones send a moment later; one in fifty was out of reach for up to ten minutes.
    late_ms = random.randrange(2_000) if random.random() > 0.02 else random.randrange(600_000)
    return Message(a_ms, a_ms - late_ms, session.user, head, session.tail)


def _product(random: Random, session: _Session, name: str) -> int:
    """The thing a message is about: a new one, the one in view, or one of the cart."""
    if name == "Product Removed" and session.cart:
        return session.cart.pop()
    if name == "Product Added":
        session.cart.append(session.product)
    elif name == "Order Completed":
        session.cart.clear()
    elif name in ("Product Viewed", "Product Clicked"):
        session.product = random.randrange(PRODUCTS)
    return session.product


def _tag(random: Random, hot: bool) -> str:
    draw = random.random()
    if draw < OTHER_SHARE:
        return f"c{1 + random.randrange(OTHER_CATEGORIES)}"
    if hot and draw < OTHER_SHARE + HOT_SHARE:
        return "c0"
    return f"c{1_000 + random.randrange(9_000)}"


def _context(user: int) -> str:
    """The end of a message. One in seven has an iPhone, one an Android, five only a browser."""
    kind = user % 7
    device = ""
    if kind < 2:
        token = f"{user * 2_654_435_761 % (1 << 64):064x}"
        device = f'"device":{{"type":"{"ios" if kind else "android"}","token":"{token}"}},'
    return (
        f'","context":{{{device}"locale":"ru-KZ","timezone":"Asia/Almaty",'
        '"library":{"name":"analytics-kotlin","version":"1.19.1"}}}'
    )
