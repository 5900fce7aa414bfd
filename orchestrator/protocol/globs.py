"""Channel patterns: ``*`` stays within a segment, ``**`` does not, a backslash makes a star or itself literal.

Both questions, does a pattern match a name and does it cover another pattern, run the pattern as a
nondeterministic automaton whose states are the bits of one integer: a step is a few machine operations
whatever the pattern holds, so no input can make it slow. Several patterns side by side are one such automaton.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable


class Star(Enum):
    ONE = "*"
    """Any characters but a slash."""
    MANY = "**"
    """Any characters."""


Token = str | Star


def has_star(name: str) -> bool:
    """Tell whether a subscription to `name` is one to a pattern: any star makes it one, escaped or not."""
    return "*" in name


@lru_cache(maxsize=1024)
def tokens(pattern: str) -> tuple[Token, ...]:
    """Return the pattern as literal characters and stars, escapes resolved, runs of stars merged."""
    found: list[Token] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\" and pattern[at + 1 : at + 2] in ("*", "\\"):
            found.append(pattern[at + 1])
            at += 2
        elif char == "*":
            end = at + 1
            while pattern[end : end + 1] == "*":
                end += 1
            found.append(Star.ONE if end - at == 1 else Star.MANY)
            at = end
        else:
            found.append(char)
            at += 1
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Automaton:
    """Patterns side by side. State *n* of one that begins at bit *b* is bit *b + n*: its first *n* tokens are used up."""

    steps: dict[str, int]
    """For each literal character, the states that consume it."""
    ones: int
    manys: int
    """The states that wait at a ``*`` and at a ``**``."""
    first: int
    final: int

    def matches(self, name: str) -> bool:
        """Tell whether one of the patterns matches the whole of `name`."""
        stars, manys, steps = self.ones | self.manys, self.manys, self.steps
        states = self._closed(self.first)
        for char in name:
            stay = states & (manys if char == "/" else stars)
            states = stay | ((states & steps.get(char, 0)) << 1)
            if not states:
                return False
            states |= (states & stars) << 1
        return bool(states & self.final)

    def covers(self, requested: str) -> bool:
        """Tell whether one of the patterns matches every name that the pattern `requested` matches."""
        states = self._closed(self.first)
        for token in tokens(requested):
            if token is Star.MANY:
                states &= self.manys
            elif token is Star.ONE:
                states &= self.ones | self.manys
            else:
                stay = states & (self.manys if token == "/" else self.ones | self.manys)
                states = stay | ((states & self.steps.get(str(token), 0)) << 1)
            states = self._closed(states)
            if not states:
                return False
        return bool(states & self.final)

    def _closed(self, states: int) -> int:
        """Add the states reached by letting a star stand for nothing; stars are never neighbours."""
        return states | ((states & (self.ones | self.manys)) << 1)


def _automaton(parts: Iterable[Token]) -> Automaton:
    steps: dict[str, int] = {}
    ones = manys = state = 0
    for state, token in enumerate(parts, 1):
        bit = 1 << state - 1
        if token is Star.ONE:
            ones |= bit
        elif token is Star.MANY:
            manys |= bit
        else:
            steps[str(token)] = steps.get(str(token), 0) | bit
    return Automaton(steps, ones, manys, 1, 1 << state)


def side_by_side(patterns: Iterable[Pattern]) -> Automaton:
    """Return one automaton for all: a question costs about the same for a hundred patterns as for one."""
    steps: dict[str, int] = {}
    ones = manys = first = final = at = 0
    for one in (pattern.automaton for pattern in patterns):
        for char, states in one.steps.items():
            steps[char] = steps.get(char, 0) | states << at
        ones |= one.ones << at
        manys |= one.manys << at
        first |= one.first << at
        final |= one.final << at
        at += one.final.bit_length()
    return Automaton(steps, ones, manys, first, final)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern."""

    text: str
    kind: Literal["exact", "prefix", "automaton"]
    literal: str
    """The whole name of an exact pattern, or what comes before a sole trailing ``**``."""
    automaton: Automaton

    def matches(self, name: str) -> bool:
        """Tell whether the whole of `name` matches."""
        if self.kind == "exact":
            return name == self.literal
        if self.kind == "prefix":
            return name.startswith(self.literal)
        return self.automaton.matches(name)

    def covers(self, requested: Pattern) -> bool:
        """Tell whether every name that `requested` matches is matched by this pattern too."""
        return self.automaton.covers(requested.text)


@lru_cache(maxsize=8192)
def compiled(pattern: str) -> Pattern:
    parts = tokens(pattern)
    literals = [token for token in parts if isinstance(token, str)]
    kind: Literal["exact", "prefix", "automaton"] = "automaton"
    if len(literals) == len(parts):
        kind = "exact"
    elif parts[-1] is Star.MANY and len(literals) == len(parts) - 1:
        kind = "prefix"
    return Pattern(pattern, kind, "".join(literals), _automaton(parts))


def matches(pattern: str, name: str) -> bool:
    return compiled(pattern).matches(name)


def covers(allowed: str, requested: str) -> bool:
    """Tell whether `allowed` matches everything that the pattern `requested` matches."""
    return compiled(allowed).covers(compiled(requested))
