"""Route tests in JUnit's XML, which continuous integration reads."""

import re
from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree as Xml

from connector.dryrun.testing import Verdict

_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, not even escaped."""


def junit(verdicts: Sequence[Verdict]) -> bytes:
    """One test suite of all verdicts."""
    totals = {
        "tests": str(len(verdicts)),
        "failures": str(sum(not verdict.passed for verdict in verdicts)),
        "errors": "0",
        "time": f"{sum(verdict.seconds for verdict in verdicts):.3f}",
    }
    root = Xml.Element("testsuites", totals)
    suite = Xml.SubElement(root, "testsuite", {"name": "connector", **totals})
    for verdict in verdicts:
        told = {
            "classname": _clean(verdict.where.file),
            "name": _clean(verdict.name),
            "file": _clean(verdict.where.file),
            "line": str(verdict.where.line),
            "time": f"{verdict.seconds:.3f}",
        }
        case = Xml.SubElement(suite, "testcase", told)
        if not verdict.passed:
            failure = Xml.SubElement(case, "failure", {"message": _clean(verdict.diff[0])})
            failure.text = _clean("\n".join(verdict.diff))
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + Xml.tostring(root, encoding="unicode").encode()


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
