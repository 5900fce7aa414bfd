"""``# orc: ignore[ORC106] reason``: findings that somebody has looked at and means to keep."""

from __future__ import annotations

import io
import re
import tokenize
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import yaml

from orchestrator.errors import Problem, did_you_mean, listed
from orchestrator.topology.explanations import CODES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

MARK: Final = "orc:"
_MARKED: Final = re.compile(r"#\s*orc:\s*(?P<order>.*)")
_ORDER: Final = re.compile(r"ignore\[(?P<codes>[^\]]*)\]\s*(?P<reason>.*?)\s*")


class Comment(NamedTuple):
    """A comment, from its ``#`` to the end of its line; line and column count from 1."""

    line: int
    column: int
    text: str


def yaml_comments(text: str) -> Iterator[Comment]:
    """Yield the comments of a YAML text that can be read; a ``#`` within a value is none."""
    lines = _lines(text)
    taken: list[list[tuple[int, int]]] = [[] for _ in lines]
    for token in yaml.scan(text, Loader=_LOADER):
        if isinstance(token, yaml.ScalarToken):
            _take(token, lines, taken)
    for number, line in enumerate(lines):
        for found in re.finditer(r"(?:^|(?<=\s))#", line):
            at = found.start()
            if not any(begin <= at < end for begin, end in taken[number]):
                yield Comment(number + 1, at + 1, line[at:])
                break


_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _lines(text: str) -> list[str]:
    return re.split("\r\n|\r|\n", text)


def _take(token: yaml.ScalarToken, lines: list[str], taken: list[list[tuple[int, int]]]) -> None:
    """Note which columns of which lines a scalar fills; the first line of a block may end in a comment."""
    first, last = token.start_mark.line, token.end_mark.line
    is_block = token.style in ("|", ">")
    for number in range(first, min(last, len(lines) - 1) + 1):
        begin = token.start_mark.column if number == first else 0
        end = token.end_mark.column if number == last else len(lines[number])
        if is_block and number == first:
            end = begin + 1
        taken[number].append((begin, end))


def python_comments(text: str) -> Iterator[Comment]:
    """Yield the comments of a Python text that can be read."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield Comment(token.start[0], token.start[1] + 1, token.string)


@dataclass(frozen=True, slots=True)
class Ignore:
    line: int
    column: int
    codes: tuple[str, ...]


def read_ignores(
    text: str, source: str, comments: Callable[[str], Iterator[Comment]]
) -> tuple[list[Ignore], list[Problem]]:
    """Return what a text's comments silence, and what is wrong with those that silence nothing."""
    ignores: list[Ignore] = []
    problems: list[Problem] = []
    if MARK not in text:
        return ignores, problems
    for comment in comments(text):
        found = _MARKED.search(comment.text)
        if found is None:
            continue
        column = comment.column + found.start()
        codes, wrong = _read(found["order"])
        if codes:
            ignores.append(Ignore(comment.line, column, codes))
        problems += [Problem(source, comment.line, column, "", sentence) for sentence in wrong]
    return ignores, problems


def _read(order: str) -> tuple[tuple[str, ...], list[str]]:
    """Return the codes to be silenced, and what is wrong with the comment; one without a reason silences nothing."""
    found = _ORDER.fullmatch(order)
    if found is None:
        return (), ["a comment that silences a finding is written '# orc: ignore[ORC106] reason'"]
    codes = [code.strip() for code in found["codes"].split(",")]
    unknown = [code for code in codes if code not in CODES]
    wrong = [
        f"there is no code {code!r}{did_you_mean(code, CODES) or f'; there are {listed(CODES)}'}" for code in unknown
    ]
    if not found["reason"]:
        return (), [*wrong, f"a reason is missing: '# orc: ignore[{', '.join(codes)}] why this is meant'"]
    return tuple(code for code in codes if code in CODES), wrong


def silenced(
    findings: Iterable[Problem],
    ignores: Mapping[str, Sequence[Ignore]],
    *,
    dormant: Iterable[Problem] = (),
    passed_over: Callable[[str, int], bool] = lambda _source, _line: False,
) -> list[Problem]:
    """Return the findings that nobody silences, and a problem for each comment that silences nothing.

    `dormant` are findings that are none in this topology and would be in another: to silence them is no mistake.
    `passed_over` tells which lines were not looked at: what is to be silenced there is not known.
    """
    orders = {
        (source, ignore.line, code): ignore
        for source, list_ in ignores.items()
        for ignore in list_
        for code in ignore.codes
    }
    used: set[tuple[str, int, str]] = {(it.source, it.line, it.code) for it in dormant}
    left: list[Problem] = []
    for finding in findings:
        key = (finding.source, finding.line, finding.code)
        used.add(key)
        if key not in orders:
            left.append(finding)
    for key, ignore in orders.items():
        source, line, code = key
        if key not in used and not passed_over(source, line):
            left.append(
                Problem(
                    source, line, ignore.column, "", f"nothing here is a case of {code}; take it out of this comment"
                )
            )
    return left
