"""Growing an event catalogue from events: what is counted, and what may be kept as an example.

Examples never hold personal data. A value becomes one when three different users sent it, if the
path has had at most 20 different values; texts are 40 characters at most. A path gets none at all
(`examples: []`, which stays) when it is a trait, when a name in it says that it is about a person
or a secret, or when one of its values looks like an e-mail address, a phone or card number, an IP
address, a token or a URL with a query. Names that look so are not learned either.
"""

import re
from datetime import UTC, datetime
from typing import Any, Final

from schemas.events import Event, event_name
from triggers.catalog import (
    ALL_PATHS_MAX,
    EVENT_NAME_CHARS_MAX,
    EVENTS_MAX,
    EXAMPLES_KEPT_MAX,
    EXAMPLES_MAX,
    PATHS_MAX,
    Catalog,
    EventEntry,
    PathEntry,
    TypeName,
)
from triggers.paths import PATH_CHARS_MAX, PATH_NAMES_MAX

DISTINCT_MAX: Final = EXAMPLES_KEPT_MAX
USERS_MIN: Final = 3
TEXT_CHARS_MAX: Final = 40
NUMBER_MAX: Final = 999_999
#: An object with more names than this has ids for names.
CHILDREN_MAX: Final = 50

_TYPE_NAMES: Final[dict[type, TypeName]] = {
    str: "string",
    float: "number",
    int: "integer",
    bool: "boolean",
    dict: "object",
    list: "list",
    type(None): "null",
}
_DATE_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)", re.ASCII
)
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
#: Words in the name of a path that carries what no example may show.
_PRIVATE_WORDS: Final = frozenset(
    """
    account address advertising auth bearer birth birthday body card comment cookie credential cvv
    dob email fingerprint first firstname iban idfa idfv imei ip last lastname lat latitude lng
    location lon longitude mail message mobile msisdn nickname note number passport password phone
    pin postal postcode pwd query recipient search secret session sid signature ssn street surname
    tel token traits uid user username uuid vat zip
    """.split()  # noqa: SIM905 -- a table of words reads as words
)
_PRIVATE_TEXT: Final = re.compile(
    r"""
    @                                                    # an e-mail address
    | (?:\d[\s().+-]*){7}                                # a phone, a card, an account
    | \d{1,3}(?:\.\d{1,3}){3}                            # IPv4
    | [0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{0,4}){3,}          # IPv6, a MAC address
    | (?=[A-Za-z+=]*\d)(?=[0-9+=]*[A-Za-z])[A-Za-z0-9+=]{12,}    # a token
    | [A-Za-z0-9+=]{24,}                                 # one of letters alone
    | ://\S*[?#]                                         # a URL with a query
    """,
    re.VERBOSE | re.ASCII,
)
#: Laxer than for values: `product_viewed_v2_beta` is a name.
_PRIVATE_NAME: Final = re.compile(r"@|(?:\d[\s().+-]*){7}|[0-9a-fA-F-]{20,}", re.ASCII)
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def looks_private(text: str) -> bool:
    """Whether a text may be of one person, or a secret."""
    return _PRIVATE_TEXT.search(text) is not None


def names_private(name: str) -> bool:
    """Whether the name of a field says that its values are of one person, or secret."""
    return any(word.lower() in _PRIVATE_WORDS for word in _WORD.findall(name))


def _is_nameable(name: str, chars_max: int) -> bool:
    return (
        0 < len(name) <= chars_max
        and _PRIVATE_NAME.search(name) is None
        and _UNPRINTABLE.search(name) is None
    )


def _is_example(kind: type, value: Any) -> bool:
    if kind is bool:
        return True
    if kind is not str:
        return bool(-NUMBER_MAX <= value <= NUMBER_MAX)
    short = len(value) <= TEXT_CHARS_MAX
    return short and not looks_private(value) and not _UNPRINTABLE.search(value)


