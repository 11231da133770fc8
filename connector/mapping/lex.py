"""Text into tokens: the words, numbers, strings and signs of an expression, each with its place."""

import re
from typing import Any, Final, NamedTuple


class Mistake(Exception):
    """What is wrong in an expression, at a character of its text; `leaves` turns it into a Problem."""

    def __init__(self, code: str, at: int, message: str, mend: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.at = at
        self.message = message
        self.mend = mend


class Token(NamedTuple):
    """`kind` is `name`, `literal`, `end`, or the sign itself; `value` the name or the literal's value."""

    kind: str
    value: Any
    at: int
    end: int


WORDS: Final = {"true": True, "false": False, "null": None}
RESERVED: Final = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)
LONGEST: Final = 4096
"""Characters of one expression."""

_SPACE: Final = re.compile(r"(?:[ \t\r\n\f]|//[^\n]*)*")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]+|(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_STRING: Final = re.compile(r"((?:[bB]?[rR]|[bB])?)(\"\"\"|'''|\"|')")
_SIGN: Final = re.compile(r"&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]{}]")
_ESCAPE: Final = re.compile(
    r"\\(?:([abfnrtv\\'\"`?])|x([0-9a-fA-F]{2})|([0-3][0-7]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))"
)
_PLAIN: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_INSTEAD: Final = {
    "=": "== compares; an expression assigns nothing",
    "&": "write &&",
    "|": "write ||",
    "$": "${ } does not nest: name the value itself",
    "`": 'a field with an unusual name is read as value["the-name"]',
    "#": "a comment begins with //",
    ";": "an expression is one value; there are no statements",
    "\\": "a backslash belongs inside a string",
}


def tokens(text: str, start: int = 0, braced: bool = False) -> tuple[list[Token], int]:
    """Read an expression from `start`; the last token is `end`.

    With `braced` it ends before the `}` that closes `${`, else at the end of the text. Returns the tokens and where
    they ended.

    Raises:
        Mistake: something that is no token, a `${` without its `}`, or an expression beyond 4096 characters.
    """
    found: list[Token] = []
    depth = 0
    at = start
    while True:
        blank = _SPACE.match(text, at)
        at = blank.end() if blank else at
        if at - start > LONGEST:
            raise Mistake(
                "CEL001", start, f"the expression is longer than {LONGEST} characters", "make it several leaves"
            )
        if at >= len(text):
            if braced:
                raise Mistake(
                    "MAP002", start - 2, "`${` is not closed", "close it with }, or write $${ for a literal ${"
                )
            break
        if braced and depth == 0 and text[at] == "}":
            break
        token = _token(text, at)
        depth += (token.kind == "{") - (token.kind == "}")
        found.append(token)
        at = token.end
    found.append(Token("end", None, at, at))
    return found, at


def _token(text: str, at: int) -> Token:
    if match := _STRING.match(text, at):
        return _string(text, at, match[1].lower(), match[2])
    if match := _NAME.match(text, at):
        name = match[0]
        if name in WORDS:
            return Token("literal", WORDS[name], at, match.end())
        return Token("in" if name == "in" else "name", name, at, match.end())
    if (text[at].isdigit() or (text[at : at + 1] == "." and text[at + 1 : at + 2].isdigit())) and (
        match := _NUMBER.match(text, at)
    ):
        return _number(text, match)
    if match := _SIGN.match(text, at):
        return Token(match[0], None, at, match.end())
    mend = _INSTEAD.get(text[at], "")
    raise Mistake("CEL004", at, f"`{_shown(text[at])}` means nothing here", mend)


def _shown(character: str) -> str:
    return character if character.isprintable() else f"U+{ord(character):04X}"


def _number(text: str, match: re.Match[str]) -> Token:
    written, at, end = match[0], match.start(), match.end()
    after = text[end : end + 1]
    if after in ("u", "U"):
        raise Mistake("CEL005", end, "there are no unsigned integers here", "leave the u out: ints are unbounded")
    if after and (after.isalnum() or after == "_"):
        raise Mistake("CEL005", at, f"`{written}{after}` is no number", "a name begins with a letter")
    if written[:2] in ("0x", "0X"):
        value: int | float = int(written, 16)
    elif written.isdigit():
        value = int(written) if len(written) <= 400 else float("inf")
    else:
        value = float(written)
    if value == float("inf"):
        raise Mistake(
            "CEL005", at, "the number is too large", "a double ends at 1.8e308, an int literal has 400 digits"
        )
    return Token("literal", value, at, end)


def _string(text: str, at: int, prefix: str, quote: str) -> Token:
    raw, data = "r" in prefix, "b" in prefix
    position = at + len(prefix) + len(quote)
    pieces: list[bytes] = []
    while True:
        if position >= len(text) or (len(quote) == 1 and text[position] in "\r\n"):
            raise Mistake("CEL004", at, "the string is not closed", f"close it with {quote}")
        if text.startswith(quote, position):
            break
        if text[position] == "\\" and not raw:
            piece, position = _escape(text, position, data)
            pieces.append(piece)
        else:
            # A raw string keeps its backslashes, and one does not hide the quote that ends it.
            pieces.append(text[position].encode("utf-8", "surrogatepass"))
            position += 1
    whole = b"".join(pieces)
    try:
        value: Any = whole if data else whole.decode("utf-8")
    except UnicodeDecodeError:
        raise Mistake("CEL005", at, "the string holds a character that is none", "leave surrogates out") from None
    return Token("literal", value, at, position + len(quote))


def _escape(text: str, at: int, data: bool) -> tuple[bytes, int]:
    match = _ESCAPE.match(text, at)
    if match is None:
        raise Mistake("CEL005", at, "the escape is unknown", 'write \\\\ for a backslash, or a raw string r"…"')
    plain, two, octal, four, eight = match.groups()
    if plain is not None:
        return _PLAIN.get(plain, plain).encode(), match.end()
    if data and (four or eight):
        raise Mistake("CEL005", at, "bytes have no \\u escape", "write \\xHH for each byte")
    point = int(two, 16) if two else int(octal, 8) if octal else int(four or eight, 16)
    if data:
        return bytes([point]), match.end()
    if point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:
        raise Mistake("CEL005", at, "the escape is no character", "surrogates and numbers above 10FFFF are none")
    return chr(point).encode(), match.end()
