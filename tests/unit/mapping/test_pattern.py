"""What a pattern matches, what is refused and how: the documented rules of EventBridge in words of our own."""

import json
from types import MappingProxyType
from typing import Any

import pytest

from connector.mapping import EXPLAIN
from connector.mapping.pattern import compile_match
from connector.mapping.problem import Path, Position, Problem
from tests.unit.mapping.match import ROOT, compiled, problems, record

A, B = "harbour", "Harbour"

# (the pattern of `value`, a value, whether it matches)
VALUES: list[tuple[Any, Any, bool]] = [
    # exact values
    ({"berth": ["north"]}, {"berth": "north"}, True),
    ({"berth": ["north"]}, {"berth": "south"}, False),
    ({"berth": ["north"]}, {"berth": "North"}, False),
    ({"berth": ["north"]}, {}, False),
    ({"berth": ["north", "south"]}, {"berth": "south"}, True),
    ({"berth": ["north", "south"]}, {"berth": "west"}, False),
    ({"berth": ["a", "b", "c", "d", "e", "f"]}, {"berth": "f"}, True),
    ({"berth": ["a", "b", "c", "d", "e", "f"]}, {"berth": {"f": 1}}, False),
    ({"berth": ["a", "b", "c", "d", "e", "f"]}, {"berth": ["x", "f"]}, True),
    ({"berth": [""]}, {"berth": ""}, True),
    ({"berth": [""]}, {"berth": None}, False),
    ({"berth": [None]}, {"berth": None}, True),
    ({"berth": [None]}, {}, False),
    ({"berth": [None]}, {"berth": ""}, False),
    ({"berth": [None]}, {"berth": 0}, False),
    ({"tons": [40]}, {"tons": 40}, True),
    ({"tons": [40]}, {"tons": 40.0}, True),
    ({"tons": [40.0]}, {"tons": 40}, True),
    ({"tons": [40]}, {"tons": "40"}, False),
    ({"tons": ["40"]}, {"tons": 40}, False),
    ({"tons": [1, 2, 3, 4, 5, 6]}, {"tons": 6.0}, True),
    ({"tons": [1, 2, 3, 4, 5, 6]}, {"tons": True}, False),
    ({"tons": [1, 2, 3, 4, 5, 6]}, {"tons": [[6]]}, True),
    ({"tons": [9007199254740993]}, {"tons": 9007199254740993}, True),
    ({"tons": [9007199254740993]}, {"tons": 9007199254740992}, False),
    ({"open": [True]}, {"open": True}, True),
    ({"open": [True]}, {"open": 1}, False),
    ({"open": [1]}, {"open": True}, False),
    ({"open": [0]}, {"open": False}, False),
    ({"open": [0]}, {"open": -0.0}, True),
    ({"open": [False]}, {"open": 0}, False),
    ({"open": [False]}, {"open": False}, True),
    ({"open": ["true"]}, {"open": True}, False),
    ({"open": [True, "yes", 1]}, {"open": "yes"}, True),
    # fields: all of them
    ({"berth": ["n"], "tons": [1]}, {"berth": "n", "tons": 1, "more": 0}, True),
    ({"berth": ["n"], "tons": [1]}, {"berth": "n", "tons": 2}, False),
    ({"ship": {"flag": ["NO"]}}, {"ship": {"flag": "NO"}}, True),
    ({"ship": {"flag": ["NO"]}}, {"ship": {"flag": "SE"}}, False),
    ({"ship": {"flag": ["NO"]}}, {"ship": "NO"}, False),
    ({"ship": {"flag": ["NO"]}}, {"ship": None}, False),
    ({"ship": {"flag": ["NO"]}}, {"flag": "NO"}, False),
    ({"ship": ["NO"]}, {"ship": {"NO": "NO"}}, False),
    ({"ship.flag": ["NO"]}, {"ship": {"flag": "NO"}}, False),
    ({"ship.flag": ["NO"]}, {"ship.flag": "NO"}, True),
    # prefix, suffix
    ({"berth": [{"prefix": "nor"}]}, {"berth": "north"}, True),
    ({"berth": [{"prefix": "nor"}]}, {"berth": "Nor"}, False),
    ({"berth": [{"prefix": "nor"}]}, {"berth": "no"}, False),
    ({"berth": [{"prefix": "4"}]}, {"berth": 40}, False),
    ({"berth": [{"prefix": ""}]}, {"berth": ""}, True),
    ({"berth": [{"prefix": ""}]}, {"berth": None}, False),
    ({"berth": [{"prefix": ["no", "so"]}]}, {"berth": "south"}, True),
    ({"berth": [{"prefix": ["no", "so"]}]}, {"berth": "west"}, False),
    ({"berth": [{"prefix": {"equals-ignore-case": "NOR"}}]}, {"berth": "north"}, True),
    ({"berth": [{"prefix": {"equals-ignore-case": "nor"}}]}, {"berth": "NO"}, False),
    ({"file": [{"suffix": ".png"}]}, {"file": "a.png"}, True),
    ({"file": [{"suffix": ".png"}]}, {"file": "a.PNG"}, False),
    ({"file": [{"suffix": ".png"}]}, {"file": ".pn"}, False),
    ({"file": [{"suffix": [".png", ".gif"]}]}, {"file": "a.gif"}, True),
    ({"file": [{"suffix": {"equals-ignore-case": ".PNG"}}]}, {"file": "a.png"}, True),
    ({"file": [{"suffix": {"equals-ignore-case": ".png"}}]}, {"file": "a.jpg"}, False),
    ({"file": [{"suffix": {"equals-ignore-case": ""}}]}, {"file": "a"}, True),
    # equals-ignore-case
    ({"port": [{"equals-ignore-case": "OSLO"}]}, {"port": "oslo"}, True),
    ({"port": [{"equals-ignore-case": "OSLO"}]}, {"port": "Oslo "}, False),
    ({"port": [{"equals-ignore-case": "ÅLESUND"}]}, {"port": "ålesund"}, True),
    ({"port": [{"equals-ignore-case": "5"}]}, {"port": 5}, False),
    # anything-but
    ({"state": [{"anything-but": "idle"}]}, {"state": "busy"}, True),
    ({"state": [{"anything-but": "idle"}]}, {"state": "idle"}, False),
    ({"state": [{"anything-but": "idle"}]}, {}, False),
    ({"state": [{"anything-but": "idle"}]}, {"state": None}, True),
    ({"state": [{"anything-but": "idle"}]}, {"state": 5}, True),
    ({"state": [{"anything-but": "idle"}]}, {"state": {}}, False),
    ({"state": [{"anything-but": "idle"}]}, {"state": {"idle": 1}}, False),
    ({"state": [{"anything-but": "idle"}]}, {"state": []}, False),
    ({"state": [{"anything-but": "idle"}]}, {"state": ["idle"]}, False),
    ({"state": [{"anything-but": "idle"}]}, {"state": ["idle", "busy"]}, True),
    ({"state": [{"anything-but": ["idle", "off"]}]}, {"state": "off"}, False),
    ({"state": [{"anything-but": ["idle", "off"]}]}, {"state": "on"}, True),
    ({"tons": [{"anything-but": 100}]}, {"tons": 100.0}, False),
    ({"tons": [{"anything-but": 1}]}, {"tons": True}, True),
    ({"tons": [{"anything-but": [100, 200]}]}, {"tons": 200}, False),
    ({"tons": [{"anything-but": [100, 200]}]}, {"tons": "200"}, True),
    ({"test": [{"anything-but": True}]}, {"test": False}, True),
    ({"test": [{"anything-but": True}]}, {"test": True}, False),
    ({"test": [{"anything-but": True}]}, {"test": 1}, True),
    ({"test": [{"anything-but": None}]}, {"test": None}, False),
    ({"state": [{"anything-but": {"prefix": "id"}}]}, {"state": "idle"}, False),
    ({"state": [{"anything-but": {"prefix": "id"}}]}, {"state": "busy"}, True),
    ({"state": [{"anything-but": {"prefix": "id"}}]}, {"state": 7}, True),
    ({"state": [{"anything-but": {"prefix": ["id", "bu"]}}]}, {"state": "busy"}, False),
    ({"file": [{"anything-but": {"suffix": ".tmp"}}]}, {"file": "a.tmp"}, False),
    ({"file": [{"anything-but": {"suffix": [".tmp", ".bak"]}}]}, {"file": "a.txt"}, True),
    ({"file": [{"anything-but": {"wildcard": "*/lib/*"}}]}, {"file": "/usr/lib/x"}, False),
    ({"file": [{"anything-but": {"wildcard": ["*/lib/*", "*/bin/*"]}}]}, {"file": "/bin/x"}, False),
    ({"file": [{"anything-but": {"wildcard": ["*/lib/*", "*/bin/*"]}}]}, {"file": "/opt/x"}, True),
    ({"state": [{"anything-but": {"equals-ignore-case": "IDLE"}}]}, {"state": "Idle"}, False),
    ({"state": [{"anything-but": {"equals-ignore-case": ["IDLE", "OFF"]}}]}, {"state": "on"}, True),
    ({"state": [{"anything-but": ["a"]}, {"anything-but": ["b"]}]}, {"state": "a"}, True),
    # numeric
    ({"tons": [{"numeric": ["=", 301.8]}]}, {"tons": 3.018e2}, True),
    ({"tons": [{"numeric": ["=", 0]}]}, {"tons": False}, False),
    ({"tons": [{"numeric": ["<", 10]}]}, {"tons": 10}, False),
    ({"tons": [{"numeric": ["<=", 10]}]}, {"tons": 10}, True),
    ({"tons": [{"numeric": [">", 10]}]}, {"tons": 10}, False),
    ({"tons": [{"numeric": [">=", 10]}]}, {"tons": 10}, True),
    ({"tons": [{"numeric": [">", 0, "<=", 5]}]}, {"tons": 5}, True),
    ({"tons": [{"numeric": [">", 0, "<=", 5]}]}, {"tons": 0}, False),
    ({"tons": [{"numeric": [">=", -5.5, "<", 0]}]}, {"tons": -5.5}, True),
    ({"tons": [{"numeric": [">", 0]}]}, {"tons": "5"}, False),
    ({"tons": [{"numeric": [">", 0]}]}, {"tons": True}, False),
    ({"tons": [{"numeric": [">", 0]}]}, {"tons": None}, False),
    ({"tons": [{"numeric": [">", 0]}]}, {"tons": [-1, 3]}, True),
    ({"at": [{"numeric": [">", 1_699_999_999_999]}]}, {"at": 1_700_000_000_000}, True),
    ({"tons": [{"numeric": [">", 10**30]}]}, {"tons": 10**31}, True),
    ({"tons": [{"numeric": ["<", 0]}, {"numeric": [">", 9]}]}, {"tons": 10}, True),
    # exists looks at leaves
    ({"berth": [{"exists": True}]}, {"berth": "n"}, True),
    ({"berth": [{"exists": True}]}, {"berth": None}, True),
    ({"berth": [{"exists": True}]}, {"berth": False}, True),
    ({"berth": [{"exists": True}]}, {}, False),
    ({"berth": [{"exists": True}]}, {"berth": {"x": 1}}, False),
    ({"berth": [{"exists": True}]}, {"berth": []}, False),
    ({"berth": [{"exists": True}]}, {"berth": [[], [1]]}, True),
    ({"berth": [{"exists": True}]}, {"berth": [{"x": 1}]}, False),
    ({"berth": [{"exists": False}]}, {}, True),
    ({"berth": [{"exists": False}]}, {"berth": None}, False),
    ({"berth": [{"exists": False}]}, {"berth": {"x": 1}}, True),
    ({"berth": [{"exists": False}]}, {"berth": [[], {}]}, True),
    ({"berth": [{"exists": False}]}, {"berth": [1]}, False),
    ({"berth": [{"exists": False}, "n"]}, {"berth": "n"}, True),
    ({"berth": [{"exists": False}, "n"]}, {"berth": "s"}, False),
    ({"ship": {"flag": [{"exists": False}]}}, {}, True),
    ({"ship": {"flag": [{"exists": False}]}}, {"ship": "x"}, True),
    ({"ship": {"flag": [{"exists": False}]}}, {"ship": {"flag": "NO"}}, False),
    # cidr
    ({"ip": [{"cidr": "10.0.0.0/24"}]}, {"ip": "10.0.0.33"}, True),
    ({"ip": [{"cidr": "10.0.0.0/24"}]}, {"ip": "10.0.1.33"}, False),
    ({"ip": [{"cidr": "10.0.0.9/24"}]}, {"ip": "10.0.0.33"}, True),
    ({"ip": [{"cidr": "10.0.0.0/24"}]}, {"ip": 167772161}, False),
    ({"ip": [{"cidr": "10.0.0.0/24"}]}, {"ip": "ten"}, False),
    ({"ip": [{"cidr": "0.0.0.0/0"}]}, {"ip": "::1"}, False),
    ({"ip": [{"cidr": "2001:db8::/32"}]}, {"ip": "2001:DB8:0:0::1"}, True),
    ({"ip": [{"cidr": "2001:db8::/32"}]}, {"ip": "2001:db9::1"}, False),
    ({"ip": [{"cidr": "fe80::/10"}]}, {"ip": "fe80::1%eth0"}, False),
    # wildcard
    ({"file": [{"wildcard": "dir/*.png"}]}, {"file": "dir/a/b.png"}, True),
    ({"file": [{"wildcard": "dir/*.png"}]}, {"file": "dir/.png"}, True),
    ({"file": [{"wildcard": "dir/*.png"}]}, {"file": "dir.png"}, False),
    ({"file": [{"wildcard": "*"}]}, {"file": ""}, True),
    ({"file": [{"wildcard": "*"}]}, {"file": 5}, False),
    ({"file": [{"wildcard": "plain"}]}, {"file": "plain"}, True),
    ({"file": [{"wildcard": "plain"}]}, {"file": "plainer"}, False),
    ({"file": [{"wildcard": ""}]}, {"file": ""}, True),
    ({"file": [{"wildcard": "*a*b*"}]}, {"file": "xaxbx"}, True),
    ({"file": [{"wildcard": "*a*b*"}]}, {"file": "xbxa"}, False),
    ({"file": [{"wildcard": "a*a"}]}, {"file": "a"}, False),
    ({"file": [{"wildcard": "a*a"}]}, {"file": "aa"}, True),
    ({"file": [{"wildcard": "a*b"}]}, {"file": "a\nb"}, True),
    ({"file": [{"wildcard": r"a\*b"}]}, {"file": "a*b"}, True),
    ({"file": [{"wildcard": r"a\*b"}]}, {"file": "axb"}, False),
    ({"file": [{"wildcard": r"a\\*b"}]}, {"file": "a\\xb"}, True),
    ({"file": [{"wildcard": r"*\**"}]}, {"file": "5*5"}, True),
    ({"file": [{"wildcard": "a.c*"}]}, {"file": "abc"}, False),
    # arrays in the record
    ({"tags": ["b"]}, {"tags": ["a", "b"]}, True),
    ({"tags": ["c"]}, {"tags": ["a", "b"]}, False),
    ({"tags": ["c"]}, {"tags": []}, False),
    ({"tags": [None]}, {"tags": [1, None]}, True),
    ({"tags": ["b"]}, {"tags": [["a"], [["b"]]]}, True),
    ({"tags": [{"prefix": "b"}]}, {"tags": ["a", "bb"]}, True),
    ({"crew": {"name": ["Anna"]}}, {"crew": [{"name": "Bo"}, {"name": "Anna"}]}, True),
    ({"crew": {"name": ["Anna"]}}, {"crew": [[{"name": "Bo"}], [{"name": "Anna"}]]}, True),
    ({"crew": {"name": ["Anna"]}}, {"crew": ["Anna", 1]}, False),
    ({"crew": {"name": ["Anna"], "rank": ["mate"]}}, {"crew": [{"name": "Anna", "rank": "mate"}]}, True),
    (
        {"crew": {"name": ["Anna"], "rank": ["mate"]}},
        {"crew": [{"name": "Anna", "rank": "cook"}, {"name": "Bo", "rank": "mate"}]},
        False,
    ),
    ({"crew": {"ids": ["x"]}}, {"crew": [{"ids": ["y"]}, {"ids": [["x"]]}]}, True),
    ({"a": {"b": {"c": [1], "d": [2]}}}, {"a": [{"b": [{"c": 1}, {"d": 2}]}, {"b": {"c": 1, "d": 2}}]}, True),
    ({"a": {"b": {"c": [1], "d": [2]}}}, {"a": [{"b": [{"c": 1}, {"d": 2}]}, {"b": {"c": 1}}]}, False),
    ({"crew": {"nick": [{"exists": False}]}}, {"crew": [{"name": "Bo"}, {"nick": "A"}]}, False),
    ({"crew": {"nick": [{"exists": False}]}}, {"crew": [{"name": "Bo"}, 5, [{"name": "Al"}]]}, True),
    ({"crew": {"nick": [{"exists": False}]}}, {"crew": []}, True),
    ({"crew": {"name": ["Bo"], "nick": [{"exists": False}]}}, {"crew": [{"name": "Bo"}, {"nick": "A"}]}, True),
    ({"crew": {"name": ["Bo"], "nick": [{"exists": False}]}}, {"crew": [{"name": "Bo", "nick": "B"}]}, False),
    # $or
    ({"$or": [{"psi": [{"numeric": [">", 80]}]}, {"alarm": [True]}]}, {"psi": 10, "alarm": True}, True),
    ({"$or": [{"psi": [{"numeric": [">", 80]}]}, {"alarm": [True]}]}, {"psi": 81}, True),
    ({"$or": [{"psi": [{"numeric": [">", 80]}]}, {"alarm": [True]}]}, {"psi": 10}, False),
    ({"kind": ["p"], "$or": [{"a": [1]}, {"b": [2]}]}, {"kind": "q", "a": 1}, False),
    ({"kind": ["p"], "$or": [{"a": [1], "c": [3]}, {"b": [2]}]}, {"kind": "p", "a": 1}, False),
    ({"kind": ["p"], "$or": [{"a": [1], "c": [3]}, {"b": [2]}]}, {"kind": "p", "a": 1, "c": 3}, True),
    ({"$or": [{"a": [1], "$or": [{"c": [3]}, {"d": [4]}]}, {"b": [2]}]}, {"a": 1, "d": 4}, True),
    ({"$or": [{"a": [1], "$or": [{"c": [3]}, {"d": [4]}]}, {"b": [2]}]}, {"a": 1, "b": 1}, False),
    ({"ship": {"$or": [{"flag": ["NO"]}, {"flag": ["SE"]}]}}, {"ship": {"flag": "SE"}}, True),
    ({"ship": {"$or": [{"flag": ["NO"]}, {"tons": [1]}]}}, {"ship": [{"flag": "SE"}, {"tons": 1}]}, True),
    # a field beside $or and inside it: one element of an array must satisfy both
    ({"s": {"x": [1]}, "$or": [{"s": {"y": [1]}}, {"t": [1]}]}, {"s": [{"x": 1}, {"y": 1}]}, False),
    ({"s": {"x": [1]}, "$or": [{"s": {"y": [1]}}, {"t": [1]}]}, {"s": [{"x": 1, "y": 1}]}, True),
    ({"s": {"x": [1]}, "$or": [{"s": {"y": [1]}}, {"t": [1]}]}, {"s": [{"x": 1}, {"y": 1}], "t": 1}, True),
    ({"s": {"$or": [{"x": [1]}, {"y": [{"exists": False}]}]}}, {"s": [{"y": 1}, {"z": 1}]}, False),
    ({"s": {"$or": [{"x": [1]}, {"y": [{"exists": False}]}]}}, {"s": [{"y": 1}, {"x": 1}]}, True),
    # names that mean something to Python, and text that UTF-8 cannot carry
    ({"__class__": {"__name__": ["dict"]}}, {}, False),
    ({"__class__": {"__name__": ["dict"]}}, {"__class__": {"__name__": "dict"}}, True),
    ({"get": ["x"]}, {"get": "x"}, True),
    ({"\ud800": ["\udfff"]}, {"\ud800": "\udfff"}, True),
    ({"n": [{"prefix": "\ud800"}]}, {"n": "\ud800\udc00"}, True),
]

