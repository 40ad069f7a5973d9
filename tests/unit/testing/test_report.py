"""What people, scripts and CI servers read."""

from xml.etree import ElementTree

from engine.testing.junit import junit_xml
from engine.testing.report import report_json, report_lines
from engine.testing.run import run_case
from tests.unit.testing.playing import cases

TESTS = """\
- name: fires
  events: [{at: 0m, event: Added, properties: {price: 50}}]
  expect: [{at: 2h, outcome: ADMITTED}]
- name: "a bell \\a and <tags>"
  events: [{at: 0m, event: Added, properties: {price: 50}}]
  expect: [{at: 1h, outcome: ADMITTED}]
- name: nothing
  events: []
  expect: []
"""
VERDICTS = [run_case(case) for case in cases(TESTS)]


def test_a_failure_shows_its_place_its_diff_and_its_reasons() -> None:
    assert report_lines(VERDICTS, verbose=False) == [
        "cart  1 passed, 2 failed",
        "  FAIL a bell \a and <tags>",
        "    triggers/cart.yaml:11",
        "    - expected  + got",
        "    - 1h       ADMITTED",
        "    + 2h       ADMITTED",
        "  FAIL nothing",
        "    triggers/cart.yaml:14",
        "    nothing ever started cart, so that it ends in nothing proves nothing",
        "",
        "1 passed, 2 failed",
    ]
    assert "  ok   fires" in report_lines(VERDICTS, verbose=True)


def test_the_json_report_has_the_fields_scripts_rely_on() -> None:
    report = report_json(VERDICTS)
    assert list(report) == ["passed", "failed", "tests"]
    assert (report["passed"], report["failed"]) == (1, 2)
    assert report["tests"][1] == {
        "trigger": "cart",
        "name": "a bell \a and <tags>",
        "file": "triggers/cart.yaml",
        "line": 11,
        "passed": False,
        "problem": None,
        "diff": [
            {"sign": "-", "at": "1h", "text": "ADMITTED"},
            {"sign": "+", "at": "2h", "text": "ADMITTED"},
        ],
        "why": [],
    }


def test_the_junit_report_is_xml_that_any_parser_takes_and_its_sums_agree() -> None:
    root = ElementTree.fromstring(junit_xml(VERDICTS, [0.5, 0.25, 0.25]))
    assert (root.tag, root.get("tests"), root.get("failures")) == ("testsuites", "3", "2")
    assert root.get("time") == "1.000"
    (suite,) = root.findall("testsuite")
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("cart", "3", "2")
    found = suite.findall("testcase")
    assert [case.get("name") for case in found] == ["fires", "a bell ? and <tags>", "nothing"]
    assert [len(case.findall("failure")) for case in found] == [0, 1, 1]
    assert found[0].get("time") == "0.500"
    assert "- 1h       ADMITTED" in (found[1].findtext("failure") or "")
