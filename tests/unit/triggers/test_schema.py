"""The JSON Schemas say what the models say, and something about every field."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from triggers.audience import AUDIENCE_KEYS, Did
from triggers.definition import Policy, TriggerDefinition
from triggers.durations import DURATION_PATTERN, parse_duration
from triggers.filters import GROUPS, check_operand
from triggers.operators import OPERATORS
from triggers.patterns import KINDS
from triggers.schema import OPERATOR_SHAPES, SCHEMAS, json_schema, schema_text


def schemas_in(schema: Any) -> Iterator[dict[str, Any]]:
    """A schema and all below it; a field may have the name of a keyword."""
    if not isinstance(schema, dict):
        return
    yield schema
    for keyword in ("properties", "patternProperties", "definitions"):
        for below in schema.get(keyword, {}).values():
            yield from schemas_in(below)
    for keyword in ("items", "additionalProperties", "not", "propertyNames"):
        yield from schemas_in(schema.get(keyword))
    for below in schema.get("anyOf", ()):
        yield from schemas_in(below)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_of_every_model_is_described(name: str) -> None:
    silent = [
        f"{field}: {about}"
        for found in schemas_in(json_schema(name))
        for field, about in found.get("properties", {}).items()
        if not about.get("description") and about.get("$ref") != "#/definitions/Policy"
    ]
    assert silent == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_reference_leads_somewhere_and_nothing_is_left_over(name: str) -> None:
    schema = json_schema(name)
    used = {found["$ref"] for found in schemas_in(schema) if "$ref" in found}
    assert used <= {f"#/definitions/{key}" for key in schema["definitions"]}
    assert '"x-' not in schema_text(name)
    assert [found for found in schemas_in(schema) if "title" in found] == [schema]


def test_the_fields_are_those_of_the_models_and_nothing_else_is_allowed() -> None:
    schema = json_schema("trigger")
    assert set(schema["properties"]) == set(TriggerDefinition.names())
    assert schema["required"] == ["id", "when"]
    policy = json_schema("policy")["definitions"]["Policy"]
    assert set(policy["properties"]) == set(Policy.names())
    for found in (*schemas_in(schema), *schemas_in(policy)):
        if "properties" in found:
            assert found["additionalProperties"] is False


def test_every_pattern_is_an_alternative_of_when() -> None:
    schema = json_schema("trigger")
    found = {option["$ref"].split("/")[-1] for option in schema["properties"]["when"]["anyOf"]}
    assert found == {kind.model.__name__ for kind in KINDS}
    for kind in KINDS:
        shape = schema["definitions"][kind.model.__name__]
        assert kind.field in shape["required"]
        assert set(shape["properties"]) == set(kind.model.names())


def test_every_operator_has_a_shape_and_its_examples_are_right() -> None:
    assert tuple(OPERATOR_SHAPES) == OPERATORS
    for operator, (_, description, examples) in OPERATOR_SHAPES.items():
        assert description
        assert examples
        for example in examples:
            assert check_operand(operator, example) is None
    shapes = json_schema("trigger")["definitions"]
    assert tuple(shapes["Condition"]["properties"]) == OPERATORS
    assert set(shapes["Where"]["properties"]) == set(GROUPS)


@pytest.mark.parametrize("text", ["90s", "2h", "1h30m", "7d", "0s", "1w2d", "1500ms"])
def test_the_pattern_of_durations_takes_what_the_language_takes(text: str) -> None:
    parse_duration(text)
    assert re.search(DURATION_PATTERN, text)


@pytest.mark.parametrize("text", ["", "7", "2 h", "30m1h", "1mo", "-5m", "1.5h", "h"])
def test_the_pattern_of_durations_refuses_what_the_language_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration|no unit|write days"):
        parse_duration(text)
    assert not re.search(DURATION_PATTERN, text)


def test_an_audience_may_say_what_its_parser_knows() -> None:
    shapes = json_schema("trigger")["definitions"]
    assert set(shapes["Audience"]["properties"]) == {*AUDIENCE_KEYS, *GROUPS}
    assert set(shapes["Did"]["properties"]) == {*Did.names(), "count"}
    for name in ("segments", "relations", "places"):
        assert json_schema(name)["additionalProperties"]


def test_defaults_are_told_in_the_form_of_the_document() -> None:
    definitions = json_schema("trigger")["definitions"]
    within = definitions["Goal"]["properties"]["within"]
    assert within["description"].endswith("Default: 7d.")
    now = definitions["TriggerTest"]["properties"]["now"]
    assert now["description"].endswith("Default: 2026-01-05T10:00:00Z.")


def test_what_may_be_one_or_a_list_or_a_mapping_says_so() -> None:
    properties = json_schema("trigger")["properties"]
    assert properties["unless"]["type"] == ["object", "array"]
    assert properties["cooldown"]["type"] == ["string", "object"]
    assert set(properties["cooldown"]["properties"]) == {"user", "per"}


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_file_is_the_same_every_time(name: str) -> None:
    assert schema_text(name) == schema_text(name)
    assert json.loads(schema_text(name))["$schema"] == "http://json-schema.org/draft-07/schema#"
