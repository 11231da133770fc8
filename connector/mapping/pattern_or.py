"""`$or`: counts its combinations, and multiplies it out where it cannot be tested in place."""

from collections.abc import Callable
from typing import TypeAlias

from connector.mapping.pattern_tree import Choice, Condition, Conditions, Leaf, Under, holds_for_nothing
from connector.mapping.problem import Path

Twice: TypeAlias = Callable[[Path], None]
"""Told of a field that is named a second time on one way through `$or`."""


def combinations(conditions: Conditions) -> int:
    """How many ways lead through all `$or`: branches add up, what stands side by side multiplies."""
    count = 1
    for condition in conditions:
        if isinstance(condition, Under | Choice):
            count *= max(1, sum(combinations(branch) for branch in condition.branches))
    return count


def settle(conditions: Conditions, twice: Twice, *, in_array: bool) -> tuple[Conditions, ...]:
    """Gives the alternatives of an object, with every `$or` that cannot be tested where it stands multiplied out.

    That is needed when a branch names a field that is also named beside it, because an array under that field must
    satisfy both on one element; and when a missing field satisfies them, because that changes how arrays count.
    """
    plain: list[Condition] = [condition for condition in conditions if not isinstance(condition, Choice)]
    choices = [condition for condition in conditions if isinstance(condition, Choice)]
    named = [_keys(tuple(plain)), *(_keys((choice,)) for choice in choices)]
    overlap = sum(map(len, named)) > len(frozenset().union(*named))
    if not choices or not (overlap or (in_array and holds_for_nothing(conditions))):
        kept: list[Condition] = [_below(condition, twice) for condition in plain]
        for choice in choices:
            branches = [found for branch in choice.branches for found in settle(branch, twice, in_array=in_array)]
            kept.append(Choice(tuple(branches), choice.path))
        return (tuple(kept),)
    combined: list[list[Condition]] = [plain]
    for choice in choices:
        opened = [list(found) for branch in choice.branches for found in _opened(branch)]
        combined = [_merge(left, right, twice) for left in combined for right in opened]
    return tuple(tuple(_below(condition, twice) for condition in each) for each in combined)


def _below(condition: Condition, twice: Twice) -> Condition:
    if isinstance(condition, Under):
        branches = [found for branch in condition.branches for found in settle(branch, twice, in_array=True)]
        return Under(condition.key, tuple(branches), condition.path)
    return condition


def _merge(left: list[Condition], right: list[Condition], twice: Twice) -> list[Condition]:
    merged = list(left)
    for condition in right:
        for index, other in enumerate(merged):
            if isinstance(condition, Under) and isinstance(other, Under) and condition.key == other.key:
                both = tuple(_merge(list(other.branches[0]), list(condition.branches[0]), twice))
                merged[index] = Under(other.key, (both,), other.path)
                break
            if isinstance(condition, Leaf) and isinstance(other, Leaf) and condition.key == other.key:
                twice(condition.path)
                break
        else:
            merged.append(condition)
    return merged


def _opened(conditions: Conditions) -> list[Conditions]:
    """The conditions without a `$or` at this level: one list for each way through them."""
    ways: list[Conditions] = [tuple(each for each in conditions if not isinstance(each, Choice))]
    for choice in conditions:
        if isinstance(choice, Choice):
            inner = [found for branch in choice.branches for found in _opened(branch)]
            ways = [(*way, *found) for way in ways for found in inner]
    return ways


def _keys(conditions: Conditions) -> frozenset[str]:
    """The fields that conditions name at their own level, through `$or`."""
    keys: set[str] = set()
    for condition in conditions:
        if isinstance(condition, Choice):
            keys.update(*map(_keys, condition.branches))
        else:
            keys.add(condition.key)
    return frozenset(keys)
