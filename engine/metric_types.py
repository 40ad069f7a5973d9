"""What a metric is made of: declared in full, with every label bounded.

- A `Declared` says what a metric counts and how an operator reads it.
- A `Family` is a metric with labels. A label is bounded by a closed list, or by a number of values
  after which new ones become `other`.
- A `Catalogue` makes and remembers them, over a registry of its own.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, Literal, TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

MetricKind = Literal["counter", "gauge", "histogram"]

OTHER: Final = "other"
#: Closed label sets with at most this many combinations start at zero, so that a rate sees the
#: first increase.
ZEROED_MAX: Final = 64

# The `_created` series only double the size of a scrape: nothing here resets but by a restart.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]

M = TypeVar("M", Counter, Gauge, Histogram)


@dataclass(frozen=True, slots=True)
class UpTo:
    """A label whose values are not known here, with how many different ones are kept apart."""

    values_max: int
    what: str


LabelBound = tuple[str, ...] | UpTo


@dataclass(frozen=True, slots=True)
class Declared:
    """One metric. `counts` says what it holds, `reading` what an operator makes of it."""

    name: str
    kind: MetricKind
    unit: str
    counts: str
    reading: str
    labels: Mapping[str, LabelBound]
    buckets: tuple[float, ...]

    @property
    def series(self) -> tuple[str, ...]:
        """The names under which it is scraped."""
        if self.kind == "histogram":
            return (f"{self.name}_bucket", f"{self.name}_sum", f"{self.name}_count")
        return (self.name,)


class Family(Generic[M]):
    """A metric with labels. `labels` gives the child of these values, made at first use."""

    __slots__ = ("_bounds", "_children", "_metric", "_seen")

    def __init__(self, metric: M, bounds: Mapping[str, LabelBound]) -> None:
        self._metric: M = metric
        self._bounds = bounds
        self._children: dict[tuple[tuple[str, str | int], ...], M] = {}
        self._seen: dict[str, set[str]] = {label: set() for label in bounds}
        closed = [bound for bound in bounds.values() if isinstance(bound, tuple)]
        combinations = list(itertools.product(*closed)) if len(closed) == len(bounds) else []
        if len(combinations) <= ZEROED_MAX:
            for values in combinations:
                self.labels(**dict(zip(bounds, values, strict=True)))

    @property
    def label_names(self) -> tuple[str, ...]:
        """The declared labels."""
        return tuple(self._bounds)

    def labels(self, **values: str | int) -> M:
        """The child of these label values, one for each declared label; TypeError for others.

        A value outside of a label's bound becomes `other`: a metric never stops the work.
        """
        asked = tuple(values.items())
        child = self._children.get(asked)
        if child is not None:
            return child
        if values.keys() != self._bounds.keys():
            raise TypeError(f"labels {sorted(values)} are not {sorted(self._bounds)}")
        bounded = {label: self._bounded(label, str(value)) for label, value in asked}
        made: M = self._metric.labels(**bounded)
        if OTHER not in bounded.values():
            # A key for each value out of bounds would be a leak: `other` is looked up each time.
            self._children[asked] = made
        return made

    def remove(self, **values: str | int) -> None:
        """Forget a child that is no longer ours, as the gauges of a shard given up."""
        texts = {label: str(value) for label, value in values.items()}
        for asked in list(self._children):
            if {label: str(value) for label, value in asked} == texts:
                del self._children[asked]
        if len(self._bounds) == 1:
            for label, text in texts.items():
                self._seen[label].discard(text)
        self._metric.remove(*(texts[label] for label in self._bounds))

    def _bounded(self, label: str, value: str) -> str:
        bound = self._bounds[label]
        if isinstance(bound, tuple):
            return value if value in bound else OTHER
        seen = self._seen[label]
        if value not in seen:
            if len(seen) >= bound.values_max:
                return OTHER
            seen.add(value)
        return value


@dataclass(slots=True)
class Catalogue:
    """All metrics of the program, by name. Declaring a name twice is a ValueError."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    declared: dict[str, Declared] = field(default_factory=dict)

    def counter(self, name: str, unit: str, counts: str, reading: str) -> Counter:
        """A counter without labels; `name` ends in `_total`."""
        self._add(name, "counter", unit, counts, reading, {})
        return Counter(name, counts, registry=self.registry)

    def counters(
        self, name: str, unit: str, counts: str, reading: str, **labels: LabelBound
    ) -> Family[Counter]:
        """A counter with labels."""
        self._add(name, "counter", unit, counts, reading, labels)
        return Family(Counter(name, counts, tuple(labels), registry=self.registry), labels)

    def gauge(self, name: str, unit: str, counts: str, reading: str) -> Gauge:
        """A gauge without labels."""
        self._add(name, "gauge", unit, counts, reading, {})
        return Gauge(name, counts, registry=self.registry)

    def gauges(
        self, name: str, unit: str, counts: str, reading: str, **labels: LabelBound
    ) -> Family[Gauge]:
        """A gauge with labels."""
        self._add(name, "gauge", unit, counts, reading, labels)
        return Family(Gauge(name, counts, tuple(labels), registry=self.registry), labels)

    def histogram(
        self, name: str, unit: str, counts: str, reading: str, buckets: tuple[float, ...]
    ) -> Histogram:
        """A histogram without labels."""
        self._add(name, "histogram", unit, counts, reading, {}, buckets)
        return Histogram(name, counts, registry=self.registry, buckets=buckets)

    def histograms(
        self,
        name: str,
        unit: str,
        counts: str,
        reading: str,
        buckets: tuple[float, ...],
        **labels: LabelBound,
    ) -> Family[Histogram]:
        """A histogram with labels."""
        self._add(name, "histogram", unit, counts, reading, labels, buckets)
        made = Histogram(name, counts, tuple(labels), registry=self.registry, buckets=buckets)
        return Family(made, labels)

    def _add(
        self,
        name: str,
        kind: MetricKind,
        unit: str,
        counts: str,
        reading: str,
        labels: Mapping[str, LabelBound],
        buckets: tuple[float, ...] = (),
    ) -> None:
        if name in self.declared:
            raise ValueError(f"{name} is declared twice")
        self.declared[name] = Declared(name, kind, unit, counts, reading, labels, buckets)
