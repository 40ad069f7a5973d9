"""`item` and `schedule`: written and checked today, run with the catalogue and with campaigns."""

from typing import Any

import pytest

from tests.unit.triggers.user import program_of
from triggers.compile import RegisteredTrigger, compile_program
from triggers.loader import load_workspace
from triggers.workspace import DefinitionErrors, load_documents

ITEM = {"item": "price_drop", "relation": "favourite"}
SCHEDULE = {"schedule": {"days": ["mon"], "at": "16:45", "zone": "user"}}
RELATION = {"add": "Added", "item": "properties.id"}
FILES = {"relations": dict.fromkeys(("favourite", "cart", "waitlist"), RELATION)}


def draft(when: Any, **fields: Any) -> dict[str, Any]:
    return {"id": "later", "when": when, **fields}


@pytest.mark.parametrize(
    "when",
    [
        ITEM,
        {**ITEM, "by": "10%", "since": "seen"},
        {**ITEM, "by": 500},
        {"item": "low_stock", "relation": "cart", "below": 5},
        {"item": "back_in_stock", "relation": "waitlist", "release": "3 per unit"},
        SCHEDULE,
        {"schedule": {"at": "09:00", "zone": "Asia/Almaty"}},
    ],
)
def test_a_draft_is_kept_whole_and_compiles(when: Any) -> None:
    made = load_documents([draft(when)], files=FILES).triggers["later"]
    assert load_documents([made.to_document()], files=FILES).triggers["later"] == made
    program = compile_program(1, [RegisteredTrigger(made, 1, "live", 0)], {})
    assert program.by_event == {}
    assert program.watching == ()


def test_the_relation_of_a_draft_has_to_be_there() -> None:
    files = {
        "triggers/later.yaml": "id: later\nwhen: {item: low_stock, relation: carts, below: 5}\n",
        "relations.yaml": "cart: {add: Added, item: properties.id}\n",
    }
    with pytest.raises(DefinitionErrors) as caught:
        load_workspace(files)
    assert str(caught.value) == (
        "triggers/later.yaml:2:35: unknown relation 'carts' (did you mean 'cart'?)"
    )


@pytest.mark.parametrize("state", ["live", "shadow", "paused"])
@pytest.mark.parametrize(("when", "needs"), [(ITEM, "the catalogue"), (SCHEDULE, "campaigns")])
def test_anything_but_a_draft_is_refused_at_its_pattern(when: Any, needs: str, state: str) -> None:
    text = f"id: later\nstate: {state}\nwhen: {when}\n"
    with pytest.raises(DefinitionErrors) as caught:
        load_workspace({"triggers/later.yaml": text})
    field = next(iter(when))
    assert str(caught.value) == (
        f"triggers/later.yaml:3:8: `{field}` runs with {needs}: until then it stays `draft`"
    )


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ({"item": "price_rise", "relation": "x"}, "price_drop"),
        ({"item": "price_drop"}, "`relation` is missing"),
        ({**ITEM, "by": "110%"}, "a share such as 10%"),
        ({**ITEM, "by": "0%"}, "a share such as 10%"),
        ({**ITEM, "by": -1}, "a share such as 10%"),
        ({**ITEM, "by": True}, "a share such as 10%"),
        ({**ITEM, "since": "ever"}, "followed"),
        ({**ITEM, "below": 5}, "`below` goes with `item: low_stock` only"),
        ({**ITEM, "release": "3 per unit"}, "`release` goes with `item: back_in_stock` only"),
        ({"item": "low_stock", "relation": "x"}, "needs `below`"),
        ({"item": "low_stock", "relation": "x", "below": 0}, "at least 1"),
        ({"item": "back_in_stock", "relation": "x", "release": "3"}, "3 per unit"),
        ({"schedule": {"days": ["mon"]}}, "`at` is missing"),
        ({"schedule": {"at": "9:00"}}, "time of the day"),
        ({"schedule": {"at": "09:00", "days": ["monday"]}}, "mon"),
        ({"schedule": {"at": "09:00", "days": ["mon", "mon"]}}, "twice"),
        ({"schedule": {"at": "09:00", "days": []}}, "must not be empty"),
        ({"schedule": {"at": "09:00", "zone": "no zone"}}, "time zone"),
        ({"schedule": "daily"}, "mapping"),
    ],
)
def test_a_faulty_definition_is_told_where(when: Any, said: str) -> None:
    with pytest.raises(DefinitionErrors) as caught:
        program_of(draft(when))
    assert said in str(caught.value)


def test_a_schedule_is_about_the_user() -> None:
    with pytest.raises(DefinitionErrors, match="no `per`"):
        program_of(draft(SCHEDULE, per="event"))
