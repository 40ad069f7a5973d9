"""What an experiment planned: the share of each arm, and what goals and unsubscribes weigh."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from engine.report.score import Worth
from triggers.buckets import BUCKETS
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
    """The trigger's own experiment, else the global control group of its policy."""
    experiment = definition.experiment
    if experiment is None:
        return global_plan(policy)
    shares = {name: variant.weight for name, variant in experiment.variants.items()}
    if experiment.control:
        shares = {CONTROL: experiment.control, **shares}
    return Plan(shares, worth_of(policy))


def global_plan(policy: Policy) -> Plan:
    """The global control group of a policy."""
    group = policy.global_control
    if group is None or not group.size:
        return Plan({}, worth_of(policy))
    shares = {GLOBAL_CONTROL: group.size, TREATED: BUCKETS - group.size}
    return Plan(shares, worth_of(policy))


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
