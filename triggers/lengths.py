"""How long a text is for who reads it, held against the `text` limits of its policy.

Length is counted in graphemes, what a reader takes for one character: a flag and a family emoji are
one each. What a placeholder will say is known only when it is filled in, so a definition tells a
lower bound and `Renders` counts what messages really said.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec
from liquid.builtin.content import ContentNode
from liquid.builtin.tags.comment_tag import CommentNode
from wcwidth import iter_graphemes

from triggers.definition import DEFAULT_POLICY, Policy, TextLimits, TriggerDefinition
from triggers.effects import Admitted
from triggers.experiments import VariantSet
from triggers.filling import Plain, fill_text, is_fixed, plain_text
from triggers.formats import reader_of
from triggers.messages import Message
from triggers.problems import Location, Problem
from triggers.texts import (
    LOCALE_PATH,
    OUTPUT_BYTES_MAX,
    MessageAborted,
    RenderError,
    compile_text,
    pick_text,
)

_PARTS = ("title", "body")
_ADDRESSES = ("link", "image")
_EXAMPLE_CHARS_MAX = 160
#: What FCM and APNs take of one message, with everything around its texts.
PAYLOAD_BYTES_MAX = 4_096
#: Of each text so many messages are looked at: filling in Liquid takes 60 us where it has filters,
#: several times what a backtest takes for an event.
LOOKED_AT_MAX = 20_000


def graphemes(text: str) -> int:
    """How many characters a reader sees."""
    if text.isascii():
        return len(text) - text.count("\r\n")
    return sum(1 for _ in iter_graphemes(text))


def least_length(source: str) -> tuple[int, bool]:
    """What a template says at least, in graphemes, and whether it says always the same.

    What stands within a tag (`{% if %}`) may not be said at all and counts nothing.
    """
    said, fixed = _always_said(source)
    return (graphemes("".join(said)) if fixed else sum(map(graphemes, said))), fixed


def _always_said(source: str) -> tuple[list[str], bool]:
    nodes = compile_text(source).template.nodes
    said = [node.text for node in nodes if isinstance(node, ContentNode)]
    return said, all(isinstance(node, ContentNode | CommentNode) for node in nodes)


def payload_problems(definition: TriggerDefinition) -> Iterator[Problem]:
    """The messages that no provider would take, whatever is filled in."""
    for location, message in _messages(definition):
        push = message.push
        locales = {locale for part in (push.title, push.body) for locale in _locales(part)}
        addresses = [one for one in (message.link, push.image) if one is not None]
        for locale in sorted(locales):
            said = [pick_text(part, locale)[0] for part in (push.title, push.body)]
            least = sum(map(_least_bytes, said + addresses))
            if least > PAYLOAD_BYTES_MAX:
                yield Problem(
                    location,
                    f"this message has at least {least} bytes"
                    f"{f' in {locale}' if locale else ''}: "
                    f"providers take {PAYLOAD_BYTES_MAX}, title, body, link and picture together",
                )
                break


def _locales(part: str | Mapping[str, str]) -> Iterable[str]:
    return ("",) if isinstance(part, str) else part


def _least_bytes(source: str) -> int:
    return sum(len(text.encode("utf-8", "replace")) for text in _always_said(source)[0])


class _Place(NamedTuple):
    """One text of a definition: `part` is `title`, `body`, `link` or `image`."""

    location: Location
    part: str
    source: str


def _places(definition: TriggerDefinition) -> Iterator[_Place]:
    for location, message in _messages(definition):
        for part in _PARTS:
            texts: str | Mapping[str, str] = getattr(message.push, part)
            here = (*location, "push", part)
            if isinstance(texts, str):
                yield _Place(here, part, texts)
            else:
                for locale, source in texts.items():
                    yield _Place((*here, locale), part, source)
        if message.push.image is not None:
            yield _Place((*location, "push", "image"), "image", message.push.image)
        if message.link is not None:
            yield _Place((*location, "link"), "link", message.link)
    for location, changed in _sets(definition):
        if changed.link is not None:
            yield _Place((*location, "link"), "link", changed.link)


def _parts(message: Message) -> Iterator[tuple[str, str | Mapping[str, str]]]:
    """The texts to be looked at: an address that is the same for everybody is none."""
    yield "title", message.push.title
    yield "body", message.push.body
    for part, source in (("link", message.link), ("image", message.push.image)):
        if source is not None and not is_fixed(source):
            yield part, source


def _messages(definition: TriggerDefinition) -> Iterator[tuple[Location, Message]]:
    if definition.message is not None:
        yield ("message",), definition.message
    for name, message in definition.messages.items():
        yield ("messages", name), message
    for location, changed in _sets(definition):
        if changed.message is not None:
            yield (*location, "message"), changed.message


def _sets(definition: TriggerDefinition) -> Iterator[tuple[Location, VariantSet]]:
    if definition.experiment is not None:
        for name, variant in definition.experiment.variants.items():
            if variant.set_ is not None:
                yield ("experiment", "variants", name, "set"), variant.set_


def _most(limits: TextLimits, part: str) -> int:
    """Addresses nobody reads: only what cannot be rendered counts."""
    if part in _ADDRESSES:
        return OUTPUT_BYTES_MAX
    return limits.title_max if part == "title" else limits.body_max


def written_problems(definition: TriggerDefinition, limits: TextLimits) -> Iterator[Problem]:
    """The texts that are too long whatever is filled in."""
    for place in _places(definition):
        length, fixed = least_length(place.source)
        most = _most(limits, place.part)
        if length > most:
            what = "is" if fixed else "is at least"
            rest = "" if fixed else ", before its values are filled in"
            yield Problem(
                place.location,
                f"this {place.part} {what} {length} characters long{rest}: "
                f"its policy wants {most} at most (`text.{place.part}_max`)",
            )


class Count(msgspec.Struct):
    """What became of one text. `worst` is the longest one said; `failed` could not be rendered,
    `failed_why` is one of the reasons; `fixed`: every message says the same."""

    fixed: bool
    said: int = 0
    over: int = 0
    worst_length: int = 0
    worst: str = ""
    failed: int = 0
    failed_why: str = ""

    def add(self, other: "Count") -> None:
        """Add what other messages said."""
        self.said += other.said
        self.over += other.over
        self.failed += other.failed
        self.worst_length, self.worst = max(
            (self.worst_length, self.worst), (other.worst_length, other.worst)
        )
        self.failed_why = max(self.failed_why, other.failed_why)


#: By trigger, part and text.
Said = dict[tuple[str, str, str], Count]


class Renders:
    """Renders the first `looked_at_max` messages of each text to count those that are too long."""

    def __init__(
        self,
        definitions: Mapping[str, TriggerDefinition],
        policies: Mapping[str, Policy],
        looked_at_max: int = LOOKED_AT_MAX,
    ) -> None:
        self._definitions = definitions
        self._limits = {
            name: policies.get(found.policy, policies.get(DEFAULT_POLICY, Policy())).text
            for name, found in definitions.items()
        }
        self._texts: dict[tuple[str, str, str], list[tuple[str, str | Mapping[str, str]]]] = {}
        self._plain: dict[tuple[str, str, str], Plain | None] = {}
        self.said: Said = {}
        self._looked_at_max = looked_at_max

    def look(self, admitted: Admitted) -> None:
        """Count one message; what is withheld from a control group is none."""
        if admitted.ghost:
            return
        key = (admitted.trigger.id, admitted.text, admitted.variant)
        texts = self._texts.get(key)
        if texts is None:
            message = self._definitions[key[0]].message_of(*key[1:])
            texts = self._texts[key] = [] if message is None else list(_parts(message))
        for part, found in texts:
            source, language = pick_text(found, admitted.event_fields.get(LOCALE_PATH))
            self._count((key[0], part, source), language, admitted)

    def _count(self, key: tuple[str, str, str], language: str, admitted: Admitted) -> None:
        count = self.said.get(key)
        if count is None:
            self._plain[key] = plain_text(key[2])
            count = self.said[key] = Count(is_fixed(key[2]))
        if count.said >= self._looked_at_max:
            return
        count.said += 1
        if count.fixed and count.said > 1:
            count.over += bool(count.over)
            count.failed += bool(count.failed)
            return
        trigger, part, source = key
        most = _most(self._limits[trigger], part)
        fields = {"start": admitted.start_fields, "event": admitted.event_fields}
        # There are at least as many code points as graphemes: most texts need no count.
        plain = self._plain[key]
        at_most = None if plain is None else plain.length(fields)
        if at_most is not None and at_most <= most:
            return
        items = tuple({"start": start, "event": event} for start, event in admitted.items)
        try:
            locale = admitted.event_fields.get(LOCALE_PATH)
            reader = reader_of(language, locale, admitted.reader_zone)
            said = fill_text(source, fields, trigger, items, reader)
        except MessageAborted:
            return
        except RenderError as error:
            count.failed += 1
            count.failed_why = max(count.failed_why, str(error))
            return
        if len(said) <= most or (length := graphemes(said)) <= most:
            return
        count.over += 1
        count.worst_length, count.worst = max((count.worst_length, count.worst), (length, said))

    def add(self, said: Said) -> None:
        """Add what other messages said."""
        for key, count in said.items():
            known = self.said.get(key)
            if known is None:
                self.said[key] = count
            else:
                known.add(count)

    def problems(self) -> Iterator[tuple[str, Problem]]:
        """What to warn of, each with its trigger: texts that were too long in some messages, that
        could not be rendered, and those nobody was sent that are too long as they are written."""
        for trigger, definition in self._definitions.items():
            limits = self._limits[trigger]
            written = {one.location: one for one in written_problems(definition, limits)}
            for place in _places(definition):
                count = self.said.get((trigger, place.part, place.source))
                if count is not None:
                    for message in _said(count, place.part, _most(limits, place.part)):
                        yield trigger, Problem(place.location, message)
                if (count is None or not count.over) and place.location in written:
                    yield trigger, written[place.location]


def _said(count: Count, part: str, most: int) -> Iterator[str]:
    if count.over:
        example = count.worst[:_EXAMPLE_CHARS_MAX]
        cut = "..." if len(count.worst) > _EXAMPLE_CHARS_MAX else ""
        yield (
            f"this {part} was longer than {most} characters (`text.{part}_max` of its policy) in "
            f"{count.over:,} of {count.said:,} messages, the longest has {count.worst_length}: "
            f"{example!r}{cut}"
        )
    if count.failed:
        yield (
            f"this {part} could not be rendered in {count.failed:,} of {count.said:,} messages, "
            f"which end TEMPLATE_ERROR: {count.failed_why}"
        )
