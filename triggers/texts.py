"""Texts of messages: Liquid templates, checked at registration, rendered with limits.

A text may use `start` (the first event), `event` (the completing one), `trigger.id`, and in a
bundle `items`, each with a `start` and an `event` of its own: anything else is refused when the
trigger is registered. Only the values a text names are kept in the user's state and in the
delivery. Undefined values are errors (TEMPLATE_ERROR), never empty strings; the `default` filter
says what to write instead. The filters `money`, `date` and `time` write for the reader
(`triggers.formats`). `{% abort_message %}` says that there is nothing to say after all
(TEMPLATE_ABORT).
Limits: 4 KB of output, 1,000 loop iterations; no include or render.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TextIO

from liquid import BoundTemplate, Environment, RenderContext, StrictDefaultUndefined, TokenStream
from liquid.ast import Node
from liquid.builtin.expressions.filtered import Filter, FilteredExpression
from liquid.exceptions import LiquidError, LiquidSyntaxError
from liquid.tag import Tag
from liquid.token import TOKEN_EXPRESSION, TOKEN_TAG

from triggers.formats import FILTERS, LOCAL, READER, TIMED, Reader
from triggers.paths import check_path
from triggers.problems import suggestion

EVENT_ROOTS = ("start", "event")
ITEMS_ROOT = "items"
#: What Liquid itself says of a list: elements, and how many.
_ITEMS_ELEMENTS = ("first", "last")
_ITEMS_NAMES = ("size", *_ITEMS_ELEMENTS)
LOCALE_PATH = "context.locale"
OUTPUT_BYTES_MAX = 4096
#: Of whom nothing is known.
NOBODY = Reader()


class TextError(ValueError):
    """A template that cannot be used: what is wrong, in one line."""


class RenderError(Exception):
    """The text could not be rendered with the values at hand."""


class MessageAborted(RenderError):
    """The text itself says that there is nothing to say."""


class _AbortNode(Node):
    def __init__(self, token: Any) -> None:
        super().__init__(token)
        self.blank = False

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        raise MessageAborted("the text aborts the message")


class _AbortTag(Tag):
    """`{% abort_message %}`, without anything else."""

    name = "abort_message"
    block = False

    def parse(self, stream: TokenStream) -> Node:
        stream.expect(TOKEN_TAG)
        if stream.peek.kind == TOKEN_EXPRESSION:
            raise LiquidSyntaxError("`abort_message` takes no value", token=stream.current)
        return _AbortNode(stream.current)


class _Environment(Environment):
    output_stream_limit = OUTPUT_BYTES_MAX
    loop_iteration_limit = 1000
    local_namespace_limit = 65_536
    context_depth_limit = 10


_environment = _Environment(undefined=StrictDefaultUndefined)
for _tag in ("include", "render"):
    _environment.tags.pop(_tag, None)
_environment.add_tag(_AbortTag)
for _name, _filter in FILTERS.items():
    _environment.add_filter(_name, _filter)


@dataclass(frozen=True, slots=True)
class Text:
    """One compiled template. `paths`: (root, path) pairs it reads, root `start` or `event`;
    `filters`: their names."""

    template: BoundTemplate
    paths: tuple[tuple[str, str], ...]
    filters: frozenset[str]

    def render(self, scope: Mapping[str, Any]) -> str:
        """Raise `RenderError` when a value is missing, cannot be said or a limit is overrun,
        `MessageAborted` when the text does not want to be sent."""
        try:
            return self.template.render(**scope)
        except RenderError:
            raise
        except Exception as error:
            # Not only Liquid's own: filters let through what Python says of odd values (the `ceil`
            # of "1e999", the `sum` of letters, a product of over 4,300 digits). One delivery must
            # not end the process that sends all others.
            said = str(error) or type(error).__name__
            raise RenderError(said.splitlines()[0]) from None


@lru_cache(maxsize=8192)
def compile_text(source: str) -> Text:
    """Parse and check a template; raise `TextError`."""
    try:
        template = _environment.from_string(source)
        used = template.analyze()
    except LiquidError as error:
        raise TextError(f"not a valid Liquid text: {str(error).splitlines()[0]}") from None
    for name in used.filters:
        if name not in _environment.filters:
            raise TextError(f"unknown filter '{name}'{suggestion(name, _environment.filters)}")
    try:
        for one in _filters(template):
            one.validate_filter_arguments(_environment)
    except LiquidError as error:
        raise TextError(str(error).splitlines()[0]) from None
    paths: dict[tuple[str, str], None] = {}
    for root, variables in used.globals.items():
        for variable in variables:
            found = _checked(root, variable.segments)
            if found is not None:
                paths[found] = None
    if ITEMS_ROOT in used.globals:
        for root, variables in used.variables.items():
            for variable in variables if root not in used.globals else ():
                found = _of_item(variable.segments[1:])
                if found is not None:
                    paths[found] = None
    return Text(template, tuple(paths), frozenset(used.filters))


def _filters(template: BoundTemplate) -> Iterator[Filter]:
    """Every use of a filter, as it is written."""
    context = RenderContext(template)
    nodes = list(template.nodes)
    while nodes:
        node = nodes.pop()
        nodes += node.children(context)
        expressions = list(node.expressions())
        while expressions:
            expression = expressions.pop()
            expressions += expression.children()
            if isinstance(expression, FilteredExpression):
                yield from expression.filters or ()


def _of_item(segments: Sequence[Any]) -> tuple[str, str] | None:
    """What is read of an item of a bundle: `.start.<path>` or `.event.<path>`."""
    if not segments or segments[0] not in EVENT_ROOTS:
        return None
    return _checked(segments[0], list(segments))


def _checked(root: str, segments: list[Any]) -> tuple[str, str] | None:
    if root == "trigger" and list(segments[1:]) == ["id"]:
        return None
    if root == ITEMS_ROOT:
        below = [segment for segment in segments[1:] if isinstance(segment, str)]
        if below and below[0] in _ITEMS_ELEMENTS:
            del below[0]
        if below and below[0] not in (*EVENT_ROOTS, *_ITEMS_NAMES):
            raise TextError(f"unknown value 'items.{below[0]}': an item has `start` and `event`")
        return _of_item(below)
    if root not in EVENT_ROOTS:
        raise TextError(f"unknown value '{root}': a text may use `start`, `event`, `trigger.id`")
    names = []
    for segment in segments[1:]:
        if not isinstance(segment, str):
            break
        names.append(segment)
    path = ".".join(names)
    problem = check_path(path, wild=False) if path else f"'{root}' needs a path below it"
    if problem is not None:
        raise TextError(f"{problem} (in '{root}.{path}')")
    return root, path


def scope_of(
    fields: Mapping[str, Mapping[str, Any]],
    trigger: str,
    items: Iterable[Mapping[str, Mapping[str, Any]]] = (),
    reader: Reader = NOBODY,
) -> dict[str, Any]:
    """The values of a rendering: flat fields by dotted path become nested mappings again."""
    nested = [{root: _nest(item.get(root, {})) for root in EVENT_ROOTS} for item in items]
    scope: dict[str, Any] = {"trigger": {"id": trigger}, ITEMS_ROOT: nested, READER: reader}
    for root in EVENT_ROOTS:
        scope[root] = _nest(fields.get(root, {}))
    return scope


def pick_text(texts: str | Mapping[str, str], locale: object) -> tuple[str, str]:
    """The text for `ru-KZ`, else for `ru`, else the first one written, and its language ("" where
    nobody says which)."""
    if isinstance(texts, str):
        return texts, ""
    if isinstance(locale, str):
        tag = locale.replace("_", "-")
        for name in (tag, tag.split("-")[0]):
            if name in texts:
                return texts[name], name
    name = next(iter(texts))
    return texts[name], name


def tells_time(texts: Iterable[str | Mapping[str, str]]) -> bool:
    """Whether one of the texts depends on where its reader is."""
    return any(compile_text(source).filters & TIMED for text in texts for source in _sources(text))


def _sources(text: str | Mapping[str, str]) -> list[str]:
    return [text] if isinstance(text, str) else list(text.values())


def declared_paths(texts: Iterable[str | Mapping[str, str]]) -> dict[str, tuple[str, ...]]:
    """What the texts read, by root; several locales, or a filter that writes for the reader, make
    the locale itself declared."""
    found: dict[str, dict[str, None]] = {root: {} for root in EVENT_ROOTS}
    for text in texts:
        sources = _sources(text)
        if len(sources) > 1 or any(compile_text(one).filters & LOCAL for one in sources):
            found["event"][LOCALE_PATH] = None
        for source in sources:
            for root, path in compile_text(source).paths:
                found[root][path] = None
    return {root: tuple(paths) for root, paths in found.items()}


def _nest(fields: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, value in fields.items():
        *parents, name = path.split(".")
        level = nested
        for parent in parents:
            below = level.get(parent)
            if not isinstance(below, dict):
                below = level[parent] = {}
            level = below
        level[name] = value
    return nested