# (a pattern, fields of a record, whether it matches)
RECORDS: list[tuple[Any, dict[str, Any], bool]] = [
    ({"topic": ["a.b"]}, {"topic": "a.b"}, True),
    ({"topic": [{"prefix": "a."}]}, {"topic": "b.a."}, False),
    ({"partition": [0, 1]}, {"partition": 1}, True),
    ({"offset": [{"numeric": [">=", 100]}]}, {"offset": 99}, False),
    ({"timestamp": [{"numeric": [">", 5_000_000_000]}]}, {"timestamp": 1_700_000_000_000}, True),
    ({"key": ["k"]}, {"key": "k"}, True),
    ({"key": {"id": [7]}}, {"key": {"id": 7}}, True),
    ({"key": {"id": [7]}}, {"key": "7"}, False),
    ({"key": [None]}, {"key": None}, True),
    ({"value": [None]}, {"value": None}, True),
    ({"value": [{"exists": True}]}, {"value": None}, True),
    ({"value": [{"prefix": "ERROR"}]}, {"value": "ERROR disk full"}, True),
    ({"value": ["x"]}, {"value": ["y", "x"]}, True),
    ({"value": {"a": [1]}}, {"value": [{"a": 2}, {"a": 1}]}, True),
    ({"value": {"a": [1]}}, {"value": b"\x00"}, False),
    ({"headers": {"event-type": [{"prefix": "order."}]}}, {"headers": {"event-type": "order.paid"}}, True),
    ({"headers": {"event-type": [{"prefix": "order."}]}}, {"headers": {}}, False),
    ({"headers": {"trace": [None]}}, {"headers": {"trace": None}}, True),
    ({"headers": {"trace": [{"exists": False}]}}, {"headers": MappingProxyType({"a": "b"})}, True),
    ({"headers": {"a": ["b"]}}, {"headers": MappingProxyType({"a": "b"})}, True),
    ({"headers": {"$or": [{"a": ["b"]}, {"c": ["d"]}]}}, {"headers": {"c": "d"}}, True),
    ({"$or": [{"headers": {"a": ["b"]}}, {"value": {"a": ["b"]}}]}, {"value": {"a": "b"}}, True),
    ({"value": {"x": [1]}, "$or": [{"value": {"y": [1]}}, {"key": ["k"]}]}, {"value": {"x": 1, "y": 1}}, True),
    ({"value": {"x": [1]}, "$or": [{"value": {"y": [1]}}, {"key": ["k"]}]}, {"value": {"x": 1}, "key": "k"}, True),
    ({"value": {"x": [1]}, "$or": [{"value": {"y": [1]}}, {"key": ["k"]}]}, {"value": {"y": 1}, "key": "k"}, False),
    ({"topic": ["t"], "value": {"a": [1]}}, {"topic": "t", "value": {"a": 1}}, True),
    ({"topic": ["t"], "value": {"a": [1]}}, {"topic": "u", "value": {"a": 1}}, False),
]

