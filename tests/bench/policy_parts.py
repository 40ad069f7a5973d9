"""The parts of the policy, each as a change of the bench workspace, and all of them together.

The workspace beside this file has spacing, a cooldown and rolling caps. `bare` takes them away, and
every part alone is put on that; `full` has them all. Times are those of a shop whose hour is a
minute: the log of a bench lasts minutes, and every part has to bite in it.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from triggers.definition import Policy, TriggerDefinition


class Documents(NamedTuple):
    """Triggers by id and the policy of all of them, as JSON."""

    triggers: dict[str, dict[str, Any]]
    policy: dict[str, Any]

    @property
    def marketing(self) -> list[dict[str, Any]]:
        """The triggers that a policy holds back."""
        return [one for one in self.triggers.values() if one["class"] == "marketing"]


Change = Callable[[Documents], None]


def bare(documents: Documents) -> None:
    """No policy at all."""
    for name in ("spacing", "cooldown"):
        documents.policy[name] = "0s"
    documents.policy["caps"] = []


def spacing(documents: Documents) -> None:
    """Two hours between messages."""
    documents.policy.update(spacing="2m", cooldown="3m")


def rolling_caps(documents: Documents, count: int = 2) -> None:
    """So many windows, each with its own length."""
    documents.policy["caps"] += [
        {"max": 1 + number, "per": f"{4 + 9 * number}m"} for number in range(count)
    ]


def calendar_caps(documents: Documents) -> None:
    """A day and a week of the user's zone."""
    documents.policy["caps"] += [{"max": 4, "calendar": "day"}, {"max": 9, "calendar": "week"}]


def category_caps(documents: Documents) -> None:
    """Two categories have their own."""
    documents.policy["caps"] += [
        {"max": 2, "per": "10m", "category": "advice"},
        {"max": 3, "calendar": "day", "category": "reminders"},
    ]


def quiet_hours(documents: Documents) -> None:
    """Quiet from the second minute of the log (15:00 in the policy's zone) to the third."""
    documents.policy["quiet"] = ["15:01", "15:02"]
    for trigger in documents.marketing:
        trigger["hold"] = {"for": ["quiet_hours"], "at_most": "12h"}


def usual_hour(documents: Documents) -> None:
    """One trigger asks for it: the activity of every user is counted, by every event."""
    documents.triggers["win-back"]["send_at"] = "usual_hour"


def settle(documents: Documents) -> None:
    """Candidates of one minute of the shop compete."""
    documents.policy["settle"] = "1s"


def experiments(documents: Documents, count: int = 3) -> None:
    """So many triggers with a control group and a variant."""
    for trigger in documents.marketing[:count]:
        trigger["experiment"] = {
            "control": "10%",
            "variants": {
                "a": "45%",
                "b": {"weight": "45%", "set": {"link": "https://shop.example/b"}},
            },
        }


def goals(documents: Documents, count: int = 3) -> None:
    """So many triggers are measured by the orders that follow."""
    for trigger in documents.marketing[:count]:
        value = {"event": "Order Completed", "within": "7d", "value": "properties.price"}
        trigger["goal"] = value


def rotation(documents: Documents) -> None:
    """Three triggers with two texts that take turns."""
    plain = [one for one in documents.marketing if not one.get("experiment")]
    for trigger in plain[:3]:
        first = trigger.pop("message")
        trigger["messages"] = {"one": first, "two": first}
        trigger["rotate"] = {"texts": ["one", "two"], "no_repeat": "4m"}


def global_control(documents: Documents) -> None:
    """Ten users of a hundred get nothing."""
    documents.policy["global_control"] = {"size": "10%", "rotate": "2%"}


PARTS: Final[dict[str, Change]] = {
    "spacing and cooldown": spacing,
    "2 rolling caps": rolling_caps,
    "2 calendar caps": calendar_caps,
    "2 category caps": category_caps,
    "quiet hours": quiet_hours,
    "usual hour": usual_hour,
    "settle": settle,
    "3 experiments": experiments,
    "3 goals": goals,
    "3 rotations": rotation,
    "global control": global_control,
}


def changed(
    triggers: dict[str, TriggerDefinition], policies: dict[str, Policy], by: Iterable[Change]
) -> tuple[dict[str, TriggerDefinition], dict[str, Policy]]:
    """The same triggers under another policy."""
    documents = Documents(
        {name: one.to_document() for name, one in triggers.items()},
        policies["default"].to_document(),
    )
    for change in by:
        change(documents)
    return (
        {name: TriggerDefinition.model_validate(one) for name, one in documents.triggers.items()},
        {"default": Policy.model_validate(documents.policy)},
    )
