"""The metric catalogue: every metric of every role, declared once, used as `metrics.NAME`.

Names follow prometheus.io/docs/practices/naming: base units, counters end in `_total`. Histogram
buckets hold the edges objectives are stated in. Users and items are never labels. docs/metrics.md
is made of this file (`python -m engine.metrics`), and a test finds what is used and not declared.
"""

import platform
import sys
from collections.abc import Iterable
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import prometheus_client
from prometheus_client.exposition import choose_encoder

from engine.metric_types import Catalogue, LabelBound, UpTo
from engine.ports import CommitStatus, GateAnswer
from schemas.kinds import Kind
from schemas.reasons import DeadLetterReason, Outcome, Reason, Unevaluated
from schemas.topics import RETRY_TIERS_MS, Lane

SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
SHORT_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, *SECONDS)
RECORDS: Final = (1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_000.0, 10_000.0)

CATALOGUE: Final = Catalogue()
prometheus_client.ProcessCollector(registry=CATALOGUE.registry)
prometheus_client.GCCollector(registry=CATALOGUE.registry)


def _values(*groups: type[StrEnum] | Iterable[str]) -> tuple[str, ...]:
    return tuple(str(value) for group in groups for value in group)


NONE: Final = "none"
PROVIDERS: Final = ("fcm", "apns")
SEND_OUTCOMES: Final = (
    "accepted",
    "unregistered",
    "rejected",
    "retry_later",
    "auth",
    "unknown",
)
_SHARD: Final = UpTo(10_000, "shard number, at most the partitions of the log")
_TRIGGER: Final = UpTo(2_000, "trigger id, at most the registered triggers")
_LANE: Final = _values(Lane)

