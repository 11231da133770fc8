"""Small deliberate mistakes: each mutant of a module differs from it in one place, as a slip of the hand would."""

import ast
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

_COMPARE: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.RShift: ast.LShift,
}
_CALLS: Final = {"min": "max", "max": "min", "any": "all", "all": "any", "popleft": "pop", "append": "appendleft"}


class Mutant(NamedTuple):
    """One mistake: its name, the place of its node in a walk through the module, and what it does to that node."""

    name: str
    at: int
    mutate: Callable[[Any], None]

    def tree(self, source: str) -> ast.Module:
        """The whole module with this one mistake in it."""
        tree = ast.parse(source)
        self.mutate(list(ast.walk(tree))[self.at])
        return ast.fix_missing_locations(tree)


def mutants(source: str) -> Iterator[Mutant]:
    """Every mutant of a module, in the order of its lines; names are stable while the code around stays."""
    tree = ast.parse(source)
    at = {id(node): place for place, node in enumerate(ast.walk(tree))}
    seen: dict[str, int] = {}
    for function, node, change in _changes(tree):
        for what, mutate in change:
            base = f"{function}: {what}"
            seen[base] = seen.get(base, 0) + 1
            number = f" #{seen[base]}" if seen[base] > 1 else ""
            yield Mutant(base + number, at[id(node)], mutate)


def _changes(tree: ast.Module):  # type: ignore[no-untyped-def]  # a generator of closures over ast nodes; its one caller is above
    for function, node in _nodes(tree, ""):
        changes = list(_of(node))
        if changes:
            yield function, node, changes


def _nodes(node: ast.AST, where: str) -> Iterator[tuple[str, ast.AST]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(node, ast.AnnAssign) and child is node.annotation:
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _nodes_of_body(child, f"{where}.{child.name}" if where else child.name)
        elif where and not _is_speech(child):
            yield where, child
            yield from _nodes(child, where)


def _nodes_of_body(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, where: str
) -> Iterator[tuple[str, ast.AST]]:
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _nodes_of_body(child, f"{where}.{child.name}")
        elif not isinstance(node, ast.ClassDef) and not _is_speech(child):
            yield where, child
            yield from _nodes(child, where)


def _is_speech(node: ast.AST) -> bool:
    """Docstrings, log lines, raised errors and f-strings: a mistake in them is no mistake in what is done."""
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Assert):
        return True
    if not isinstance(node, ast.Expr):
        return False
    if isinstance(node.value, ast.Constant):
        return True
    call = node.value.value if isinstance(node.value, ast.Await) else node.value
    return isinstance(call, ast.Call) and "_log" in ast.unparse(call.func)


def _of(node: ast.AST):  # type: ignore[no-untyped-def]  # as above
    text = _short(node)
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARE:
        other = _COMPARE[type(node.ops[0])]
        yield f"{text} → {other.__name__}", lambda twin: twin.ops.__setitem__(0, other())
    elif isinstance(node, ast.BoolOp):
        swapped = ast.Or if isinstance(node.op, ast.And) else ast.And
        yield f"{text} → {swapped.__name__}", lambda twin: setattr(twin, "op", swapped())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield (
            f"{text} → without not",
            lambda twin: _become(twin, ast.UnaryOp(ast.Not(), ast.UnaryOp(ast.Not(), twin.operand))),
        )
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _ARITHMETIC:
        operator = _ARITHMETIC[type(node.op)]
        yield f"{text} → {operator.__name__}", lambda twin: setattr(twin, "op", operator())
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield f"{text} → {not node.value}", lambda twin: setattr(twin, "value", not twin.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield f"{text} → {node.value + 1}", lambda twin: setattr(twin, "value", twin.value + 1)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS:
        yield f"{text} → {_CALLS[node.func.id]}", lambda twin: setattr(twin.func, "id", _CALLS[twin.func.id])
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("popleft",):
        yield f"{text} → pop", lambda twin: setattr(twin.func, "attr", "pop")
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        test = _short(node.test)
        yield f"if {test} → never", lambda twin: setattr(twin, "test", ast.Constant(False))
    if isinstance(node, ast.Expr | ast.AugAssign | ast.Delete) or (
        isinstance(node, ast.Assign)
        and all(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets)
    ):
        yield f"{text} → left out", lambda twin: _become_pass(twin)
    if isinstance(node, ast.Continue | ast.Break):
        yield f"{text} → left out", lambda twin: _become_pass(twin)


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 90 else text[:87] + "…"


def _become(twin: ast.AST, other: ast.AST) -> None:
    """Turn a node into `not not x`, which is `x` as a truth value, without knowing its parent."""
    operand = other.operand.operand  # type: ignore[attr-defined]  # built by the caller just so
    twin.operand = ast.UnaryOp(ast.Not(), operand)  # type: ignore[attr-defined]  # twin is a UnaryOp


def _become_pass(twin: ast.AST) -> None:
    """Turn a statement into `pass` in place: its class changes, what it held is forgotten."""
    for name in list(twin.__dict__):
        if name in twin._fields:
            delattr(twin, name)
    twin.__class__ = ast.Pass
