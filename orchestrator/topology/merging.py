"""Lists of patterns said in fewer patterns, which together match the same names and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orchestrator.protocol.globs import Star, covers, tokens
from orchestrator.protocol.limits import MAX_CHANNEL_CLAIMS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Whole(NamedTuple):
    """Patterns that are together what one pattern is, by what names there can be."""

    parts: tuple[str, ...]
    pattern: str


def merged(patterns: Iterable[str], wholes: Iterable[Whole]) -> tuple[str, ...]:
    """Return `patterns` with those of `wholes` that are all there said in one, and without what others cover.

    Wholes are looked at in their order, so that a later one may be made of earlier ones.
    """
    found = dict.fromkeys(patterns)
    for whole in wholes:
        if whole.parts and whole.pattern not in found and all(part in found for part in whole.parts):
            found = dict.fromkeys(whole.pattern if each == whole.parts[0] else each for each in found)
            for part in whole.parts[1:]:
                del found[part]
    return without_covered(found)


def without_covered(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return `patterns` without those that another of them covers; of two that say the same, the first stays."""
    order = {pattern: number for number, pattern in enumerate(dict.fromkeys(patterns))}
    by_lead: dict[str, list[str]] = {}
    for pattern in order:
        by_lead.setdefault(_lead(pattern), []).append(pattern)

    def is_covered(pattern: str) -> bool:
        return any(
            covers(other, pattern) and (order[other] < order[pattern] or not covers(pattern, other))
            for other in _candidates(pattern, by_lead)
            if other != pattern
        )

    return tuple(pattern for pattern in order if not is_covered(pattern))


def _candidates(pattern: str, by_lead: dict[str, list[str]]) -> Iterator[str]:
    """Yield the patterns that may cover one: what such a pattern begins with literally, this one begins with too.

    Of those that begin alike no more are looked at than a token holds: where there are more, it holds them in no case.
    """
    lead = _lead(pattern)
    for end in range(len(lead) + 1):
        yield from by_lead.get(lead[:end], ())[:MAX_CHANNEL_CLAIMS]


def _lead(pattern: str) -> str:
    """Return the literal characters before the first star."""
    lead: list[str] = []
    for token in tokens(pattern):
        if isinstance(token, Star):
            break
        lead.append(token)
    return "".join(lead)
