"""Verdicts as JUnit XML, as CI servers read it: a suite a trigger, a case a test."""

import re
from collections.abc import Sequence
from itertools import groupby
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from engine.testing.report import failure_lines
from engine.testing.run import Verdict

#: XML 1.0 has no way to write these, escaped or not.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(verdicts: Sequence[Verdict], took_s: Sequence[float]) -> bytes:
    """The document; `took_s` are the durations of the verdicts."""
    root = Element("testsuites", _sums(verdicts, took_s))
    timed = list(zip(verdicts, took_s, strict=True))
    for trigger, group in groupby(timed, key=lambda pair: pair[0].case.trigger.id):
        mine = list(group)
        sums = _sums([verdict for verdict, _ in mine], [seconds for _, seconds in mine])
        suite = SubElement(root, "testsuite", {"name": trigger, **sums})
        for verdict, seconds in mine:
            _case(suite, verdict, seconds)
    indent(root)
    document: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _case(suite: Element, verdict: Verdict, seconds: float) -> None:
    case = verdict.case
    attributes = {
        "name": _clean(case.test.name),
        "classname": case.trigger.id,
        "file": case.file,
        "line": str(case.line),
        "time": f"{seconds:.3f}",
    }
    element = SubElement(suite, "testcase", attributes)
    if not verdict.passed:
        message = verdict.problem or "other outcomes than expected"
        failure = SubElement(element, "failure", {"message": _clean(message), "type": "outcomes"})
        failure.text = _clean("\n".join(failure_lines(verdict)))


def _sums(verdicts: Sequence[Verdict], took_s: Sequence[float]) -> dict[str, str]:
    failed = sum(not verdict.passed for verdict in verdicts)
    return {
        "tests": str(len(verdicts)),
        "failures": str(failed),
        "errors": "0",
        "skipped": "0",
        "time": f"{sum(took_s):.3f}",
    }


def _clean(text: str) -> str:
    return _NOT_XML.sub("?", text)
