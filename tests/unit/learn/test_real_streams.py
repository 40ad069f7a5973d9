"""Catalogues learned from whole streams: the shipped sample, and real ones beside the checkout."""

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from engine.files import FileEvent, load_mapping, read_events
from engine.learn import learn
from engine.registry.folder import read_folder
from schemas.events import Event
from triggers.loader import load_catalog, load_workspace

EXAMPLES = Path(__file__).parents[3] / "examples"
DATA = EXAMPLES.parents[1] / "shared" / "data"
GA360 = DATA / "ga360_merch_store_2016-08.csv.zst"
OTTO = DATA / "otto_train20.jsonl"


def test_the_shipped_sample_gives_a_catalogue_that_its_triggers_pass_and_that_names_nobody() -> (
    None
):
    events = list(read_events(EXAMPLES / "demo" / "clickstream.jsonl.zst"))
    found = learn(events)
    assert load_catalog("catalog.yaml", found.text) == found.catalog
    files = {**read_folder(EXAMPLES / "demo"), "catalog.yaml": found.text}
    assert load_workspace(files).hints == ()
    names = Counter(f.event.event for f in events if f.event.type == "track")
    for name, count in names.items():
        assert found.catalog.events[str(name)].count == count
    personal = {f.event.user_id for f in events} | {f.event.anonymous_id for f in events}
    for event in (f.event for f in events):
        device = (event.context or {}).get("device", {})
        personal |= {device.get("token"), device.get("id"), event.message_id}
    listed = [entry.paths or {} for entry in found.catalog.events.values()]
    paths = [path for each in (*listed, found.catalog.shared.paths) for path in each.values()]
    shown = {str(example) for path in paths for example in path.examples or ()}
    assert len(shown) > 20
    assert not shown & personal
    assert "@" not in found.text


@pytest.mark.skipif(not GA360.exists(), reason="the real month does not lie beside the checkout")
def test_the_real_month_gives_a_catalogue_that_its_triggers_pass() -> None:
    mapping = load_mapping(EXAMPLES / "ga360" / "mapping.yaml")
    found = learn(islice(read_events(GA360, mapping), 20_000))
    files = {**read_folder(EXAMPLES / "ga360"), "catalog.yaml": found.text}
    assert load_workspace(files).hints == ()
    paths = found.catalog.events["Order Completed"].paths or {}
    assert paths["properties.products.*.price"].types.keys() == {"number"}
    assert paths["properties.device"].examples is not None
    assert paths["properties.order_id"].examples == ()


@pytest.mark.skipif(not OTTO.exists(), reason="the real sessions do not lie beside the checkout")
def test_real_sessions_give_the_counts_of_a_plain_loop() -> None:
    sessions = [json.loads(line) for line in OTTO.read_text().splitlines()]
    events = [
        FileEvent(
            each["ts"],
            Event(
                "track", "m", each["type"], f"s{one['session']}", properties={"aid": each["aid"]}
            ),
            None,
        )
        for one in sessions
        for each in one["events"]
    ]
    catalog = learn(events).catalog
    counts = Counter(each["type"] for one in sessions for each in one["events"])
    assert {name: entry.count for name, entry in catalog.events.items()} == dict(counts)
    assert all(
        list((entry.paths or {})["properties.aid"].types) == ["integer"]
        for entry in catalog.events.values()
    )