# (a pattern, the code, where below the root, a word of what to do)
REFUSED: list[tuple[Any, str, Path, str]] = [
    ([], "PAT001", (), "match: {"),
    ("PAID", "PAT001", (), "match: {"),
    (None, "PAT001", (), "match: {"),
    ({}, "PAT002", (), "leave `match` out"),
    ({"value": {}}, "PAT002", ("value",), "name one below"),
    ({"value": {"a": {"b": {}}}}, "PAT002", ("value", "a", "b"), "name one below"),
    ({"value": {1: ["a"]}}, "PAT003", ("value",), "quotes"),
    ({"value": {None: ["a"]}}, "PAT003", ("value",), "quotes"),
    ({"header": {"a": ["b"]}}, "PAT004", ("header",), '"headers"'),
    ({"vlaue": {"a": ["b"]}}, "PAT004", ("vlaue",), '"value"'),
    ({"status": ["PAID"]}, "PAT004", ("status",), "value: {status"),
    ({"value.status": ["PAID"]}, "PAT004", ("value.status",), "value: {status"),
    ({"detail-type": ["x"]}, "PAT004", ("detail-type",), "under value"),
    ({"value": {"status": "PAID"}}, "PAT005", ("value", "status"), '["PAID"]'),
    ({"value": {"open": True}}, "PAT005", ("value", "open"), "[true]"),
    ({"value": {"gone": None}}, "PAT005", ("value", "gone"), "[null]"),
    ({"value": {"berth": {"prefix": "n"}}}, "PAT005", ("value", "berth", "prefix"), '[{prefix: "n"}]'),
    ({"value": {"berth": {"exists": True}}}, "PAT005", ("value", "berth", "exists"), "[{exists: true}]"),
    ({"topic": "orders"}, "PAT005", ("topic",), '["orders"]'),
    ({"value": {"a": []}}, "PAT006", ("value", "a"), "list a value"),
    ({"value": {"a": [{"anything-but": []}]}}, "PAT006", ("value", "a", 0, "anything-but"), "list a value"),
    ({"value": {"a": [{"prefix": []}]}}, "PAT006", ("value", "a", 0, "prefix"), "prefix"),
    ({"value": {"a": [{"prefx": "x"}]}}, "PAT007", ("value", "a", 0, "prefx"), '"prefix"'),
    ({"value": {"a": [{"anything_but": "x"}]}}, "PAT007", ("value", "a", 0, "anything_but"), '"anything-but"'),
    ({"value": {"a": [{"startsWith": "x"}]}}, "PAT007", ("value", "a", 0, "startsWith"), '"prefix"'),
    ({"value": {"a": [{"equalsIgnoreCase": "x"}]}}, "PAT007", ("value", "a", 0, "equalsIgnoreCase"), '"equals-ig'),
    ({"value": {"a": [{">": 5}]}}, "PAT007", ("value", "a", 0, ">"), '"numeric"'),
    ({"value": {"a": [{"regex": "x"}]}}, "PAT007", ("value", "a", 0, "regex"), "the operators are"),
    ({"value": {"a": [{5: "x"}]}}, "PAT007", ("value", "a", 0), "the operators are"),
    ({"value": {"a": [{}]}}, "PAT008", ("value", "a", 0), "when"),
    ({"value": {"a": [{"prefix": "a", "suffix": "b"}]}}, "PAT008", ("value", "a", 0), "when"),
    ({"value": {"a": [{"prefix": 5}]}}, "PAT009", ("value", "a", 0, "prefix"), 'prefix: "5"'),
    ({"value": {"a": [{"prefix": ["x", None]}]}}, "PAT009", ("value", "a", 0, "prefix", 1), "text"),
    ({"value": {"a": [{"prefix": {"suffix": "x"}}]}}, "PAT009", ("value", "a", 0, "prefix"), "equals-ignore-case"),
    ({"value": {"a": [{"suffix": {}}]}}, "PAT009", ("value", "a", 0, "suffix"), "equals-ignore-case"),
    ({"value": {"a": [{"equals-ignore-case": ["x"]}]}}, "PAT009", ("value", "a", 0, "equals-ignore-case"), "text"),
    ({"value": {"a": [{"wildcard": ["x"]}]}}, "PAT009", ("value", "a", 0, "wildcard"), "text"),
    ({"value": {"a": [{"exists": "true"}]}}, "PAT009", ("value", "a", 0, "exists"), "exists: true"),
    ({"value": {"a": [{"exists": 1}]}}, "PAT009", ("value", "a", 0, "exists"), "exists: true"),
    ({"value": {"a": [{"numeric": 5}]}}, "PAT010", ("value", "a", 0, "numeric"), "numeric: ["),
    ({"value": {"a": [{"numeric": [">"]}]}}, "PAT010", ("value", "a", 0, "numeric"), "numeric: ["),
    ({"value": {"a": [{"numeric": [">", "5"]}]}}, "PAT010", ("value", "a", 0, "numeric", 1), "numeric: ["),
    ({"value": {"a": [{"numeric": [">", True]}]}}, "PAT010", ("value", "a", 0, "numeric", 1), "numeric: ["),
    ({"value": {"a": [{"numeric": ["==", 5]}]}}, "PAT010", ("value", "a", 0, "numeric", 0), "numeric: ["),
    ({"value": {"a": [{"numeric": [5, ">"]}]}}, "PAT010", ("value", "a", 0, "numeric", 0), "numeric: ["),
    ({"value": {"a": [{"numeric": [[], {}]}]}}, "PAT010", ("value", "a", 0, "numeric", 0), "numeric: ["),
    ({"value": {"a": [{"numeric": ["<", 9, ">", 1]}]}}, "PAT010", ("value", "a", 0, "numeric"), "numeric: ["),
    ({"value": {"a": [{"numeric": ["=", 1, "<", 9]}]}}, "PAT010", ("value", "a", 0, "numeric"), "numeric: ["),
    ({"value": {"a": [{"numeric": [">", 9, "<", 1]}]}}, "PAT011", ("value", "a", 0, "numeric"), "swap"),
    ({"value": {"a": [{"numeric": [">=", 5, "<=", 5]}]}}, "PAT011", ("value", "a", 0, "numeric"), '["=", 5]'),
    ({"value": {"a": [{"wildcard": "a**b"}]}}, "PAT012", ("value", "a", 0, "wildcard"), "write one *"),
    ({"value": {"a": [{"wildcard": r"a\d"}]}}, "PAT012", ("value", "a", 0, "wildcard"), "backslash"),
    ({"value": {"a": [{"wildcard": "a\\"}]}}, "PAT012", ("value", "a", 0, "wildcard"), "backslash"),
    ({"value": {"a": [{"cidr": "10.0.0.1"}]}}, "PAT013", ("value", "a", 0, "cidr"), "10.0.0.0/8"),
    ({"value": {"a": [{"cidr": "10.0.0.0/33"}]}}, "PAT013", ("value", "a", 0, "cidr"), "10.0.0.0/8"),
    ({"value": {"a": [{"cidr": "10.0.0.0/255.0.0.0"}]}}, "PAT013", ("value", "a", 0, "cidr"), "10.0.0.0/8"),
    ({"value": {"a": [{"cidr": "300.0.0.0/8"}]}}, "PAT013", ("value", "a", 0, "cidr"), "10.0.0.0/8"),
    ({"value": {"a": [{"anything-but": ["x", 5]}]}}, "PAT014", ("value", "a", 0, "anything-but"), "when"),
    ({"value": {"a": [{"anything-but": [None]}]}}, "PAT014", ("value", "a", 0, "anything-but"), "when"),
    ({"value": {"a": [{"anything-but": [{"prefix": "x"}]}]}}, "PAT014", ("value", "a", 0, "anything-but"), "when"),
    (
        {"value": {"a": [{"anything-but": {"numeric": [">", 5]}}]}},
        "PAT014",
        ("value", "a", 0, "anything-but"),
        "prefix",
    ),
    ({"value": {"a": [{"anything-but": {}}]}}, "PAT014", ("value", "a", 0, "anything-but"), "prefix"),
    ({"value": {"a": [{"anything-but": {"prefix": ""}}]}}, "PAT014", ("value", "a", 0, "anything-but", "prefix"), '""'),
    (
        {"value": {"a": [{"anything-but": {"wildcard": 5}}]}},
        "PAT014",
        ("value", "a", 0, "anything-but", "wildcard"),
        "5",
    ),
    ({"value": {"$or": {"a": [1]}}}, "PAT015", ("value", "$or"), "$or: ["),
    ({"value": {"$or": [{"a": [1]}]}}, "PAT015", ("value", "$or"), "without $or"),
    ({"value": {"$or": [{"a": [1]}, "b"]}}, "PAT015", ("value", "$or", 1), "field"),
    ({"value": {"$or": [{"numeric": [123]}, {"a": [1]}]}}, "PAT016", ("value", "$or", 0, "numeric"), "list of a field"),
    ({"value": {"$or": [{"b": {"prefix": ["x"]}}, {"a": [1]}]}}, "PAT016", ("value", "$or", 0, "b", "prefix"), "list"),
    ({"value": {"a": [["x"]]}}, "PAT020", ("value", "a", 0), "without the inner"),
    ({"value": {"a": [float("inf")]}}, "PAT019", ("value", "a", 0), "finite"),
    ({"value": {"a": [float("nan")]}}, "PAT019", ("value", "a", 0), "finite"),
    ({"value": {"a": [b"x"]}}, "PAT019", ("value", "a", 0), "quotes"),
    ({"topic": {"a": ["x"]}}, "PAT021", ("topic",), "topic: ["),
    ({"offset": {"a": ["x"]}}, "PAT021", ("offset",), "offset: ["),
    ({"headers": ["x"]}, "PAT021", ("headers",), "name the header"),
    ({"headers": {"a": {"b": ["x"]}}}, "PAT021", ("headers", "a"), "a: ["),
    ({"value": {"a": ["x"], "$or": [{"a": ["x"]}, {"b": [1]}]}}, "PAT024", ("value", "$or", 0, "a"), "each branch"),
]