# --- worker: reading and deciding
EVENTS = CATALOGUE.counters(
    "tripline_events_total",
    "records",
    "Records of the log that were decided, by kind.",
    "The work done. Flat at zero while lag grows: the worker is stuck or waits for Redis.",
    kind=_values(["event"], Kind),
)
EVENTS_SKIPPED = CATALOGUE.counters(
    "tripline_events_skipped_total",
    "records",
    "Records read and not applied, by why.",
    "applied: read again after a restart or a rebalance, as it should be. gap: thrown away until "
    "the shard is back at its stored position; for longer than seconds it is a fault.",
    why=("applied", "gap"),
)
LAG = CATALOGUE.gauges(
    "tripline_lag_records",
    "records",
    "Records of the shard in the log that are not decided yet.",
    "Growing for minutes: add workers, or see what is slow (commit seconds, outbox entries).",
    shard=_SHARD,
)
BATCH = CATALOGUE.histogram(
    "tripline_batch_records",
    "records",
    "Records decided in one commit.",
    "Small while lag is small. Small while lag is large: something cuts batches short.",
    RECORDS,
)
DECIDE_SECONDS = CATALOGUE.histogram(
    "tripline_decide_seconds",
    "seconds",
    "Time to decide one batch, without loading and committing.",
    "The cost of the triggers themselves. Grows with an expensive definition.",
    SHORT_SECONDS,
)
COMMIT_SECONDS = CATALOGUE.histogram(
    "tripline_commit_seconds",
    "seconds",
    "Time of one commit in Redis, as the worker sees it.",
    "A few milliseconds. Above 0.1 s Redis is overloaded, far away or writing its log to disk.",
    SHORT_SECONDS,
)
COMMITS = CATALOGUE.counters(
    "tripline_commit_results_total",
    "commits",
    "Commits by what Redis answered.",
    "DUP and GAP come in small numbers with a rebalance; steadily, two workers fight for a shard.",
    status=_values(CommitStatus),
)
STATES_WRITTEN = CATALOGUE.counter(
    "tripline_states_written_total",
    "states",
    "User states written to Redis.",
    "Its ratio to events is what Redis has to bear; 0.3 is usual.",
)
CACHE_HITS = CATALOGUE.counter(
    "tripline_state_cache_hits_total",
    "states",
    "User states found in the worker's memory.",
    "See the misses.",
)
CACHE_MISSES = CATALOGUE.counter(
    "tripline_state_cache_misses_total",
    "states",
    "User states loaded from Redis.",
    "Many after a rebalance. Steadily more than hits: raise TRIPLINE_STATES_CACHED_MAX.",
)
CANDIDATES = CATALOGUE.counters(
    "tripline_candidates_total",
    "candidates",
    "Matched triggers before admission.",
    "A trigger that jumps after an apply matches too much; one that stops matches nothing.",
    trigger=_TRIGGER,
)
DECISIONS = CATALOGUE.counters(
    "tripline_decisions_total",
    "decisions",
    "Ended activations, by outcome and reason (none for ADMITTED).",
    "The whole of what was decided; the log of it is the decisions topic.",
    outcome=_values(Outcome),
    reason=_values([NONE], Reason),
)
SUPPRESSED = CATALOGUE.counters(
    "tripline_suppressed_total",
    "candidates",
    "Candidates that were not admitted, by reason.",
    "COOLDOWN, SPACING, FREQUENCY_CAP are the policy at work. A new NO_DEVICE or CONSENT majority "
    "is a fault in the events that carry devices and opt-outs.",
    reason=_values(Reason),
)
UNEVALUATED = CATALOGUE.counters(
    "tripline_unevaluated_total",
    "evaluations",
    "Events that name a trigger and could not be evaluated against it, by reason.",
    "LATE_EVENT: emitters send old events. PER_MISSING, COULD_NOT_EVALUATE: fields are missing. "
    "NOT_ACTIVE is no fault: the event happened outside the trigger's days.",
    reason=_values(Unevaluated),
)
EVICTED = CATALOGUE.counters(
    "tripline_evicted_total",
    "entries",
    "Entries of user states pushed out by newer ones, by what.",
    "Each may be a message not sent (never one too many). Steady: a definition keeps too much.",
    what=UpTo(32, "part of the user state"),
)
LATENESS = CATALOGUE.histogram(
    "tripline_timer_lateness_seconds",
    "seconds",
    "How long after its fire time a timer was decided, by the clock.",
    "Within 2 s when the shard keeps up; the whole outage after one.",
    SECONDS,
)
TICKS = CATALOGUE.counter(
    "tripline_ticks_total",
    "ticks",
    "Ticks appended so that due timers fire in a quiet log.",
    "At most one a second for each shard. Zero while timers are due: see lateness.",
)
OUTBOX = CATALOGUE.gauges(
    "tripline_outbox_entries",
    "entries",
    "Committed outbox entries not published yet.",
    "Near TRIPLINE_OUTBOX_ENTRIES_MAX the shard stops deciding: Kafka does not take records.",
    shard=_SHARD,
)
WITHHELD = CATALOGUE.gauges(
    "tripline_withheld_deliveries",
    "deliveries",
    "Deliveries held back after a Redis rollback until the log shows what became of them.",
    "Not zero only after a failover or a restore, and falling.",
    shard=_SHARD,
)
DEAD_LETTERS = CATALOGUE.counters(
    "tripline_dead_letters_total",
    "records",
    "Records refused and copied to the dead-letters topic, by reason.",
    "A new reason names the emitter's fault. FORGED: somebody writes engine records, or the roles "
    "have different secrets.",
    reason=_values(DeadLetterReason),
)
FORWARDED = CATALOGUE.counter(
    "tripline_forwarded_total",
    "records",
    "Records found on the wrong partition and sent to the right one.",
    "Steady: an emitter does not use the murmur2 partitioner.",
)
SEEKS = CATALOGUE.counters(
    "tripline_shard_seeks_total",
    "seeks",
    "Times a shard was set to its stored position, by why.",
    "assigned: each rebalance. gap: Redis was rolled back or another worker owned the shard.",
    why=("assigned", "gap"),
)
SHARDS_OWNED = CATALOGUE.gauge(
    "tripline_shards_owned",
    "shards",
    "Shards this worker owns.",
    "The sum over workers is the number of partitions; less means shards that nobody decides.",
)
REGISTRY_VERSION = CATALOGUE.gauge(
    "tripline_registry_version",
    "version",
    "Newest version of the definitions this process holds.",
    "Equal on all workers seconds after an apply.",
)
REGISTRY_WAIT = CATALOGUE.histogram(
    "tripline_registry_wait_seconds",
    "seconds",
    "Time a shard waited for the definitions its log activates.",
    "Short. Long: this process cannot read the registry topic.",
    SHORT_SECONDS,
)

