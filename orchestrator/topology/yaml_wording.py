"""What a YAML parser complains of, in words for somebody who did not write a parser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import yaml

_AT_CONTEXT: Final = {
    "while scanning a quoted scalar": "this quoted text is never closed",
    "while scanning a double-quoted scalar": "this quoted text is never closed",
    "while scanning a single-quoted scalar": "this quoted text is never closed",
    "while parsing a flow sequence": "the list that begins with this '[' needs ',' between its items and ']' at its end",
    "while parsing a flow mapping": "the mapping that begins with this '{' needs ',' between its keys and '}' at its end",
    "while scanning a simple key": "a ':' is missing after this key",
    "while scanning an anchor": "after '&' comes the name of an anchor: letters and digits",
    "while scanning an alias": "after '*' comes the name of an anchor; a text that begins with '*' needs quotes",
}
"""Sentences about what the parser was in the middle of; they belong where that began."""

_UNEXPECTED: Final = ("did not find expected key", "expected <block end>")
"""What the two implementations of the parser say of a line that continues nothing."""
_AMONG_KEYS: Final = {
    ":": "a key is missing before this ':'",
    "-": "an item of a list cannot stand here among keys",
}
_AT_PROBLEM: Final = (
    ("mapping values are not allowed", "this ':' is one too many here; check the indentation, or quote the text"),
    ("did not find expected key", "the indentation of this line does not fit the lines above it"),
    ("expected <block end>", "the indentation of this line does not fit the lines above it"),
    ("did not find expected '-' indicator", "the indentation of this line does not fit the list above it"),
    ("unknown escape character", 'this escape is not known inside "…"; write \\\\ for a backslash'),
    ("undefined alias", "no anchor stands above this alias"),
    ("found duplicate anchor", "this anchor is defined twice"),
    ("undefined tag handle", "YAML tags are not allowed; a value is what its key expects"),
)
"""Sentences about the exact spot at which the parser gave up."""


_REFERENCE_IN_BRACKETS: Final = (
    """inside '{' or '[' a value with '${' needs quotes, such as "${NAME}"; its '{' ends the text"""
)


def explain(error: yaml.MarkedYAMLError, text: str) -> tuple[tuple[int, int], str]:
    """Return the line and column, from 1, at which to look, and a sentence."""
    mark = error.problem_mark or error.context_mark
    from orchestrator.topology.odd_spaces import Spaces

    odd = None if (spaces := Spaces.of(text)) is None else spaces.near(error.problem_mark, error.context_mark)
    if odd is not None:
        return (odd.line, odd.column), odd.sentence
    problem, context = error.problem or "", error.context or ""
    if "cannot start any token" in problem and mark is not None:
        return _spot(mark), _stray(_character(text, mark))
    if problem.startswith(_UNEXPECTED) and mark is not None and "flow" not in context:
        character = _character(text, mark)
        if character in _AMONG_KEYS:
            return _spot(mark), _AMONG_KEYS[character]
    for begin, sentence in _AT_PROBLEM:
        if begin in problem and "flow" not in context:
            return _spot(mark), sentence
    if "flow" in context and mark is not None and _character(text, mark, -1) + _character(text, mark) == "${":
        return (mark.line + 1, mark.column), _REFERENCE_IN_BRACKETS
    if context in _AT_CONTEXT and "escape" not in problem:
        return _spot(error.context_mark or mark), _AT_CONTEXT[context]
    return _spot(mark), f"this is not YAML: {problem or context or 'the parser does not say why'}"


def _spot(mark: Any) -> tuple[int, int]:
    return (1, 1) if mark is None else (mark.line + 1, mark.column + 1)


def _character(text: str, mark: Any, offset: int = 0) -> str:
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    column = mark.column + offset
    return line[column : column + 1] if column >= 0 else ""


def _stray(character: str) -> str:
    if character == "\t":
        return "a tab cannot indent YAML; use spaces"
    return f"a value cannot begin with {character!r}; put it in quotes"
