"""Casting and columns of Fiddler's rows: whatever a record holds, a row is shaped or refused, and never an accident."""

import json
import math
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.model import Ack
from connector.targets import strict_json
from connector.targets.fiddler_files import line, table
from connector.targets.fiddler_rows import Destination, Model, Row, Shaped, cast, report, shape

KINDS: Final = ("int", "float", "bool", "str", "category", "vector", "timestamp", "")
ODD: Final = [2**63, -(2**63) - 1, 10**40, "9" * 30, "1e400", "inf", "nan", "-0", "", " ", "\0", "١", "1_000", "0x10"]
VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.sampled_from(ODD),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=3), below, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("value", "kind", "found"),
    [
        ("42", "int", 42),
        (42.0, "int", 42),
        (True, "int", 1),
        ("1.5", "float", 1.5),
        (1, "float", 1.0),
        ("TRUE", "bool", True),
        (0, "bool", False),
        (7, "str", "7"),
        (7, "category", "7"),
        ("[1, 2.5]", "vector", [1.0, 2.5]),
        ([1, "2"], "vector", [1.0, 2.0]),
        ("any", "timestamp", "any"),
        (None, "int", None),
    ],
)
def test_a_value_becomes_one_of_its_column(value: Any, kind: str, found: Any) -> None:
    assert cast(value, kind) == found


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1.5, "int"),
        ("1.5", "int"),
        (2**63, "int"),
        ("9" * 30, "int"),
        (math.inf, "int"),
        ("inf", "float"),
        ("nan", "float"),
        ([1], "float"),
        ("yes", "bool"),
        (2, "bool"),
        ([1], "str"),
        ({"a": 1}, "category"),
        ("1", "vector"),
        (["inf"], "vector"),
        ([[1]], "vector"),
        ({"a": 1}, "vector"),
    ],
)
def test_a_value_that_would_lose_something_is_refused_without_being_repeated(value: Any, kind: str) -> None:
    with pytest.raises(ValueError, match=f"takes {kind}, and the value is none"):
        cast(value, kind)


@given(st.dictionaries(st.sampled_from(KINDS), VALUES, max_size=5), st.booleans(), st.booleans())
def test_a_row_is_shaped_into_json_and_csv_or_refused(values: dict[str, Any], casts: bool, update: bool) -> None:
    try:
        strict_json.encode(values)
    except strict_json.Flaw:
        return  # `prepare` refuses these
    model = Model("m", {kind: kind for kind in KINDS}, id_column="id", time_column="at")
    at = datetime(2026, 1, 31, tzinfo=UTC)
    row = Row(Destination("p", "m"), values, "e", at, cast=casts, update=update, given_id=True)
    shaped = shape(row, model)
    list(report(row, model, shaped))
    if isinstance(shaped, Ack):
        assert casts
        return
    assert isinstance(shaped, Shaped)
    written = json.loads(strict_json.encode(shaped.values))
    assert written["id"] == "e"
    assert ("at" in written) is not update
    assert table([shaped.values]).decode().endswith(line(shaped.values.values()))


@pytest.mark.parametrize("form", ["%", "%Y-%", "plain", "", "%Q", "%Y\ud800"])
def test_a_time_format_that_is_none_stops_nobody(form: str) -> None:
    model = Model("m", {}, time_column="at", time_format=form)
    row = Row(Destination("p", "m"), {}, "e", datetime(2026, 1, 31, tzinfo=UTC), given_time=True)
    assert isinstance(shape(row, model), Shaped)