WARNED: list[tuple[Any, str, Path]] = [
    ({"headers": {"retries": [3]}}, "PAT022", ("headers", "retries")),
    ({"headers": {"retries": [{"numeric": [">", 3]}]}}, "PAT022", ("headers", "retries")),
    ({"headers": {"$or": [{"a": [True]}, {"b": ["x"]}]}}, "PAT022", ("headers", "$or", 0, "a")),
    ({"partition": ["0"]}, "PAT022", ("partition",)),
    ({"timestamp": [{"prefix": "2024"}]}, "PAT022", ("timestamp",)),
    ({"value": {"total": {"numeric": [">", 5]}}}, "PAT023", ("value", "total", "numeric")),
    ({"value": {"state": {"anything-but": ["idle"]}}}, "PAT023", ("value", "state", "anything-but")),
]


@pytest.mark.parametrize(("pattern", "value", "expected"), VALUES)
def test_a_pattern_of_the_value_matches_as_documented(pattern: Any, value: Any, expected: bool) -> None:
    match = compiled({"value": pattern})
    assert match(record(value=value)) is expected
    assert match.test(record(value=value)) is expected
    assert (match.explain(record(value=value)) is None) is expected


@pytest.mark.parametrize(("pattern", "fields", "expected"), RECORDS)
def test_a_pattern_of_the_record_matches_as_documented(pattern: Any, fields: dict[str, Any], expected: bool) -> None:
    match = compiled(pattern)
    assert match(record(**fields)) is expected
    assert (match.explain(record(**fields)) is None) is expected


