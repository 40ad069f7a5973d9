"""Delivery ids: stable names, the same for everybody who reads the log."""

import pytest

from tests.unit.triggers.user import CART, User, program_of
from triggers.identity import delivery_id


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("abandoned-cart", "user-1", "m1", "", 0), "65f6b6bf1d803436a9df5a73aee88b1e"),
        (("abandoned-cart", "user-1", "m1", "SKU-1", 0), "46da9258fd2fb35075d77dd072ca432e"),
        (("abandoned-cart", "user-1", "m1", "", 1), "f7f44ef1e01d51589f3065f8e17c688d"),
        (("a", "ü", "\x1f1", "", 0), "397437c74951958104dfa2a26a66ac12"),
    ],
)
def test_delivery_ids_never_change(parts: tuple[str, str, str, str, int], expected: str) -> None:
    assert delivery_id(*parts) == expected


def test_parts_cannot_run_into_each_other() -> None:
    names = ("ab", "a", "b", "")
    ids = {delivery_id(t, p, s, v, 0) for t in names for p in names for s in names for v in names}
    assert len(ids) == len(names) ** 4


def test_a_delivery_id_does_not_depend_on_the_revision_of_its_trigger() -> None:
    ids = []
    for revision, priority in ((1, 10), (7, 90)):
        user = User(program_of({**CART, "priority": priority}, revision=revision))
        user.event("0s", "Added", id="start")
        user.fire("1d")
        admitted = user.effects.deliveries[0]
        assert admitted.trigger.revision == revision
        ids.append(admitted.delivery_id)
    assert ids[0] == ids[1] == delivery_id("cart", "u", "start", "", 0)