class _Node:
    """One path while it is learned. `users` None: it gets no examples (any more)."""

    __slots__ = (
        "children",
        "counts",
        "dates",
        "element",
        "examples",
        "full",
        "names",
        "path",
        "private",
        "settled",
        "strings",
        "users",
    )

    def __init__(self, path: str, names: int, private: bool) -> None:
        self.path = path
        self.names = names
        self.private = private
        self.strings = 0
        #: Of the other types.
        self.counts: dict[type, int] = dict.fromkeys(_TYPE_NAMES, 0)
        self.children: dict[str, _Node] = {}
        self.element: _Node | None = None
        self.full = False
        self.dates = True
        #: Another text teaches nothing: no examples, no date-times.
        self.settled = False
        #: Up to `USERS_MIN` users of each value.
        self.users: dict[Any, set[str]] | None = None if private else {}
        self.examples: set[Any] = set()

    def below(self) -> "list[_Node]":
        """All paths below this one."""
        found = [*self.children.values()] + ([] if self.element is None else [self.element])
        return found + [node for child in found for node in child.below()]

    def consider(self, kind: type, value: Any, user: str) -> None:
        """See whether a scalar may be an example."""
        key = value if kind is str else (kind, value)
        if self.users is None or key in self.examples:
            return
        users = self.users.get(key)
        if users is None:
            if len(self.users) >= DISTINCT_MAX or not _is_example(kind, value):
                self.users = None
                self.examples.clear()
                return
            users = self.users[key] = set()
        users.add(user)
        if len(users) >= USERS_MIN:
            self.examples.add(key)

    def text(self, text: str, user: str) -> None:
        """See what a text teaches."""
        if self.dates and _DATE_TIME.fullmatch(text) is None:
            self.dates = False
        self.consider(str, text, user)
        self.settled = not self.dates and self.users is None

    def entry(self) -> PathEntry:
        """What was learned of this path."""
        counts = {**self.counts, str: self.strings}
        found = {name: counts[kind] for kind, name in _TYPE_NAMES.items()}
        fields: dict[str, Any] = {"types": {name: n for name, n in found.items() if n}}
        if found["string"] and self.dates:
            fields["format"] = "date-time"
        if self.full:
            fields["open"] = True
        if self.users is not None:
            # By their first appearance: the events alone decide, no hash does.
            examples = [key for key in self.users if key in self.examples][:EXAMPLES_MAX]
            if examples:
                fields["examples"] = [k[1] if type(k) is tuple else k for k in examples]
        elif not self.private:
            fields["examples"] = []
        return PathEntry.model_validate(fields)