@pytest.mark.parametrize(("pattern", "value", "expected"), VALUES[:40])
def test_the_elements_of_an_array_count_like_the_value_itself(pattern: Any, value: Any, expected: bool) -> None:
    assert compiled({"value": pattern})(record(value=[[], [value]])) is expected


@pytest.mark.parametrize(("pattern", "code", "below", "word"), REFUSED)
def test_a_pattern_that_eventbridge_refuses_is_refused_with_the_place_and_the_mend(
    pattern: Any, code: str, below: Path, word: str
) -> None:
    (problem,) = problems(pattern)
    assert (problem.code, problem.level) == (code, "error")
    assert problem.where == Position("routes.yaml", 1 + len(ROOT) + len(below), 1)
    assert word in problem.mend
    assert problem.message


@pytest.mark.parametrize(("pattern", "code", "below"), WARNED)
def test_a_legal_pattern_that_is_surely_a_mistake_is_compiled_with_a_warning(
    pattern: Any, code: str, below: Path
) -> None:
    (problem,) = problems(pattern)
    assert (problem.code, problem.level) == (code, "warning")
    assert problem.where.line == 1 + len(ROOT) + len(below)
    assert compiled(pattern)(record(value={}, partition=7)) is False


def test_a_number_beside_text_in_a_header_is_no_warning() -> None:
    assert problems({"headers": {"retries": [3, "3"]}}) == []


