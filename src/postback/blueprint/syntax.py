"""What a filter's text may hold, before CEL itself reads it: known names, and bounds on its cost.

CEL ends always, but a loop in a loop over a long list ends late. So that no filter keeps the writer waiting: inside
`all`, `exists` and `exists_one` stand their own variable, literals and what is short (no second loop, no `matches`,
nothing of what a sender may make long), no list is made (`map`, `filter`), patterns are short literals, and the text
has a length. What it costs then grows with the event alone, of which a filter sees a bounded part.
"""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import NoReturn

from msgspec import Struct

from postback.errors import Invalid

MAX_CHARS = 1000
MAX_DEPTH = 20
MAX_LOOPS = 5
MAX_PATTERNS = 3
MAX_PATTERN_CHARS = 100
MAX_REPEATS = 100  # of a pattern, all {n} multiplied

LOOPS = frozenset({"all", "exists", "exists_one"})
METHODS = frozenset(
    "contains startsWith endsWith matches size getFullYear getMonth getDate getDayOfMonth getDayOfWeek getDayOfYear "
    "getHours getMinutes getSeconds".split()
)
FUNCTIONS = frozenset("has size int double string timestamp duration".split())
WORDS = frozenset({"true", "false", "null", "in"})
SHORT = frozenset(
    "name source_name dialect action_source goal_id value currency order page consent occurred_at is_test "
    "identifiers".split()
)
LONG = frozenset({"items", "properties", "experiments"})
VARIABLES = SHORT | LONG

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<text>[rR](?:'[^'\n]*'|"[^"\n]*")|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")
    |(?P<number>0[xX][0-9a-fA-F]+[uU]?|[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?[uU]?)
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign>&&|\|\||[=!<>]=|[-+*/%<>!?:.,()\[\]{}])""",
    re.VERBOSE | re.ASCII,
)
_CLOSES = {"(": ")", "[": "]", "{": "}"}
_STRANGE = {"'": "this text does not end", '"': "this text does not end", "=": "equality is written =="}
_REPEATS = re.compile(r"\{([0-9]+)?(?:,([0-9]+)?)?\}")


class _Token(Struct, frozen=True):
    kind: str
    text: str
    at: int


class _Bracket(Struct):
    """An open bracket; `variable`: of the loop whose it is."""

    closes: str
    variable: str | None = None


def check(text: str, field: str) -> list[str]:
    """Whether a filter may stand; the patterns that it matches, as literals. Raises Invalid, saying where."""
    return _Check(text, field).run()


def place(text: str, at: int) -> str:
    """Where in a text a character stands, for people."""
    line = text.count("\n", 0, at) + 1
    character = at - (text.rfind("\n", 0, at) + 1) + 1
    return f"line {line}, character {character}" if "\n" in text else f"character {character}"


class _Check:
    def __init__(self, text: str, field: str) -> None:
        self._text = text
        self._field = field
        self._open: list[_Bracket] = []
        self._next_variable: str | None = None  # of the bracket that comes next
        self._loops = 0
        self._patterns: list[str] = []

    def run(self) -> list[str]:
        if len(self._text) > MAX_CHARS:
            self._refuse(f"A filter has at most {MAX_CHARS} characters; this one has {len(self._text)}.")
        tokens = [*self._tokens(), _Token("end", "", len(self._text))]
        for index, token in enumerate(tokens):
            before = tokens[index - 1] if index else _Token("start", "", 0)
            if token.kind == "sign":
                self._sign(token, before)
            elif token.kind == "word" and token.text not in WORDS:
                self._word(tokens, index, is_member=before.text == "." and before.kind == "sign")
        return self._patterns

    def _tokens(self) -> Iterator[_Token]:
        at, text, after_text = 0, self._text, False
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                self._refuse_at(at, _STRANGE.get(text[at], f"{text[at]} means nothing here"))
            if after_text and found.lastgroup == "text":
                self._refuse_at(at, "a text in quotes may not touch another")
            kind = str(found.lastgroup)
            if kind != "space":
                yield _Token(kind, found.group(), at)
            after_text, at = kind == "text", found.end()

    def _sign(self, token: _Token, before: _Token) -> None:
        match token.text:
            case "(" | "[" | "{":
                if token.text == "{" and (before.kind == "word" and before.text not in WORDS):
                    self._refuse_at(token.at, "a { may not follow a name")
                if len(self._open) == MAX_DEPTH:
                    self._refuse_at(token.at, f"brackets nest at most {MAX_DEPTH} deep")
                self._open.append(_Bracket(_CLOSES[token.text], self._next_variable))
                self._next_variable = None
            case ")" | "]" | "}":
                if not self._open or self._open.pop().closes != token.text:
                    self._refuse_at(token.at, f"there is no bracket that this {token.text} closes")
            case ".":
                if before.kind not in ("word", "text") and before.text not in (")", "]", "}"):
                    self._refuse_at(token.at, "a . follows a name")
            case _:
                pass

    def _word(self, tokens: list[_Token], index: int, *, is_member: bool) -> None:
        token, is_call = tokens[index], tokens[index + 1].text == "("
        if is_member and is_call:
            self._method(tokens, index)
        elif is_call:
            if token.text not in FUNCTIONS:
                self._unknown(token, FUNCTIONS, "function")
        elif not is_member and token.text not in (bracket.variable for bracket in self._open):
            if token.text not in VARIABLES:
                self._unknown(token, VARIABLES, "variable")
            if token.text in LONG and self._in_loop:
                self._refuse_at(token.at, f"{token.text} may not be read inside all, exists or exists_one")

    def _method(self, tokens: list[_Token], index: int) -> None:
        token = tokens[index]
        if token.text in LOOPS:
            self._loop(token, tokens[index + 2], tokens[min(index + 3, len(tokens) - 1)])
        elif token.text not in METHODS:
            self._unknown(token, METHODS | LOOPS, "function")
        elif token.text == "matches":
            self._matches(token, tokens[index + 2], tokens[min(index + 3, len(tokens) - 1)])

    def _loop(self, token: _Token, variable: _Token, comma: _Token) -> None:
        self._loops += 1
        if self._in_loop:
            self._refuse_at(token.at, f"{token.text} may not stand inside another all, exists or exists_one")
        if self._loops > MAX_LOOPS:
            self._refuse_at(token.at, f"a filter has at most {MAX_LOOPS} of all, exists and exists_one")
        if variable.kind != "word" or comma.text != ",":
            self._refuse_at(variable.at, f"{token.text} takes a name, a comma and a condition: items.exists(i, ...)")
        if variable.text in VARIABLES | WORDS:
            self._refuse_at(variable.at, f"{variable.text} has a meaning already; choose another name")
        self._next_variable = variable.text

    def _matches(self, token: _Token, pattern: _Token, close: _Token) -> None:
        if self._in_loop:
            self._refuse_at(token.at, "matches may not stand inside all, exists or exists_one")
        if pattern.kind != "text" or close.text != ")":
            self._refuse_at(pattern.at, "matches takes a pattern in quotes")
        if len(pattern.text) > MAX_PATTERN_CHARS + 3:
            self._refuse_at(pattern.at, f"a pattern has at most {MAX_PATTERN_CHARS} characters")
        repeats = 1
        for least, most in _REPEATS.findall(pattern.text):
            repeats *= max(1, int(least or 0), int(most or 0))
        if repeats > MAX_REPEATS:
            self._refuse_at(pattern.at, f"a pattern repeats at most {MAX_REPEATS} times, all {{n}} multiplied")
        self._patterns.append(pattern.text)
        if len(self._patterns) > MAX_PATTERNS:
            self._refuse_at(token.at, f"a filter has at most {MAX_PATTERNS} of matches")

    @property
    def _in_loop(self) -> bool:
        return any(bracket.variable for bracket in self._open)

    def _unknown(self, token: _Token, known: frozenset[str], what: str) -> NoReturn:
        near = get_close_matches(token.text, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}."
        self._refuse_at(token.at, f"there is no {what} {token.text}; {hint}")

    def _refuse_at(self, at: int, why: str) -> NoReturn:
        end = "" if why.endswith(("?", ".")) else "."
        self._refuse(f"In the filter, at {place(self._text, at)}: {why}{end}")

    def _refuse(self, message: str) -> NoReturn:
        raise Invalid(message, field=self._field)
