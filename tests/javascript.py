"""A small scanner of JavaScript for the house's rules: how many lines each function has."""

from __future__ import annotations

import re

_BEFORE_REGEX = set("=(,:!&|?{};[+")  # what a slash follows that opens a regular expression and is no division
_BLOCKS = {"if", "for", "while", "switch", "catch", "with"}
_WORDLESS = re.compile(r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'""", re.DOTALL)  # comments and strings
_REGEX = re.compile(r"/(?:\\.|\[(?:\\.|[^\]\\])*\]|[^/\\\[])+/\w*")
_TEMPLATE = re.compile(r"[`}](?:\\.|\$(?!\{)|[^`\\$])*(`|\$\{)", re.DOTALL)  # its words up to its end or to a hole


def code_only(text: str) -> str:
    """The text with blanks for comments, strings, regular expressions and the words of templates; lines stay lines."""
    pieces, at, last = [], 0, "="  # last: the code's last character that is no blank
    holes = []  # open braces inside each ${} that we are in
    while at < len(text):
        here = text[at]
        words = _WORDLESS.match(text, at)
        if not words and here == "/" and last in _BEFORE_REGEX:
            words = _REGEX.match(text, at)
        if here == "`" or (here == "}" and holes and holes[-1] == 0):
            words = _TEMPLATE.match(text, at)
            if here == "}":
                holes.pop()
            if words[1] == "${":
                holes.append(0)
        if words:
            pieces.append(re.sub(r"[^\n]", " ", words[0]))
            at = words.end()
            continue
        if holes:
            holes[-1] += (here == "{") - (here == "}")
        pieces.append(here)
        last = last if here.isspace() else here
        at += 1
    return "".join(pieces)


def function_lines(text: str) -> list[tuple[int, int]]:
    """(first line, number of lines) of every function, method and arrow function."""
    code, found = code_only(text), []
    for match in re.finditer(r"=>|\)\s*\{", code):
        if match[0] == "=>":
            first, end = match.start(), _end_of_body(code, match.end())
        else:
            first = _opening(code, match.start())
            word = re.search(r"(\w*)\s*$", code[:first])[1]
            if word in _BLOCKS:
                continue
            end = _end_of_body(code, match.end() - 1)
        found.append((code.count("\n", 0, first) + 1, code.count("\n", first, end) + 1))
    return found


def _end_of_body(code: str, at: int) -> int:
    """Where a body that starts after `at` ends: with its brace, or an expression before what closes or follows it."""
    block = code[at:].lstrip().startswith("{")
    depth = 0
    for place in range(at, len(code)):
        depth += (code[place] in "([{") - (code[place] in ")]}")
        if block and depth == 0 and code[place] == "}":
            return place
        if not block and (depth < 0 or (depth == 0 and code[place] in ",;")):
            return place
    return len(code)


def _opening(code: str, closing: int) -> int:
    depth = 0
    for place in range(closing, -1, -1):
        depth += (code[place] == ")") - (code[place] == "(")
        if depth == 0:
            return place
    raise ValueError("a parenthesis is closed that was never opened")