def test_all_mistakes_are_told_at_once() -> None:
    found = problems(
        {"vlaue": {}, "value": {"a": "x", "b": [], "c": [{"prefx": 1}], "$or": [{"d": [{}]}]}, "topic": "t"}
    )
    assert [problem.code for problem in found] == ["PAT004", "PAT005", "PAT006", "PAT007", "PAT015", "PAT008", "PAT005"]


def test_a_mistake_is_told_as_a_person_reads_it() -> None:
    def locate(path: Path) -> Position:
        assert path == (*ROOT, "value", "status")
        return Position("orders.yaml", 17, 9)

    report: list[Problem] = []
    assert compile_match({"value": {"status": "PAID"}}, ROOT, locate, report) is None
    assert str(report[0]) == (
        'orders.yaml:17:9: PAT005 the values of a field are a list, not text (put it into brackets: ["PAID"])'
    )
    assert report[0].path == "routes[0].match.value.status"


def test_every_code_of_a_pattern_is_said_in_a_test_and_explained() -> None:
    used = {code for _, code, _, _ in REFUSED} | {code for _, code, _ in WARNED} | {"PAT017", "PAT018"}
    assert used == {code for code in EXPLAIN if code.startswith("PAT")}


def test_more_than_a_thousand_combinations_of_or_are_refused() -> None:
    def pattern(sizes: list[int]) -> Any:
        return {"value": {f"f{i}": {"$or": [{f"g{j}": [1]} for j in range(size)]} for i, size in enumerate(sizes)}}

    assert [problem.code for problem in problems(pattern([10, 10, 11]))] == ["PAT017"]
    assert problems(pattern([10, 10, 10])) == []


