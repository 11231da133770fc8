"""Tokens into a tree, by CEL's grammar; what the grammar does not know is a mistake, so that it can grow."""

from typing import Final

from connector.mapping.lex import RESERVED, Mistake, Token, tokens
from connector.mapping.tree import (
    Binary,
    Call,
    Choice,
    Fields,
    Has,
    Ident,
    Index,
    Items,
    Literal,
    Logic,
    Macro,
    Node,
    Select,
    Unary,
)

NESTING: Final = 60
"""Brackets, choices and signs inside each other."""
CHAIN: Final = 250
"""Steps of one chain such as `a + b + c` or `a.b.c`: each is one level of the tree."""
MACROS: Final = frozenset({"map", "filter", "exists", "all", "exists_one"})
_LEVELS: Final = (("<", "<=", ">", ">=", "==", "!=", "in"), ("+", "-"), ("*", "/", "%"))
_INSTEAD: Final = {"and": "write &&", "or": "write ||", "not": "write !", "if": "write condition ? a : b"}


def parse(text: str, start: int = 0, braced: bool = False) -> tuple[Node, int]:
    """The tree of the expression that begins at `start`, and where it ended (see `lex.tokens`).

    Raises:
        Mistake: the first thing that is no CEL.
    """
    found, end = tokens(text, start, braced)
    return _Parser(text, found).whole(), end


