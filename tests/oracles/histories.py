"""Histories: an event file, the mapping our readers need, and the query by which DuckDB reads it.

The query gives `events`: `n` (the order of the log), `ms`, `uid`, `id` (the messageId), `name`,
`product`. Two are real and lie beside the checkout, where they lie at all; one is made here: dense,
with ties and with events exactly at the edges of the windows that `questions` ask about.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from random import Random

import duckdb

CHECKOUT = Path(__file__).parents[2]
EXAMPLES = CHECKOUT / "examples"
#: Real data, used where it lies; not part of the project.
DATA = CHECKOUT.parent / "shared" / "data"

HEADER = (
    *("ts_ms", "user_id", "visit_id", "visit_number", "hit", "device", "country", "event", "step"),
    *("sku", "product", "category", "price_usd", "qty", "transaction_id", "revenue_usd", "path"),
)

#: A checkout step and an order are one event with a row for each product.
SHOP = """
select row_number() over (order by min(ms), min(line)) as n, min(ms) as ms, uid, id, name,
    case when name in ('Checkout Step Viewed', 'Order Completed') then null
         else min(sku) end as product
from (
    select row_number() over () as line, ts_ms::bigint as ms, user_id as uid,
        visit_id || ':' || hit as id,
        case when event not in ('checkout', 'purchase') then row_number() over () end as alone,
        case event when 'page_view' then 'Page Viewed'
            when 'product_click' then 'Product Clicked'
            when 'product_view' then 'Product Viewed'
            when 'add_to_cart' then 'Product Added'
            when 'remove_from_cart' then 'Product Removed'
            when 'checkout' then 'Checkout Step Viewed'
            when 'purchase' then 'Order Completed'
            else 'another' end as name,
        case when sku <> '(not set)' then sku end as sku
    from read_csv(?, all_varchar = true, header = true)
)
group by uid, id, name, alone
"""

#: An invoice is one event at the time of its first line; a bad debt (A...) is none.
INVOICES = """
select row_number() over (order by min(ms), min(line)) as n, min(ms) as ms, uid, id, name,
    null::varchar as product
from (
    select row_number() over () as line, epoch_ms(InvoiceDate::timestamp) as ms,
        CustomerID as uid, InvoiceNo as id,
        case InvoiceNo[1] when 'C' then 'Order Cancelled' when '5' then 'Order Completed'
            end as name
    from read_csv(?, all_varchar = true, header = true)
)
where uid is not null and name is not null
group by uid, id, name
"""


@dataclass(frozen=True)
class History:
    """An event file; `query` reads it as `events`."""

    path: Path
    mapping: Path
    query: str

    def database(self) -> duckdb.DuckDBPyConnection:
        """A database with the table `events`."""
        connection = duckdb.connect(config={"threads": 1})
        connection.execute(f"create table events as {self.query} order by n", [str(self.path)])
        return connection


def shop(path: Path) -> History:
    """A file in the form of the Google Merchandise Store's month."""
    return History(path, EXAMPLES / "ga360" / "mapping.yaml", SHOP)


def invoices(path: Path) -> History:
    """The UCI set of invoices."""
    return History(path, EXAMPLES / "uci" / "mapping.yaml", INVOICES)


MINUTE = 60_000
EVENTS = (
    *("product_view",) * 6,
    *("add_to_cart",) * 4,
    *("page_view", "remove_from_cart", "checkout", "purchase"),
)
#: Ties, and the ends of windows of 30, 60 and 1,440 minutes, with their graces of 0 s and 1 m.
GAPS_MS = (
    *(0, 0, 1, MINUTE, 7 * MINUTE, 29 * MINUTE, 30 * MINUTE - 1, 30 * MINUTE, 31 * MINUTE),
    *(31 * MINUTE + 1, 60 * MINUTE, 61 * MINUTE, 61 * MINUTE + 1, 1440 * MINUTE, 1441 * MINUTE),
)


def made_month(path: Path, seed: int, users: int = 60, events_each: int = 60) -> History:
    """Write a history of users who do what is hard to decide; each walks its own grid of times."""
    random = Random(seed)
    rows = []
    for user in range(users):
        ms = 1_470_000_000_000 + random.choice((0, 0, MINUTE))
        for hit in range(random.randrange(1, events_each)):
            ms += random.choice(GAPS_MS)
            event = random.choice(EVENTS)
            lines = random.choice((1, 2)) if event in ("checkout", "purchase") else 1
            for _ in range(lines):
                sku = "(not set)" if event == "page_view" else f"s{random.randrange(4)}"
                rows.append((ms, f"u{user}", user, 1, hit, *("",) * 2, event, "", sku, *("",) * 7))
    # By time alone: users keep their own order where times are equal.
    rows.sort(key=lambda row: row[0])
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows(rows)
    return shop(path)
