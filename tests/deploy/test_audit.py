"""What `make audit` makes of pip-audit's words: known to be sound, known to be vulnerable, and not known are three."""

import json

import pytest

from tests.deploy.audit import audit

SOUND = json.dumps({"dependencies": [{"name": "orjson", "version": "3", "vulns": []}]})
BAD = json.dumps(
    {"dependencies": [{"name": "orjson", "version": "3", "vulns": [{"id": "PYSEC-1", "fix_versions": ["4"]}]}]}
)


@pytest.mark.parametrize(
    ("answers", "code", "words"),
    [
        ({"pypi": SOUND}, 0, "1 packages asked of pypi, 0 known"),
        ({"osv": SOUND}, 0, "asked of osv"),
        ({"pypi": BAD}, 1, "orjson 3: PYSEC-1, mended in 4"),
        ({}, 3, "NOT AUDITED, no database of vulnerabilities could be asked (pypi: no route; osv: no route)"),
    ],
)
def test_what_cannot_be_asked_is_neither_sound_nor_vulnerable(
    answers: dict[str, str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit(lambda lock, database: (answers.get(database, ""), "Traceback\nno route"), ["a.lock"]) == code
    assert words in capsys.readouterr().out


def test_a_finding_outweighs_a_lock_that_could_not_be_asked() -> None:
    for order in (["bad", "none"], ["none", "bad"]):
        assert audit(lambda lock, database: (BAD if lock == "bad" else "", ""), order) == 1
