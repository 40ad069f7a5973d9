"""The report as a document and as text, of counters made by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.report.canaries import Canary
from engine.report.counters import BadCounter, Counted, add_up, read_counters
from engine.report.document import Days, Report, make_report, report_json
from engine.report.plans import Plan
from engine.report.readout import Verdict, compare
from engine.report.text import report_lines
from engine.report.weeks import weeks_of, year_of
from schemas.reasons import REACTIONS, Outcome, Reason
from tests.unit.report.shop import COUNTERS, MONDAY, PLANS, TUESDAY

EXPECTED = Path(__file__).parent / "report.json"
HALVES = Plan({"a": 1, "b": 1})


def report(days: Days = Days(), only: str | None = None) -> Report:  # noqa: B008
    return make_report(read_counters(COUNTERS), PLANS, days, only)


def arm(users: int, converters: int, **more: int) -> dict[str, int]:
    goals = {"CONVERTERS": converters, "GOALS": converters, "GOALS2": converters}
    return {"USERS": users, **goals, **more}


def test_the_document_is_what_scripts_rely_on() -> None:
    found = json.loads(json.dumps({"version": 1, **report_json(report())}))
    assert found == json.loads(EXPECTED.read_text())


def test_the_stages_of_a_trigger_leave_out_what_control_groups_did() -> None:
    funnel = report().triggers["cart"].funnel
    assert funnel.stages == {
        "prepared": 170,
        "handed_over": 160,
        "delivered": 150,
        "opened": 40,
        "clicked": 30,
        "converted": 12,
        "unsubscribed": 1,
    }
    assert (funnel.value, funnel.ghost_converted, funnel.ghost_value) == (600.5, 1, 20.0)
    assert funnel.suppressed == {"COOLDOWN": 120, "CONTROL": 20, "SPACING": 10}
    assert funnel.failed == {"UNREGISTERED": 6, "EXPIRED": 4}
    assert (funnel.matched, funnel.cancelled) == (490, 70)


def test_every_reason_is_told_apart_before_and_after_a_channel_was_chosen() -> None:
    rows = [
        Counted("t", 1, "", 0, stage, channel, 1)
        for stage in ({*Reason, Outcome.BUNDLED} - REACTIONS)
        for channel in ("", "push")
    ]
    funnel = make_report(rows, {}).triggers["t"].funnel
    assert sum(funnel.suppressed.values()) + funnel.cancelled + funnel.expired == len(rows) // 2
    assert sum(funnel.failed.values()) + funnel.stages["handed_over"] == len(rows) // 2


def test_days_bound_the_funnel_but_an_experiment_is_read_from_its_beginning() -> None:
    tuesday = report(Days(TUESDAY, TUESDAY + 1)).triggers["cart"]
    assert (tuesday.funnel.matched, tuesday.funnel.stages["clicked"]) == (0, 30)
    assert tuesday.experiments == report().triggers["cart"].experiments
    monday = report(Days(None, TUESDAY)).triggers["cart"]
    assert (monday.funnel.matched, monday.funnel.stages["clicked"]) == (490, 0)
    assert monday.experiments[2].arms["a"].goals.total == 0


def test_the_year_is_left_out_where_the_days_end_before_the_counters() -> None:
    assert report(Days(None, TUESDAY)).year is None
    assert report(Days(TUESDAY, None)).year == report().year


def test_one_trigger_alone_tells_nothing_of_all_users() -> None:
    found = report(only="new")
    assert list(found.triggers) == ["new"]
    assert (found.weeks, found.year) == ([], None)


def test_the_text_says_why_there_is_no_verdict() -> None:
    text = "\n".join(report_lines(report()))
    assert "a against control: more users convert" in text
    assert "b against a: too few users: 412 of 1,000 an arm" in text
    assert "b against a: sample ratio mismatch: no verdict (p = 3e-05)" in text
    few = make_report(
        read_counters(
            {
                "t|1|a|1|USERS|": 2_000,
                "t|1|b|1|USERS|": 2_000,
                "t|1|a|1|CONVERTERS|": 49,
                "t|1|b|1|CONVERTERS|": 90,
            }
        ),
        {"t": {1: HALVES}},
    )
    assert "b against a: too few conversions: 49 of 50 an arm" in report_lines(few)


def test_nothing_is_compared_when_users_were_not_shared_out_as_planned() -> None:
    found = report().triggers["skewed"].experiments[1]
    assert found.balance.mismatch
    comparison = found.comparisons["b"]
    assert comparison.verdict is Verdict.MISMATCH
    assert comparison[1:] == (None,) * 5


def test_the_crm_score_is_hidden_below_a_thousand_users_an_arm() -> None:
    more = {"UNSUBSCRIBERS": 5}
    counts = {"a": arm(999, 100, **more), "b": arm(1_000, 200, **more)}
    assert compare(counts, HALVES).comparisons["b"].crm is None
    counts["a"]["USERS"] = 1_000
    assert compare(counts, HALVES).comparisons["b"].crm is not None


def test_several_variants_share_one_chance_of_a_wrong_verdict() -> None:
    counts = {name: arm(10_000, 500) for name in ("control", "a", "b", "c")}
    found = compare(counts, Plan({"control": 1, "a": 1, "b": 1, "c": 1}))
    assert (found.baseline, list(found.comparisons)) == ("control", ["a", "b", "c"])
    assert found.alpha == pytest.approx(0.05 / 3)


def test_a_revision_whose_shares_are_not_known_is_not_compared() -> None:
    found = compare({"a": arm(5_000, 500), "b": arm(5_000, 900)}, Plan({}))
    assert (found.baseline, found.comparisons) == (None, {})


def test_an_arm_outside_the_plan_is_shown_and_not_compared() -> None:
    counts = {name: arm(5_000, 500) for name in ("a", "b", "global_control")}
    found = compare(counts, HALVES)
    assert list(found.arms) == ["a", "b", "global_control"]
    assert not found.balance.mismatch
    assert list(found.comparisons) == ["b"]


def test_value_and_its_squares_have_one_unit() -> None:
    # Two users of 10.00 and 30.00: the mean of four users is 10, their variance 200.
    worth = {"WORTH": 40_000_000, "WORTH2": 1_000**2 + 3_000**2 - 2**40, "WORTH2_HIGH": 1}
    value = compare({"a": {"USERS": 4, **worth}}, HALVES).arms["a"].value
    assert value.mean == pytest.approx(10.0)
    assert value.variance == pytest.approx(np.var([0, 0, 10, 30], ddof=1))


def test_percentiles_are_those_of_the_users_behind_the_counters() -> None:
    random = np.random.default_rng(3)
    messages = random.geometric(0.3, 500)
    rows = [
        Counted("", 0, "", MONDAY, f"WEEK_MESSAGES_{k}", "", int((messages >= k).sum()))
        for k in range(1, int(messages.max()) + 1)
    ]
    week = weeks_of(rows)[0]
    assert (week.users, week.messages) == (500, int(messages.sum()))
    assert [week.p50, week.p95] == [
        int(np.percentile(messages, percent, method="inverted_cdf")) for percent in (50, 95)
    ]


def test_the_year_counts_users_reached_in_its_365_days() -> None:
    rows = [
        Counted("", 0, "", TUESDAY, "LAST_REACHED", "", 40),
        Counted("", 0, "", TUESDAY - 364, "LAST_REACHED", "", 60),
        Counted("", 0, "", TUESDAY - 365, "LAST_REACHED", "", 1_000),
        Counted("cart", 1, "", TUESDAY - 364, "UNSUBSCRIBED", "push", 2),
        Counted("cart", 1, "", TUESDAY - 365, "UNSUBSCRIBED", "push", 9),
    ]
    year = year_of(rows)
    assert year is not None
    assert (year.unsubscribed, year.reached, year.rate) == (2, 100, 0.02)
    assert year_of([]) is None


def test_counters_of_shards_add_up() -> None:
    one, other = {"t|1||5|MATCHED|": 3}, {"t|1||5|MATCHED|": 4, "t|1||6|MATCHED|": -1}
    assert add_up([one, other]) == {"t|1||5|MATCHED|": 7, "t|1||6|MATCHED|": -1}


@pytest.mark.parametrize("name", ["t|1||MATCHED", "t|x||5|MATCHED|", "t|1||5|MATCHED||more"])
def test_a_counter_of_another_form_is_refused(name: str) -> None:
    with pytest.raises(BadCounter, match="no funnel counter"):
        read_counters({name: 1})


def test_a_line_for_each_day_sums_up_to_the_line_of_the_trigger() -> None:
    def numbers(by: str | None) -> Any:
        lines = [line.split() for line in report_lines(report(), by) if line.startswith("cart ")]
        return np.sum([[float(cell.replace(",", "")) for cell in row[-9:]] for row in lines], 0)

    for by in ("revision", "variant", "channel", "day"):
        assert numbers(by).tolist() == numbers(None).tolist()


CANARY = Canary(revision=7, live=6, share=1_000, since=TUESDAY)
OF_BOTH = {
    f"cart|6||{MONDAY}|MATCHED|": 500,
    f"cart|6||{TUESDAY}|MATCHED|": 100,
    f"cart|6||{TUESDAY}|COOLDOWN|": 20,
    f"cart|6||{TUESDAY}|ADMITTED|push": 80,
    f"cart|6||{TUESDAY}|CLICKED|push": 8,
    f"cart|7||{TUESDAY}|MATCHED|": 10,
    f"cart|7||{TUESDAY}|ADMITTED|push": 10,
    f"cart|7||{TUESDAY}|CLICKED|push": 2,
}


def test_a_canary_stands_beside_the_live_revision_with_names_and_shares() -> None:
    found = make_report(read_counters(OF_BOTH), {}, canaries={"cart": CANARY})
    lines = report_lines(found)
    first = lines.index(
        "canary of cart, from 2026-11-03 on: canary revision 7, 10 % of users vs live revision 6, "
        "90 % of users"
    )
    table = [" ".join(line.split()) for line in lines[first + 1 :]]
    assert table[:3] == ["CANARY 7 LIVE 6", "matched 10 100", "prepared 10 80"]
    assert "clicked 2 (20.0%) 8 (10.0%)" in table
    assert "suppressed COOLDOWN 0 20" in table
    sides = report_json(found)["triggers"]["cart"]["canary"]["revisions"]
    named = [(side["role"], side["revision"], side["share"], side["matched"]) for side in sides]
    assert named == [("canary", 7, 0.1, 10), ("live", 6, 0.9, 100)]


def test_without_a_canary_none_is_told() -> None:
    found = make_report(read_counters(OF_BOTH), {})
    assert report_json(found)["triggers"]["cart"]["canary"] is None
    assert not [line for line in report_lines(found) if line.startswith("canary")]


def test_the_experiments_of_a_canary_and_of_the_live_revision_are_both_told() -> None:
    rows = {f"cart|{revision}|a|{TUESDAY}|USERS|": 5 for revision in (5, 6, 7)}
    found = make_report(read_counters(rows), {}, canaries={"cart": CANARY})
    told = [line for line in report_lines(found) if line.startswith("experiment of")]
    assert told == ["experiment of cart, revision 7", "experiment of cart, revision 6"]


def test_candidates_stand_on_the_line_of_their_variant() -> None:
    rows = {
        f"cart|1||{MONDAY}|MATCHED|": 100,
        f"cart|1||{MONDAY}|COOLDOWN|": 30,
        f"cart|1|control|{MONDAY}|CONTROL|": 20,
        f"cart|1|a|{MONDAY}|ADMITTED|push": 50,
    }

    def matched() -> list[list[str]]:
        lines = report_lines(make_report(read_counters(rows), {}), "variant")
        return [line.split()[:3] for line in lines if line.startswith("cart")]

    assert matched() == [["cart", "-", "30"], ["cart", "a", "50"], ["cart", "control", "20"]]
    rows[f"cart|1||{MONDAY}|MATCHED|"] = 70
    del rows[f"cart|1||{MONDAY}|COOLDOWN|"]
    assert matched() == [["cart", "a", "50"], ["cart", "control", "20"]]


def test_weeks_that_from_leaves_out_are_accounted_for() -> None:
    (note,) = report(Days(TUESDAY, None)).notes
    assert note == (
        "1 week that began before 2026-11-03 left out of messages per user and week: a user's "
        "messages are counted by whole weeks, from Monday on"
    )
    assert f"note: {note}" in report_lines(report(Days(TUESDAY, None)))
    assert report(Days(MONDAY, None)).notes == ()


def test_what_one_trigger_and_to_leave_out_is_accounted_for() -> None:
    assert "leave TRIGGER out" in report(only="cart").notes[0]
    assert "not told with --to" in report(Days(None, TUESDAY)).notes[0]
    assert report().notes == ()


def test_a_global_control_readout_says_for_how_long_goals_count() -> None:
    rows = {f"cart|1|{name}|{MONDAY}|USERS|": 5 for name in ("", "global_control")}
    plans = {"cart": {1: Plan({"global_control": 1_000, "": 9_000})}}
    lines = report_lines(make_report(read_counters(rows), plans))
    assert "global control of cart, revision 1" in lines
    assert [line for line in lines if line.startswith("goals count for 28 days")]
