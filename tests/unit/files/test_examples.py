"""The examples that are shipped are valid and do what their comments say."""

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from engine.files import Problems, load_mapping, read_events
from engine.registry.folder import load_folder

EXAMPLES = Path(__file__).parents[3] / "examples"
#: A real month, used where it lies beside the checkout; not part of the project.
GA360 = EXAMPLES.parents[1] / "shared" / "data" / "ga360_merch_store_2016-08.csv.zst"

_ORDER = (
    "1000,u1,99,1,{hit},mobile,Kenya,purchase,,{sku},Tee,(not set),{price},{qty},O1,{total},/done\n"
)
_HEADER = (
    "ts_ms,user_id,visit_id,visit_number,hit,device,country,event,step,sku,product,category,"
    "price_usd,qty,transaction_id,revenue_usd,path\n"
)


@pytest.mark.parametrize("name", ["demo", "ga360"])
def test_every_example_workspace_is_valid_and_live(name: str) -> None:
    triggers, policies, _ = load_folder(EXAMPLES / name)
    assert len(triggers) >= 5
    assert {trigger.state for trigger in triggers.values()} == {"live"}
    assert policies.keys() == {"default"}


def test_the_ga360_mapping_makes_one_order_of_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        _HEADER
        + _ORDER.format(hit=7, sku="A", price="16.99", qty="15", total="1592.40")
        + _ORDER.format(hit=7, sku="B", price="1", qty="", total="1592.40")
    )
    mapping = load_mapping(EXAMPLES / "ga360" / "mapping.yaml")
    (found,) = read_events(path, mapping, problems=Problems(strict=True))
    assert (found.event.event, found.event.message_id) == ("Order Completed", "99:7")
    assert found.event.properties == {
        "visit_id": "99",
        "visit_number": 1,
        "device": "mobile",
        "country": "Kenya",
        "path": "/done",
        "order_id": "O1",
        "revenue": 1592.4,
        "products": [
            {"product_id": "A", "name": "Tee", "price": 16.99, "quantity": 15},
            {"product_id": "B", "name": "Tee", "price": 1.0},
        ],
    }


@pytest.mark.skipif(not GA360.exists(), reason="the real month does not lie beside the checkout")
def test_the_real_month_is_read_without_a_problem() -> None:
    mapping = load_mapping(EXAMPLES / "ga360" / "mapping.yaml")
    problems = Problems(strict=True)
    events = islice(read_events(GA360, mapping, problems=problems), 20_000)
    names = Counter(found.event.event for found in events)
    assert names.keys() >= {"Page Viewed", "Product Added", "Checkout Step Viewed"}
    assert names["Order Completed"] > 50


def test_the_uci_mapping_makes_one_order_of_an_invoice_and_tells_cancellations(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
        "536365,85123A,HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n"
        '536365,71053,"LANTERN, METAL",6,2010-12-01 08:27:00,3.39,17850.0,United Kingdom\n'
        "C536379,D,Discount,-1,2010-12-01 09:41:00,27.5,14527.0,United Kingdom\n"
        "A563185,B,Adjust bad debt,1,2011-08-12 14:50:00,11062.06,,United Kingdom\n"
    )
    mapping = load_mapping(EXAMPLES / "uci" / "mapping.yaml")
    found = list(read_events(path, mapping, problems=Problems(strict=True)))
    assert [(e.event.event, e.event.message_id, e.event.user_id) for e in found] == [
        ("Order Completed", "536365", "17850.0"),
        ("Order Cancelled", "C536379", "14527.0"),
    ]
    assert (found[0].event.properties or {})["products"] == [
        {"product_id": "85123A", "name": "HEART", "quantity": 6, "price": 2.55},
        {"product_id": "71053", "name": "LANTERN, METAL", "quantity": 6, "price": 3.39},
    ]