class _Tree:
    """Paths below one event, or those shared by all. `room`: of all events together."""

    __slots__ = ("count", "first_ms", "full", "last_ms", "room", "roots", "size")

    def __init__(self, room: list[int]) -> None:
        self.count = 0
        self.first_ms = 1 << 62
        self.last_ms = -1
        self.full = False
        self.room = room
        self.roots: dict[str, _Node] = {}
        self.size = 0

    def learn(self, name: str, value: dict[str, Any], user: str) -> None:
        """Learn what is below one of the roots of paths."""
        root = self.roots.get(name)
        if root is None:
            root = self.roots[name] = _Node(name, 1, private=name == "traits")
        self._object(root, value, user)

    def paths(self) -> dict[str, PathEntry]:
        nodes = [node for root in self.roots.values() for node in root.below()]
        return {node.path: node.entry() for node in sorted(nodes, key=lambda node: node.path)}

    def _object(self, node: _Node, value: dict[str, Any], user: str) -> None:
        children = node.children
        for name, item in value.items():
            child = children.get(name) or self._child(node, name)
            if child is None:
                continue
            # Most values are texts that teach nothing new; they cost a quarter of a call this way.
            if type(item) is str:
                child.strings += 1
                if not child.settled and item not in child.examples:
                    child.text(item, user)
            else:
                self._other(child, item, user)

    def _list(self, node: _Node, items: list[Any], user: str) -> None:
        element = node.element or (self._element(node) if items else None)
        if element is None:
            return
        for item in items:
            if type(item) is str:
                element.strings += 1
                element.text(item, user)
            else:
                self._other(element, item, user)

    def _other(self, node: _Node, item: Any, user: str) -> None:
        kind = type(item)
        node.counts[kind] += 1
        if kind is dict:
            self._object(node, item, user)
        elif kind is list:
            self._list(node, item, user)
        elif node.users is not None and item is not None:
            node.consider(kind, item, user)

    def _child(self, node: _Node, name: str) -> _Node | None:
        """A path seen for the first time; None where it cannot be named or there is no room."""
        if node.full or "." in name or name == "*" or not _is_nameable(name, PATH_CHARS_MAX):
            return None
        if node.names > 1 and len(node.children) >= CHILDREN_MAX:
            self._forget_names(node)
            return None
        private = node.private or names_private(name)
        made = self._made(node, name, private)
        if made is not None:
            node.children[name] = made
        return made

    def _element(self, node: _Node) -> _Node | None:
        node.element = self._made(node, "*", node.private)
        return node.element

    def _made(self, node: _Node, name: str, private: bool) -> _Node | None:
        path = f"{node.path}.{name}"
        if len(path) > PATH_CHARS_MAX or node.names >= PATH_NAMES_MAX:
            return None
        if self.size >= PATHS_MAX or self.room[0] <= 0:
            self.full = True
            return None
        self.size += 1
        self.room[0] -= 1
        return _Node(path, node.names + 1, private)

    def _forget_names(self, node: _Node) -> None:
        """An object with so many names has ids for names: they are values, not paths."""
        gone = sum(len(child.below()) + 1 for child in node.children.values())
        self.size -= gone
        self.room[0] += gone
        node.children.clear()
        node.full = True


class Learner:
    """Events in, a catalogue out; memory is bounded by the catalogue's limits, not by events."""

    def __init__(self) -> None:
        self.events = 0
        #: Events whose name was not learned: it looks private, is too long, or there is no room.
        self.unnamed = 0
        self._trees: dict[str, _Tree] = {}
        self._room = [ALL_PATHS_MAX]
        self._shared = _Tree([PATHS_MAX])
        self._open = False

    def add(self, a_ms: int, event: Event) -> None:
        """Learn one event that was appended at `a_ms`, in any order."""
        self.events += 1
        user = event.user_id or event.anonymous_id or ""
        name = event_name(event)
        if name is not None:
            tree = self._trees.get(name) or self._new_tree(name)
            if tree is not None:
                tree.count += 1
                if a_ms < tree.first_ms:
                    tree.first_ms = a_ms
                if a_ms > tree.last_ms:
                    tree.last_ms = a_ms
                if event.properties:
                    tree.learn("properties", event.properties, user)
        if event.context:
            self._shared.learn("context", event.context, user)
        if event.traits:
            self._shared.learn("traits", event.traits, user)

    def catalog(self) -> Catalog:
        """What was learned so far, names in order."""
        events = {name: _event_entry(self._trees[name]) for name in sorted(self._trees)}
        shared = {"paths": self._shared.paths(), "open": self._shared.full}
        document = {"events": events, "shared": shared, "open": self._open}
        return Catalog.model_validate(document)

    def _new_tree(self, name: str) -> _Tree | None:
        if not _is_nameable(name, EVENT_NAME_CHARS_MAX):
            self.unnamed += 1
            return None
        if len(self._trees) >= EVENTS_MAX:
            self._open = True
            self.unnamed += 1
            return None
        tree = self._trees[name] = _Tree(self._room)
        return tree


def _event_entry(tree: _Tree) -> EventEntry:
    return EventEntry.model_validate(
        {
            "count": tree.count,
            "first": format_moment(tree.first_ms),
            "last": format_moment(tree.last_ms),
            "open": tree.full,
            "paths": tree.paths(),
        }
    )


def format_moment(moment_ms: int) -> str:
    """UTC with milliseconds and `Z`."""
    moment = datetime.fromtimestamp(moment_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