class _Parser:
    """Recursive descent with one token of look-ahead; `nesting` bounds the recursion."""

    def __init__(self, text: str, found: list[Token]) -> None:
        self.text = text
        self.tokens = found
        self.position = 0
        self.nesting = 0

    def whole(self) -> Node:
        if self.next.kind == "end":
            raise Mistake(
                "CEL007", self.next.at, "the expression is empty", "write ${value} for the whole record value"
            )
        node = self.expression()
        if self.next.kind != "end":
            raise self.unexpected("the expression has ended before this")
        return node

    @property
    def next(self) -> Token:
        return self.tokens[self.position]

    def take(self) -> Token:
        token = self.tokens[self.position]
        self.position += 1
        return token

    def skip(self, kind: str) -> bool:
        """Take the next token if it is of this kind."""
        if self.next.kind == kind:
            self.position += 1
            return True
        return False

    def expect(self, kind: str, why: str) -> Token:
        if self.next.kind != kind:
            raise self.unexpected(why)
        return self.take()

    def unexpected(self, why: str) -> Mistake:
        token = self.next
        shown = "the end" if token.kind == "end" else f"`{self.text[token.at : token.end]}`"
        mend = _INSTEAD.get(token.value, "") if token.kind == "name" else ""
        if token.kind == "literal" and self.text[token.at] == ".":
            mend = "an element of a list is read as list[0]"
        return Mistake("CEL006", token.at, f"unexpected {shown}: {why}", mend)

    def deeper(self) -> None:
        self.nesting += 1
        if self.nesting > NESTING:
            raise Mistake(
                "CEL002",
                self.next.at,
                f"the expression nests deeper than {NESTING}",
                "make it several leaves or flatter",
            )

    def expression(self) -> Node:
        self.deeper()
        condition = self.logic("||")
        if self.next.kind == "?":
            sign = self.take()
            yes = self.logic("||")
            self.expect(":", "a choice is written condition ? a : b")
            no = self.expression()
            condition = Choice(condition, yes, no, start=condition.start, end=no.end, at=sign.at)
        self.nesting -= 1
        return condition

    def logic(self, operator: str) -> Node:
        first = self.logic("&&") if operator == "||" else self.binary(0)
        operands = [first]
        at = self.next.at
        while self.skip(operator):
            operands.append(self.logic("&&") if operator == "||" else self.binary(0))
        if len(operands) == 1:
            return first
        return Logic(operator, operands, start=first.start, end=operands[-1].end, at=at)

    def binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self.unary()
        left = self.binary(level + 1)
        links = 0
        while self.next.kind in _LEVELS[level]:
            sign = self.take()
            right = self.binary(level + 1)
            links = self.link(links, sign)
            left = Binary(sign.kind, left, right, start=left.start, end=right.end, at=sign.at)
        return left

    def link(self, links: int, token: Token) -> int:
        if links >= CHAIN:
            raise Mistake("CEL002", token.at, f"the chain has more than {CHAIN} steps", "make it several leaves")
        return links + 1

    def unary(self) -> Node:
        if self.next.kind not in ("-", "!"):
            return self.member()
        sign = self.take()
        self.deeper()
        operand = self.unary()
        self.nesting -= 1
        if sign.kind == "-" and isinstance(operand, Literal) and type(operand.value) in (int, float):
            return Literal(-operand.value, start=sign.at, end=operand.end, at=sign.at)
        return Unary(sign.kind, operand, start=sign.at, end=operand.end, at=sign.at)

    def member(self) -> Node:
        node = self.primary()
        links = 0
        while self.next.kind in (".", "["):
            sign = self.take()
            links = self.link(links, sign)
            optional = self.skip("?")
            if sign.kind == "[":
                key = self.expression()
                end = self.expect("]", "an index is closed with ]").end
                node = Index(node, key, optional, start=node.start, end=end, at=sign.at)
                continue
            field = self.field()
            if self.next.kind == "(" and not optional:
                node = self.call(field, node)
            else:
                node = Select(node, field.value, optional, start=node.start, end=field.end, at=field.at)
        return node

    def field(self) -> Token:
        token = self.next
        if token.kind == "in" or (
            token.kind == "literal" and self.text[token.at].isalpha() and token.value in (1, 0, None)
        ):
            name = self.text[token.at : token.end]
            raise Mistake("CEL006", token.at, f"`{name}` is a word of the language", f'read the field as ["{name}"]')
        return self.expect("name", "a field name follows the dot")

    def call(self, name: Token, receiver: Node | None) -> Node:
        args = self.arguments()
        start = name.at if receiver is None else receiver.start
        end = self.tokens[self.position - 1].end
        if receiver is not None and name.value in MACROS:
            return self.macro(name, receiver, args, end)
        if receiver is None and name.value == "has":
            if len(args) != 1 or not isinstance(args[0], Select) or args[0].optional:
                raise Mistake(
                    "CEL015", name.at, "has() takes a field", 'write has(value.field), or "key" in map for any key'
                )
            return Has(args[0].operand, args[0].field, start=start, end=end, at=args[0].at)
        return Call(name.value, receiver, args, start=start, end=end, at=name.at)

    def arguments(self) -> list[Node]:
        self.expect("(", "arguments follow")
        args: list[Node] = []
        while not self.skip(")"):
            args.append(self.expression())
            if self.next.kind != ")":
                self.expect(",", "arguments are parted by commas and closed with )")
        return args

    def macro(self, name: Token, target: Node, args: list[Node], end: int) -> Macro:
        most = 3 if name.value == "map" else 2
        if not 2 <= len(args) <= most:
            raise Mistake(
                "CEL013", name.at, f"{name.value}() takes a name and an expression", f"list.{name.value}(x, …)"
            )
        if not isinstance(args[0], Ident):
            raise Mistake(
                "CEL015",
                args[0].start,
                f"the first argument of {name.value}() is a new name",
                f"list.{name.value}(x, …)",
            )
        condition = args[1] if len(args) == 3 else None
        return Macro(name.value, target, args[0].name, condition, args[-1], start=target.start, end=end, at=name.at)

    def primary(self) -> Node:
        token = self.next
        if token.kind == "literal":
            self.take()
            return Literal(token.value, start=token.at, end=token.end, at=token.at)
        if token.kind == "name":
            if token.value in RESERVED:
                raise Mistake(
                    "CEL006",
                    token.at,
                    f"`{token.value}` is a reserved word",
                    _INSTEAD.get(token.value, "take another name"),
                )
            self.take()
            if self.next.kind == "(":
                return self.call(token, None)
            return Ident(token.value, start=token.at, end=token.end, at=token.at)
        if self.skip("("):
            inner = self.expression()
            self.expect(")", "a bracket is closed with )")
            return inner
        if self.skip("["):
            return self.items(token)
        if self.skip("{"):
            return self.fields(token)
        raise self.unexpected("a value is needed here")

    def items(self, opened: Token) -> Items:
        elements: list[tuple[Node, bool]] = []
        while not self.skip("]"):
            optional = self.skip("?")
            elements.append((self.expression(), optional))
            if self.next.kind != "]":
                self.expect(",", "elements are parted by commas and the list is closed with ]")
        return Items(elements, start=opened.at, end=self.tokens[self.position - 1].end, at=opened.at)

    def fields(self, opened: Token) -> Fields:
        entries: list[tuple[Node, Node, bool]] = []
        while not self.skip("}"):
            optional = self.skip("?")
            key = self.expression()
            self.expect(":", 'an entry is written "key": value')
            entries.append((key, self.expression(), optional))
            if self.next.kind != "}":
                self.expect(",", "entries are parted by commas and the map is closed with }")
        return Fields(entries, start=opened.at, end=self.tokens[self.position - 1].end, at=opened.at)
