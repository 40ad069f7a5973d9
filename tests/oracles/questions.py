"""Questions: a trigger, and the query that says when it fires.

Each query gives `uid`, `at_ms` and `start` (the messageId of `$start`, null for a
silence) over the table `events`, written from docs/language.md and decision 0006. What fired is
used up, so counts and sequences are recursive: each firing looks for the next one behind it.
"""

from dataclasses import dataclass
from typing import Any

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
#: The default grace: the smaller of 60 s and a tenth of the wait.
DEFAULT_GRACE = "default"
NO_GRACE = "none"
POLICIES = {DEFAULT_GRACE: {}, NO_GRACE: {"grace": "0s"}}


@dataclass(frozen=True)
class Question:
    """`fired` and `cancelled` (by an `unless` event) are queries. `timed`: it fires by a timer,
    which stays pending when the history ends before."""

    trigger: dict[str, Any]
    fired: str
    cancelled: str = ""
    timed: bool = False

    @property
    def id(self) -> str:
        return str(self.trigger["id"])


def question(name: str, when: dict[str, Any], fired: str, **more: Any) -> Question:
    # Marketing messages of one moment compete for the user; SQL asks each question by itself.
    document = {"id": name, "state": "live", "class": "transactional", "when": when}
    return Question(document, fired, **more)


