"""The word classes of Python: what each token of a source is there for, by its grammar and its neighbours.

A name's class depends on what stands around it (`f` in `def f`, `f(x)`, `x.f`, `f = x`): an encoder that looks only at
the token itself cannot know it.
"""

import io
import itertools
import keyword
import tokenize
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

ROLES = (
    *("keyword", "definition", "call", "method", "attribute", "argument", "name"),
    *("number", "string", "docstring", "comment", "operator"),
)
NO_ROLE = -1  # white space, and whatever the grammar puts there itself
_LINE_BEGINS = (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.NL)


def roles_of(source: str) -> npt.NDArray[np.int64]:
    """The role of every character, an index into ROLES or NO_ROLE: [characters]; all NO_ROLE where it is not Python."""
    roles = np.full(len(source), NO_ROLE, np.int64)
    line_starts = [0, *itertools.accumulate(map(len, source.splitlines(keepends=True)))]
    for role, token in _roles(source):
        begin = line_starts[token.start[0] - 1] + token.start[1]
        stop = line_starts[token.end[0] - 1] + token.end[1]
        roles[begin:stop] = ROLES.index(role)
    return roles


def _roles(source: str) -> Iterator[tuple[str, tokenize.TokenInfo]]:
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source, newline="").readline))
    except (tokenize.TokenError, SyntaxError, IndentationError):
        return
    visible = [token for token in tokens if token.type not in (tokenize.NL, tokenize.COMMENT)]
    before = {id(token): previous for previous, token in itertools.pairwise(visible)}
    after = {id(token): following for token, following in itertools.pairwise(visible)}
    depth = 0
    for token in tokens:
        depth += (token.string in "([{") - (token.string in ")]}") if token.type == tokenize.OP else 0
        role = _role(token, before.get(id(token)), after.get(id(token)), depth)
        if role is not None:
            yield role, token


def _role(
    token: tokenize.TokenInfo, before: tokenize.TokenInfo | None, after: tokenize.TokenInfo | None, depth: int
) -> str | None:
    if token.type == tokenize.STRING:
        starts_line = before is None or before.type in (*_LINE_BEGINS, tokenize.ENCODING)
        return "docstring" if starts_line and after is not None and after.type == tokenize.NEWLINE else "string"
    if token.type == tokenize.NAME:
        return _name_role(token.string, before.string if before else "", after.string if after else "", depth)
    return {tokenize.NUMBER: "number", tokenize.COMMENT: "comment", tokenize.OP: "operator"}.get(token.type)


def _name_role(name: str, before: str, after: str, depth: int) -> str:
    if keyword.iskeyword(name):
        return "keyword"
    if before in ("def", "class"):
        return "definition"
    if before == ".":
        return "method" if after == "(" else "attribute"
    if after == "(":
        return "call"
    return "argument" if depth and after == "=" else "name"
