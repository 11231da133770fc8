"""The expression language held against two other implementations of CEL, on generated expressions.

Run it with `make differential`. `generate` writes expressions by their types, so that most of them have a value;
`oracles` evaluates them elsewhere; `differences` names what may differ.
"""
