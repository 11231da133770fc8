"""Bytes to values; what cannot be read says why and shows nothing of itself."""

import pytest

from connector.decode import DECODERS, decode_headers
from connector.model import Undecodable


@pytest.mark.parametrize(
    ("form", "data", "value"),
    [
        ("json", b'{"a": [1, 2.5, null, true, "\xc3\xa9"]}', {"a": [1, 2.5, None, True, "é"]}),
        ("json", b"7", 7),
        ("json", b'{"a": 1, "a": 2}', {"a": 2}),
        ("json", b"[18446744073709551615, -9223372036854775808]", [2**64 - 1, -(2**63)]),
        ("json", b"18446744073709551616", 2.0**64),
        ("string", b"caf\xc3\xa9", "café"),
        ("bytes", b"\xff\x00", "/wA="),
        ("bytes", b"", ""),
    ],
)
def test_bytes_become_the_value_of_their_format(form: str, data: bytes, value: object) -> None:
    assert DECODERS[form](data, ()) == value


@pytest.mark.parametrize("data", [b"", b"{", b"secret", b"NaN", b"\xff", b"[" * 5000, b'{"a":1}x', b"1e9999"])
def test_what_is_no_json_is_told_without_a_byte_of_it(data: bytes) -> None:
    value = DECODERS["json"](data, ())
    assert isinstance(value, Undecodable)
    assert value.code == "NotJSON"
    assert "secret" not in value.reason


def test_what_is_no_utf8_is_told_with_its_place() -> None:
    assert DECODERS["string"](b"ab\xff", ()) == Undecodable(
        "NotUTF8", "not UTF-8 at byte 2 of 3; set the format to bytes"
    )


def test_headers_keep_the_last_of_a_name_nulls_and_stray_bytes() -> None:
    assert decode_headers((("a", b"1"), ("a", b"2"), ("n", None), ("b", b"\xff"))) == {
        "a": "2",
        "n": None,
        "b": "\ufffd",
    }
