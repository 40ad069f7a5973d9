"""What an experiment planned: the share of each arm, and what goals and unsubscribes weigh."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from engine.report.score import Worth
from triggers.definition import Policy, TriggerDefinition

CONTROL: Final = "control"
GLOBAL_CONTROL: Final = "global_control"
#: Users who were treated, without an experiment of the trigger's own.
TREATED: Final = ""


class Plan(NamedTuple):
    """One revision's. `shares` by arm, in any unit; empty: nobody was shared out."""

    shares: dict[str, int]
    worth: Worth = Worth()


def plan_of(definition: TriggerDefinition, policy: Policy) -> Plan:
    """Nobody is shared out in this version."""
    return global_plan(policy)


def global_plan(policy: Policy) -> Plan:
    """The global control group of a policy."""
    return Plan({}, worth_of(policy))


def worth_of(policy: Policy) -> Worth:
    return Worth(policy.worth.goal, policy.worth.unsubscribe)


def plans_of(
    definitions: Mapping[tuple[str, int], TriggerDefinition], policies: Mapping[str, Policy]
) -> dict[str, Mapping[int, Plan]]:
    """The plans of these revisions, by trigger."""
    plans: dict[str, dict[int, Plan]] = {}
    for (name, revision), definition in definitions.items():
        policy = policies.get(definition.policy, Policy())
        plans.setdefault(name, {})[revision] = plan_of(definition, policy)
    return dict(sorted(plans.items()))
