"""JSON Schema of the definition files, for editors: made from the models, never by hand.

Draft 7, which the YAML language server knows best. What a model cannot say of itself is added here:
a filter refers to itself (`Where`), a pattern is one of several models, and a file of policies is a
mapping by name. Checks across fields stay with `tripline validate`.
"""

import json
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import SchemaSerializer

from triggers.definition import Policy, TriggerDefinition
from triggers.durations import DURATION_PATTERN
from triggers.features import FeatureDefinition
from triggers.fields import ID_PATTERN
from triggers.filters import LIST_MAX
from triggers.places import Place
from triggers.relations import RelationDefinition
from triggers.segments import GroupDefinition

DRAFT = "http://json-schema.org/draft-07/schema#"
#: Files by the name of their schema; `tripline schema` writes `<name>.schema.json` of each.
SCHEMAS = ("trigger", "policy", "segments", "relations", "places")

#: A path that a condition can ask for, as `triggers.paths.check_path` has it.
_PATH = r"^((properties|context|traits)(\.[^.]+)+|event|type)$"
#: Names of segments, features, relations and groups (`triggers.audience.check_name`).
_NAMES = "^[a-z0-9][a-z0-9_-]{0,63}$"
#: Keywords that options of different types may share.
_SHARED = ("type", "description", "examples")
_REFERENCE = "#/definitions/{model}"
_SCALAR = {"type": ["string", "number", "boolean"]}
_ORDERED = {"type": ["string", "number"]}
_ANY_OF = {"type": "array", "minItems": 1, "maxItems": LIST_MAX}

#: What an operator takes, what it means, and examples.
OPERATOR_SHAPES: dict[str, tuple[dict[str, Any], str, list[Any]]] = {
    "eq": (
        {"type": ["string", "number", "boolean", "null"]},
        'Equal. No coercion: "34" is not 34. `path: value` is short for it.',
        ["shoes", 20, True],
    ),
    "ne": (_SCALAR, "There, and not equal. A missing value answers false.", ["shoes", 0]),
    "gt": (_ORDERED, "Greater than.", [20, "2026-01-01"]),
    "gte": (_ORDERED, "Greater than or equal.", [20, "2026-01-01"]),
    "lt": (_ORDERED, "Less than.", [20, "2026-01-01"]),
    "lte": (_ORDERED, "Less than or equal.", [20, "2026-01-01"]),
    "in": (
        {"anyOf": [{**_ANY_OF, "items": _SCALAR}, {"type": "string", "pattern": r"^\$"}]},
        "One of these values.",
        [["shoes", "bags"]],
    ),
    "not_in": (
        {"anyOf": [{**_ANY_OF, "items": _SCALAR}, {"type": "string", "pattern": r"^\$"}]},
        "There, and none of these values.",
        [["shoes", "bags"]],
    ),
    "prefix": ({"type": "string"}, "A text that begins with this.", ["SPRING-"]),
    "contains": (_SCALAR, "A text with this in it, or a list with this element.", ["sale"]),
    "exists": ({"type": "boolean"}, "true: there and not null; false: the opposite.", [True]),
    "between": (
        {"type": "array", "items": _ORDERED, "minItems": 2, "maxItems": 2},
        "From the first to the second, both ends included.",
        [[10, 20]],
    ),
    "within_km": (
        {
            "type": "object",
            "properties": {
                "lat": {**_ORDERED, "description": "Degrees north, or a reference."},
                "lon": {**_ORDERED, "description": "Degrees east, or a reference."},
                "km": {"type": "number", "exclusiveMinimum": 0, "description": "How far."},
            },
            "required": ["lat", "lon", "km"],
            "additionalProperties": False,
        },
        "A point ({lat, lon}) at most so many kilometres away.",
        [{"lat": 43.24, "lon": 76.89, "km": 2}],
    ),
}


def schema_text(name: str) -> str:
    """The file of one schema: JSON, the same bytes every time."""
    return json.dumps(json_schema(name), ensure_ascii=False, indent=2) + "\n"


def json_schema(name: str) -> dict[str, Any]:
    """The schema of a document of one kind (`SCHEMAS`)."""
    models, top_of = _FILES[name]
    _, made = models_json_schema(
        [(model, "validation") for model in models],
        ref_template=_REFERENCE,
        schema_generator=_Generator,
    )
    raw = made["$defs"]
    definitions: dict[str, Any] = {key: _tidy(value, raw) for key, value in raw.items()}
    top = top_of(definitions)
    shapes = {**_filter_shapes(), **_user_shapes()}
    wanted = _used([top, definitions], shapes)
    definitions |= {key: shape for key, shape in shapes.items() if key in wanted}
    title = f"Tripline: {name}"
    return {"$schema": DRAFT, "title": title, **top, "definitions": definitions}


