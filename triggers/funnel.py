"""The funnel: counters of what was decided and what came of it, each beside the row it counts.

`conclude` ends an activation, `record` says what became of a delivery: a row and its counters at
once, so that the counters are a recount of the decisions and outcomes topics, to the unit.
MATCHED counts every decision but CANCELLED, the next stage is its reason, else its
outcome. From ADMITTED on a key names the channel; before there is none, nor a variant of MATCHED.
"""

from msgspec.structs import replace

from schemas.decisions import Decision
from schemas.outcomes import PUSH, OutcomeRow
from schemas.reasons import Outcome
from triggers.effects import Effects, FunnelKey
from triggers.state import DAY_MS

MATCHED = "MATCHED"
VALUE = "VALUE"


def conclude(out: Effects, decision: Decision) -> None:
    """An activation has ended so."""
    out.decisions.append(decision)
    trigger, revision, outcome = decision.trigger, decision.revision, decision.outcome
    day, variant = decision.at_ms // DAY_MS, decision.variant or ""
    channel = PUSH if outcome is Outcome.ADMITTED else ""
    how = decision.reason or outcome
    out.funnel[FunnelKey(trigger, revision, variant, day, how, channel)] += 1
    if outcome is not Outcome.CANCELLED:
        out.funnel[FunnelKey(trigger, revision, "", day, MATCHED, "")] += 1


def record(out: Effects, row: OutcomeRow) -> None:
    """This became of a delivery."""
    out.outcomes.append(row)
    key = FunnelKey(
        row.trigger,
        row.revision,
        row.variant,
        row.at_ms // DAY_MS,
        row.kind.upper(),
        row.channel,
    )
    out.funnel[key] += 1
    if row.value:
        out.funnel[replace(key, stage=VALUE)] += row.value