# --- deliver: sending
SENDS = CATALOGUE.counters(
    "tripline_sends_total",
    "requests",
    "Provider requests, by what became of them.",
    "auth: a credential fault, nothing is sent. unknown: may have been delivered, is not repeated.",
    provider=PROVIDERS,
    outcome=SEND_OUTCOMES,
)
SEND_SECONDS = CATALOGUE.histograms(
    "tripline_send_seconds",
    "seconds",
    "Time of one provider request.",
    "The provider and the way to it. Near TRIPLINE_REQUEST_TIMEOUT_S sends end as unknown.",
    SHORT_SECONDS,
    provider=PROVIDERS,
)
APPEND_TO_ACCEPT = CATALOGUE.histograms(
    "tripline_append_to_accept_seconds",
    "seconds",
    "From the append of the record that caused a delivery to its acceptance by the provider.",
    "What a user waits: the objective is 99 % within 30 s, retries included.",
    SHORT_SECONDS,
    lane=_LANE,
)
DELIVERIES = CATALOGUE.counters(
    "tripline_deliveries_total",
    "deliveries",
    "Deliveries that ended, by reason (ACCEPTED or why not).",
    "UNKNOWN, PROVIDER_ERROR and TEMPLATE_ERROR are the ones to look into.",
    reason=_values(Reason),
)
GATE = CATALOGUE.counters(
    "tripline_gate_total",
    "claims",
    "What the last look before a send answered.",
    "REFUSED after an outage is the limits at work. WAIT steadily: replicas do not acknowledge.",
    answer=_values(GateAnswer),
)
IN_FLIGHT = CATALOGUE.gauges(
    "tripline_in_flight",
    "requests",
    "Provider requests under way.",
    "At TRIPLINE_IN_FLIGHT_MAX the provider is the limit, or the setting is.",
    provider=PROVIDERS,
)
LANE_QUEUED = CATALOGUE.gauges(
    "tripline_lane_queued",
    "deliveries",
    "Deliveries read and not started.",
    "low and normal wait behind high; critical never should.",
    lane=_LANE,
)
LANE_UNCOMMITTED = CATALOGUE.gauges(
    "tripline_lane_uncommitted_seconds",
    "seconds",
    "For how long Kafka has not taken what is finished of a lane (retry: the re-queue topics).",
    "A rebalance takes seconds. After minutes a restart reads that much again; see the log.",
    lane=(*_LANE, "retry"),
)
RETRIES = CATALOGUE.counters(
    "tripline_retries_total",
    "deliveries",
    "Deliveries put back for later, by delay.",
    "Follows provider trouble (retry_later) and refused claims.",
    tier=tuple(f"{tier // 1000}s" for tier in RETRY_TIERS_MS),
)
TOKENS_REMOVED = CATALOGUE.counters(
    "tripline_tokens_removed_total",
    "tokens",
    "Device tokens dropped because the provider called them dead.",
    "A jump: wrong environment or project, not that many uninstalls.",
    provider=PROVIDERS,
)

# --- every role
BUILD = CATALOGUE.gauges(
    "tripline_build_info",
    "none",
    "Always 1; its labels say what runs.",
    "Two versions at once outside of a roll-out: a process was left behind.",
    version=UpTo(1, "version of tripline"),
    python=UpTo(1, "version of Python"),
)


def _version() -> str:
    try:
        return version("tripline")
    except PackageNotFoundError:
        return "unknown"


BUILD.labels(version=_version(), python=platform.python_version()).set(1)


def exposition(accept: str = "") -> tuple[bytes, str]:
    """All metrics as (body, content type) in the best format `accept` names."""
    encoder, content_type = choose_encoder(accept)
    body: bytes = encoder(CATALOGUE.registry)
    return body, content_type


def catalogue_page() -> str:
    """docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Every role serves these on `/metrics`. This page is made of the catalogue in",
        "`engine/metrics.py` by `python -m engine.metrics > docs/metrics.md`.",
        "",
        "A label value outside of its list is counted as `other`. Beside them stand the",
        "`process_*` and `python_gc_*` metrics of the Prometheus client.",
    ]
    for declared in CATALOGUE.declared.values():
        lines += ["", f"## `{declared.name}`", ""]
        lines += [f"{declared.kind}, unit: {declared.unit}. {declared.counts}", ""]
        lines += [declared.reading]
        facts = [f"`{name}`: {_bound(bound)}" for name, bound in declared.labels.items()]
        if declared.buckets:
            facts.append("buckets: " + ", ".join(f"{edge:g}" for edge in declared.buckets))
        if facts:
            lines += ["", *(f"- {fact}" for fact in facts)]
    return "\n".join(lines) + "\n"


def _bound(bound: LabelBound) -> str:
    if isinstance(bound, UpTo):
        return f"{bound.what} (up to {bound.values_max:,})"
    return ", ".join(bound)


if __name__ == "__main__":
    sys.stdout.write(catalogue_page())