def grace_of(policy: str, wait_ms: int) -> int:
    return 0 if policy == NO_GRACE else min(60_000, wait_ms // 10)


def absence(minutes: int, policy: str, *, start: str, unless: str, by_product: bool) -> Question:
    """Started by `start`, restarted by another, cancelled by `unless` up to the fire time.

    The next start of the same key replaces a pending one up to its fire time; a cancel counts
    from the client time of the start on, also one that stands before it in the log (T5).
    """
    wait = minutes * MINUTE
    key = "uid, product" if by_product else "uid"
    known = "product is not null" if by_product else "true"
    same = "c.product = s.product" if by_product else "true"
    starts = f"""
        starts as (
            select n, ms, uid, product, id, ms + {wait + grace_of(policy, wait)} as due,
                lead(ms) over (partition by {key} order by n) as again_ms,
                lead(n) over (partition by {key} order by n) as again_n
            from events where name = '{start}' and {known}
        )"""
    cancels = f"c.uid = s.uid and c.name = '{unless}' and {same}"
    fired = f"""with {starts}
        select uid, due as at_ms, id as start from starts s
        where (again_ms is null or again_ms > due) and not exists (
            select 1 from events c where {cancels} and c.ms between s.ms and s.due)"""
    # One row for a start: a second one of the same time is a late duplicate (decision 0006).
    cancelled = f"""with {starts},
        before as (
            select s.*, s.ms as at_ms from starts s
            where exists (select 1 from events c where {cancels} and c.ms = s.ms and c.n < s.n)),
        first_after as (
            select s.n, min(c.n) as c_n, min(c.ms) as at_ms
            from starts s join events c on {cancels} and c.n > s.n and c.ms <= s.due
            group by s.n),
        after as (
            select s.*, at_ms from starts s join first_after using (n)
            where s.n not in (select n from before) and (again_n is null or again_n > c_n)),
        ended as (select * from before union all select * from after)
        select uid, at_ms, id as start from ended
        qualify row_number() over (partition by {key}, ms order by n) = 1"""
    name = f"absence-{minutes}m-{policy}-" + ("product" if by_product else "user")
    made = question(name, {"event": start}, fired, cancelled=cancelled, timed=True)
    clause: dict[str, Any] = {"event": unless}
    if by_product:
        clause["where"] = {"properties.product_id": "$start.properties.product_id"}
    per = "properties.product_id" if by_product else "user"
    made.trigger.update(unless=clause, wait=f"{minutes}m", per=per, policy=policy)
    return made


def count(name: str, event: str, times: int, within_ms: int, *, same: bool = False) -> Question:
    """The last `times` of those not used up lie in one window: t - t0 < `within`."""
    key = "product" if same else "''"
    fired = f"""with recursive
        counted as (
            select n, ms, uid, id, {key} as k,
                row_number() over (partition by uid, {key} order by n) as i
            from events where name = '{event}' and {key} is not null),
        ends as (
            select *, lag(ms, {times - 1}) over w as first_ms,
                lag(id, {times - 1}) over w as first_id
            from counted window w as (partition by uid, k order by i)
            qualify ms - first_ms < {within_ms}),
        fired(uid, k, i) as (
            select uid, k, min(i) from ends group by uid, k
            union all
            select e.uid, e.k, min(e.i) from fired f join ends e
                on e.uid = f.uid and e.k = f.k and e.i >= f.i + {times}
            group by e.uid, e.k)
        select e.uid, e.ms as at_ms, e.first_id as start
        from fired f join ends e on e.uid = f.uid and e.k = f.k and e.i = f.i"""
    when = {"event": event, "count": times, "within": f"{within_ms}ms"}
    return question(name, when | ({"same": "properties.product_id"} if same else {}), fired)


def count_distinct(name: str, event: str, times: int, within_ms: int) -> Question:
    """So many different products in a window. `nearest` is how far back it has to reach."""
    fired = f"""with recursive
        counted as (
            select n, ms, uid, id, product from events
            where name = '{event}' and product is not null),
        lasts as (
            select b.uid, b.n, b.ms, max(a.n) as last
            from counted a join counted b on a.uid = b.uid and a.n <= b.n
            where b.ms - a.ms < {within_ms} group by b.uid, b.n, b.ms, a.product),
        ends as (
            select uid, n, ms, (list(last order by last desc))[{times}] as nearest
            from lasts group by uid, n, ms having count(*) >= {times}),
        fired(uid, base, n) as (
            select uid, 0::bigint, min(n) from ends group by uid
            union all
            select e.uid, f.n, min(e.n) from fired f join ends e
                on e.uid = f.uid and e.nearest > f.n
            group by e.uid, f.n)
        select f.uid, last.ms as at_ms, arg_min(c.id, c.n) as start
        from fired f join counted last on last.n = f.n
            join counted c on c.uid = f.uid and c.n > f.base and c.n <= f.n
                and last.ms - c.ms < {within_ms}
        group by f.uid, f.n, last.ms"""
    when = {
        **{"event": event, "count": times, "within": f"{within_ms}ms"},
        "distinct": "properties.product_id",
    }
    return question(name, when, fired)


def sequence(name: str, steps: list[str], within_ms: int, *, same: bool = False) -> Question:
    """All steps in order; the last less than `within` after the first, the earliest first one.

    `latest` is the last first step from which a last one can be reached. `same`: each step is about
    the product of the first.
    """
    last = len(steps) - 1
    joins = ""
    for number, step in enumerate(steps[1:], start=1):
        about = f"and s{number}.product = s0.product" if same else ""
        joins += f"""
            join events s{number} on s{number}.uid = s0.uid and s{number}.n > s{number - 1}.n
                and s{number}.name = '{step}' and s{number}.ms - s0.ms < {within_ms} {about}"""
    fired = f"""with recursive
        pairs as (
            select distinct s0.uid, s0.n as first, s0.id, s{last}.n, s{last}.ms
            from events s0 {joins} where s0.name = '{steps[0]}'),
        ends as (select uid, n, max(first) as latest from pairs group by uid, n),
        fired(uid, base, n) as (
            select uid, 0::bigint, min(n) from ends group by uid
            union all
            select e.uid, f.n, min(e.n) from fired f join ends e
                on e.uid = f.uid and e.latest > f.n
            group by e.uid, f.n)
        select f.uid, any_value(p.ms) as at_ms, arg_min(p.id, p.first) as start
        from fired f join pairs p on p.n = f.n and p.first > f.base group by f.uid, f.n"""
    written: list[dict[str, Any]] = [{"event": step} for step in steps]
    for later in written[1:] if same else []:
        later["where"] = {"properties.product_id": "$start.properties.product_id"}
    return question(name, {"sequence": written, "within": f"{within_ms}ms"}, fired)


def nth(event: str, number: int) -> Question:
    fired = f"""select uid, ms as at_ms, id as start from events where name = '{event}'
        qualify row_number() over (partition by uid order by n) = {number}"""
    name = f"nth-{number}-{event.lower().replace(' ', '-')}"
    return question(name, {"event": event, "nth": number}, fired)


def idle(hours: int, shortest_hours: int, policy: str) -> Question:
    """After the last activity, rounded up to 1/168 of the shortest idle trigger's time, at most an
    hour (decision 0005)."""
    granule = min(shortest_hours * HOUR // 168, HOUR)
    wait = hours * HOUR
    fired = f"""with
        seen as (
            select uid, ceil(ms / {granule})::bigint * {granule} as seen, min(ms) as ms
            from events group by all),
        silences as (
            select uid, seen + {wait + grace_of(policy, wait)} as due,
                lead(ms) over (partition by uid order by seen) as again_ms
            from seen)
        select uid, due as at_ms, null::varchar as start from silences
        where again_ms is null or again_ms > due"""
    made = question(f"idle-{hours}h-{policy}", {"idle": f"{hours}h"}, fired, timed=True)
    made.trigger["policy"] = policy
    return made