def test_sixty_objects_may_nest_and_no_more() -> None:
    def nested(levels: int, leaf: Any) -> Any:
        for _ in range(levels):
            leaf = {"a": leaf}
        return leaf

    fits = compiled({"value": nested(59, [1])})
    assert fits(record(value=nested(59, 1))) is True
    assert fits(record(value=nested(58, 1))) is False
    assert [problem.code for problem in problems({"value": nested(60, [1])})] == ["PAT018"]
    assert [problem.code for problem in problems({"value": nested(5_000, [1])})] == ["PAT018"]


def test_a_pattern_that_contains_itself_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop.update(a=loop, b=loop)
    assert "PAT018" in {problem.code for problem in problems({"value": loop})}


def test_ten_thousand_levels_of_a_record_are_no_trouble() -> None:
    array: Any = "x"
    for _ in range(10_000):
        array = [array]
    value: Any = {"a": array}
    for _ in range(10_000):
        value = {"b": value}
    assert compiled({"value": {"b": {"b": ["x"]}}})(record(value=value)) is False
    assert compiled({"value": {"b": {"b": [{"exists": False}]}}})(record(value=value)) is True
    assert compiled({"value": {"b": {"b": [{"anything-but": "x"}]}}})(record(value={"b": {"b": array}})) is False
    assert compiled({"value": {"a": ["x"]}})(record(value={"a": array})) is True
    assert compiled({"value": {"a": {"c": ["x"]}}})(record(value={"a": array})) is False
    reason = compiled({"value": ["x"]}).explain(record(value=value))
    assert reason == ('value is an object, but must be "x"', (*ROOT, "value"))
    while isinstance(value, dict | list):  # taken apart by hand: freeing it at once would be the interpreter's trouble
        value = next(iter(value.values())) if isinstance(value, dict) else value[0]