def _used(schemas: list[Any], shapes: dict[str, Any]) -> set[str]:
    """The shapes that schemas refer to, and those that these refer to."""
    found: set[str] = set()
    while True:
        text = json.dumps([*schemas, *(shapes[key] for key in found)])
        named = {key for key in shapes if f'"{_REFERENCE.format(model=key)}"' in text}
        if named == found:
            return found
        found = named


def _trigger_file(definitions: dict[str, Any]) -> dict[str, Any]:
    top: dict[str, Any] = definitions.pop(TriggerDefinition.__name__)
    return top


def _policy_file(definitions: dict[str, Any]) -> dict[str, Any]:
    policy = {"$ref": "#/definitions/Policy"}
    top = _by_name(definitions["Policy"]["description"], policy, f"^{ID_PATTERN}$")
    return {**top, "properties": {"default": policy}}


def _segments_file(definitions: dict[str, Any]) -> dict[str, Any]:
    group = {"$ref": "#/definitions/GroupDefinition"}
    feature = {"$ref": "#/definitions/FeatureDefinition"}
    top = _by_name("Named audiences.", {"$ref": "#/definitions/Audience"})
    groups = _by_name("Exclusive groups: a user belongs to the first segment that fits.", group)
    features = _by_name("What a user's events add up to, for audiences to ask.", feature)
    return {**top, "properties": {"groups": groups, "features": features}}


def _relations_file(definitions: dict[str, Any]) -> dict[str, Any]:
    relation = {"$ref": "#/definitions/RelationDefinition"}
    return _by_name("Edges between users and items, such as a cart.", relation)


def _places_file(definitions: dict[str, Any]) -> dict[str, Any]:
    points = {"type": "array", "items": {"$ref": "#/definitions/Place"}, "minItems": 1}
    return _by_name("Named lists of points.", points, f"^{ID_PATTERN}$")


def _by_name(description: str, document: dict[str, Any], names: str = _NAMES) -> dict[str, Any]:
    return {
        "description": description,
        "type": "object",
        "propertyNames": {"pattern": names},
        "additionalProperties": document,
    }


_FILES: dict[str, tuple[tuple[type[BaseModel], ...], Callable[[dict[str, Any]], dict[str, Any]]]]
_FILES = {
    "trigger": ((TriggerDefinition,), _trigger_file),
    "policy": ((Policy,), _policy_file),
    "segments": ((GroupDefinition, FeatureDefinition), _segments_file),
    "relations": ((RelationDefinition,), _relations_file),
    "places": ((Place,), _places_file),
}


class _Generator(GenerateJsonSchema):
    """Defaults in the form of the document (`7d`, not milliseconds), said in the description.

    As `default` an editor would write all of them into what it completes.
    """

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        made = dict(super().default_schema(schema))
        default = made.pop("default", None)
        if default in (None, (), [], {}):
            return made
        if type(default) is int and made.get("type") == "string":
            default = SchemaSerializer(schema["schema"]).to_python(default, mode="json")
        if isinstance(default, str | int | list | tuple):
            text = default if isinstance(default, str) else json.dumps(default)
            made["x-default"] = text
        return made