def test_huge_texts_and_numbers_are_no_trouble() -> None:
    huge = record(value={"a": "a" * 5_000_000, "n": 10**10_000, "f": float("inf")})
    assert compiled({"value": {"a": [{"wildcard": "*a*a*a*a*b"}]}})(huge) is False
    assert compiled({"value": {"a": [{"equals-ignore-case": "A"}, {"cidr": "10.0.0.0/8"}]}})(huge) is False
    assert compiled({"value": {"a": [{"prefix": {"equals-ignore-case": "AA"}}]}})(huge) is True
    assert compiled({"value": {"n": [{"numeric": [">", 1.5]}], "f": [{"numeric": [">", 10**400]}]}})(huge) is True
    reason = compiled({"value": {"n": [10**10_000]}}).explain(record(value={"n": 1}))
    assert reason is not None
    assert reason.words == "value.n is a number, but must be a number of 33220 bits"
    (problem,) = problems({"value": {"n": 10**10_000}})
    assert "33220 bits" in problem.mend


def test_a_message_can_always_be_printed() -> None:
    (problem,) = problems({"value": {"\ud800\n": "\udfff\x1b[31m"}})
    assert str(problem).encode().isascii()
    assert "\n" not in str(problem)
    assert "\x1b" not in str(problem)
    (problem,) = problems({"v" * 100_000: "x" * 100_000})
    assert len(problem.message + problem.mend) < 500


def test_the_value_is_not_read_when_a_cheaper_field_has_refused() -> None:
    class Lazy:
        topic, partition, offset, timestamp, key = "t", 0, 0, 0, None
        headers: dict[str, str | None] = {"a": "b"}  # noqa: RUF012 - read only

        @property
        def value(self) -> Any:
            raise AssertionError("read")

    match = compiled({"value": {"a": [1]}, "$or": [{"value": {"b": [1]}}, {"key": ["k"]}], "headers": {"a": ["c"]}})
    assert match.test(Lazy()) is False  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pattern", "fields", "words"),
    [
        ({"topic": ["a", "b"]}, {"topic": "c"}, 'topic is text, but must be "a" or "b"'),
        ({"value": {"a": {"b": [1]}}}, {"value": {"a": {}}}, "value.a.b is absent, but must be 1"),
        ({"value": {"a": {"b": [1]}}}, {"value": {"a": 5}}, "value.a is a number, but must be an object"),
        ({"value": {"a": {"b": [1]}}}, {"value": {"a": [5]}}, "value.a is a list, and no object in it passes"),
        ({"value": {"a": [{"exists": False}]}}, {"value": {"a": None}}, "value.a is null, but must be absent"),
        ({"value": {"a": [{"numeric": [">", 1, "<=", 9.5]}]}}, {"value": {"a": "5"}},
         "value.a is text, but must be a number > 1 and <= 9.5"),
        ({"value": {"a": [{"anything-but": {"prefix": ["x", "y"]}}]}}, {"value": {"a": "x1"}},
         'value.a is text, but must be anything but text starting with "x" or text starting with "y"'),
        ({"value": {"$or": [{"a": [1]}, {"b": [2]}]}}, {"value": {"a": 2}},
         "no branch of $or holds: value.a is a number, but must be 1; value.b is absent, but must be 2"),
        ({"value": {"a": [1, 2, 3, 4, 5, 6, 7]}}, {"value": {"a": True}},
         "value.a is true or false, but must be 1 or 2 or 3 or 4 or 5 or 2 more"),
        ({"value": {"a": ["x"]}, "headers": {"h": ["y"]}}, {"value": {}}, 'headers.h is absent, but must be "y"'),
    ],
)  # fmt: skip
def test_explain_names_the_first_condition_that_failed(pattern: Any, fields: dict[str, Any], words: str) -> None:
    reason = compiled(pattern).explain(record(**fields))
    assert reason is not None
    assert reason.words == words


@pytest.mark.parametrize(
    ("pattern", "value", "below"),
    [
        ({"value": {"a": ["x"], "b": {"c": [1]}}}, {"a": "x", "b": {"c": 2}}, ("value", "b", "c")),
        ({"value": {"a": {"b": [1]}}}, {"a": 5}, ("value", "a")),
        ({"value": {"a": {"b": [1]}}}, {"a": [5]}, ("value", "a")),
        ({"value": {"$or": [{"a": [1]}, {"b": [2]}]}}, {}, ("value", "$or")),
        ({"value": {"a": [1]}, "topic": ["t"]}, {"a": 2}, ("topic",)),
    ],
)
def test_explain_names_the_place_of_the_condition_that_failed(pattern: Any, value: Any, below: Path) -> None:
    reason = compiled(pattern).explain(record(value=value))
    assert reason is not None
    assert reason.path == (*ROOT, *below)


def test_explain_never_tells_a_value_of_the_record() -> None:
    secret = "s3cr3t"
    for pattern in (["x"], [{"prefix": "x"}], [{"numeric": [">", 5]}], [{"exists": False}]):
        said = compiled({"value": {"a": pattern}}).explain(record(value={"a": secret}))
        assert said is not None
        assert secret not in said.words


def test_a_compiled_pattern_does_not_depend_on_later_changes_of_its_tree() -> None:
    tree = {"value": {"a": ["x"]}}
    match = compiled(tree)
    tree["value"]["a"][0] = "y"
    assert match(record(value={"a": "x"})) is True


def test_a_pattern_pasted_from_json_works_unchanged() -> None:
    tree = json.loads('{"value": {"state": [{"anything-but": "idle"}], "tons": [{"numeric": [">", 0, "<=", 5]}]}}')
    assert compiled(tree)(record(value={"state": "busy", "tons": 5})) is True