def _tidy(schema: Any, raw: dict[str, Any]) -> Any:
    """Pydantic's schema as an author needs it.

    No titles (an editor shows them instead of the description), no nulls (an empty field is left
    out), and the shapes that only this module knows.
    """
    if isinstance(schema, list):
        return [_tidy(item, raw) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "x-shape":
            made["$ref"] = f"#/definitions/{value}"
        elif key in ("properties", "patternProperties"):
            made[key] = {name: _tidy(item, raw) for name, item in value.items()}
        elif key in ("examples", "enum", "const"):
            made[key] = value
        elif key not in ("title", "x-default"):
            made[key] = _tidy(value, raw)
    if "anyOf" in made:
        made = _with_options(made, raw)
    described = " ".join(made.get("description", "").split())
    if "x-default" in schema:
        described = f"{described} Default: {schema['x-default']}.".strip()
    return {**made, "description": described} if described else made


def _with_options(schema: dict[str, Any], raw: dict[str, Any]) -> dict[str, Any]:
    """`anyOf` without null, and as one schema where the options differ in type.

    A text or a mapping can be told apart, so a misspelt name in the mapping is called by its name
    instead of "expected a text".
    """
    options = [option for option in schema.pop("anyOf") if option != {"type": "null"}]
    if len(options) == 1:
        return {**options[0], **schema}
    whole = []
    for option in options:
        name = option.get("$ref", "").removeprefix("#/definitions/")
        whole.append(_tidy(raw[name], raw) if name in raw else option)
    types = [option.get("type") for option in whole]
    keys = [key for option in whole for key in option if key not in _SHARED]
    distinct = len(set(map(str, types))) == len(types) and len(set(keys)) == len(keys)
    if "object" not in types or not distinct or not all(isinstance(one, str) for one in types):
        return {**schema, "anyOf": options}
    # Limits of the validated list, which pydantic takes for those of a text.
    lengths = () if "string" in types else ("minLength", "maxLength")
    schema = {key: value for key, value in schema.items() if key not in lengths}
    merged: dict[str, Any] = {}
    for option in whole:
        merged |= {key: value for key, value in option.items() if key in keys}
    examples = [example for option in whole for example in option.get("examples", ())]
    if examples:
        merged["examples"] = examples
    return {**merged, "type": types, **schema}


def _filter_shapes() -> dict[str, dict[str, Any]]:
    """`Where` and `Condition`: what `triggers.filters` parses."""
    where = {"$ref": "#/definitions/Where"}
    condition = {"$ref": "#/definitions/Condition"}
    group = {"type": "array", "items": where, "minItems": 1, "maxItems": LIST_MAX}
    operators = {
        name: {**operand, "description": description, "examples": examples}
        for name, (operand, description, examples) in OPERATOR_SHAPES.items()
    }
    return {
        "Where": {
            "description": "Conditions on an event, by path: all of them must hold.",
            "type": "object",
            "properties": {
                "all": {**group, "description": "Every one of these filters holds."},
                "any": {**group, "description": "At least one of these filters holds."},
                "not": {**where, "description": "This filter does not hold."},
            },
            "patternProperties": {_PATH: condition},
            "additionalProperties": False,
            "minProperties": 1,
            "examples": [
                {"properties.price": {"gte": 20}},
                {"properties.category": {"in": ["shoes", "bags"]}},
                {"properties.product_id": "$start.properties.product_id"},
            ],
        },
        "Condition": {
            "description": "A value to be equal to, or operators that must all hold.",
            "type": ["object", "string", "number", "boolean", "null"],
            "properties": operators,
            "additionalProperties": False,
            "minProperties": 1,
            "examples": [{"gte": 20}, "shoes", True],
        },
    }


def _user_shapes() -> dict[str, dict[str, Any]]:
    """`Audience`, `Still` and what a `did` counts: what `triggers.audience` parses."""
    audience = {"$ref": "#/definitions/Audience"}
    condition = {"$ref": "#/definitions/Condition"}
    did = {"$ref": "#/definitions/Did"}
    names = {"type": ["string", "array"], "items": {"type": "string"}}
    group = {"type": "array", "items": audience, "minItems": 1, "maxItems": LIST_MAX}
    duration = {"type": "string", "pattern": DURATION_PATTERN, "examples": ["30d", "12h"]}
    return {
        "Audience": {
            "description": "Conditions on the user, asked at every admission: all must hold.",
            "type": "object",
            "properties": {
                "segment": {**names, "description": "A segment, or several: any of them."},
                "did": {
                    "anyOf": [did, {"type": "array", "items": did, "minItems": 1}],
                    "description": "Something the user did; of a list, all of it.",
                },
                "has": {
                    "type": "object",
                    "additionalProperties": condition,
                    "description": "How many items a relation holds.",
                    "examples": [{"cart": {"gte": 1}}],
                },
                "idle": {**duration, "description": "No activity for so long."},
                "all": {**group, "description": "Every one of these holds."},
                "any": {**group, "description": "At least one of these holds."},
                "not": {**audience, "description": "This does not hold."},
            },
            "patternProperties": {r"^(traits|features)\.[^.]+": condition},
            "additionalProperties": False,
            "minProperties": 1,
            "examples": [{"traits.plan": "pro", "idle": "30d"}],
        },
        "Did": {
            "description": "How often something happened; at least once unless `count` says.",
            "type": "object",
            "properties": {
                "event": {**names, "description": "An event name, or several: any of them."},
                "where": {"$ref": "#/definitions/Where", "description": "Only these events."},
                "within": {**duration, "description": "Only in this window before now."},
                "count": {**condition, "description": "How many of them."},
            },
            "required": ["event"],
            "additionalProperties": False,
            "examples": [{"event": "Order Completed", "within": "30d", "count": {"eq": 0}}],
        },
        "Still": {
            "description": "Conditions on the user's traits, asked again right before sending.",
            "type": "object",
            "properties": {
                "all": {"type": "array", "minItems": 1, "description": "Every one holds."},
                "any": {"type": "array", "minItems": 1, "description": "At least one holds."},
                "not": {"type": "object", "description": "This does not hold."},
            },
            "patternProperties": {r"^traits\.[^.]+": condition},
            "additionalProperties": False,
            "minProperties": 1,
            "examples": [{"traits.plan": "free"}],
        },
    }
