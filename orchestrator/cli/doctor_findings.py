"""What was found out about one thing, and how people and programs are told."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Mark: TypeAlias = Literal["ok", "wrong", "none"]

SIGNS: Final[dict[Mark, str]] = {"ok": "✓", "wrong": "✗", "none": "\N{EN DASH}"}
ASCII_SIGNS: Final[dict[Mark, str]] = {"ok": "+", "wrong": "x", "none": "-"}
_COLOURS: Final[dict[Mark, str]] = {"ok": "32", "wrong": "31", "none": "2"}


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    """What was looked at, in a word or two."""
    mark: Mark
    """`none` = it is not there to be looked at, or nothing needs it."""
    sentence: str
    advice: str = ""
    """What to do about it."""


def ok(check: str, sentence: str) -> Finding:
    return Finding(check, "ok", sentence)


def wrong(check: str, sentence: str, advice: str) -> Finding:
    return Finding(check, "wrong", sentence, advice)


def none(check: str, sentence: str, advice: str = "") -> Finding:
    return Finding(check, "none", sentence, advice)


def is_well(findings: Sequence[Finding]) -> bool:
    return all(finding.mark != "wrong" for finding in findings)


def text(findings: Sequence[Finding], *, unicode: bool, colour: bool) -> Iterator[str]:
    """Yield lines: one for each finding, what to do below it, and last what it comes to."""
    signs = SIGNS if unicode else ASCII_SIGNS
    width = max((len(finding.check) for finding in findings), default=0)
    for finding in findings:
        sign = signs[finding.mark]
        if colour:
            sign = f"\x1b[{_COLOURS[finding.mark]}m{sign}\x1b[0m"
        yield f"{sign} {finding.check:<{width}}  {_plain(finding.sentence, unicode)}"
        if finding.advice:
            yield f"  {'':<{width}}  {'→' if unicode else '->'} {_plain(finding.advice, unicode)}"
    bad = sum(finding.mark == "wrong" for finding in findings)
    yield f"{len(findings)} looked at, {bad} wrong" if bad else f"{len(findings)} looked at, nothing is wrong"


def _plain(sentence: str, unicode: bool) -> str:
    """Return a sentence on one line, without what a terminal would obey."""
    shown = "".join(each if each.isprintable() else " " for each in sentence)
    return shown if unicode else shown.encode("ascii", "backslashreplace").decode()


def as_object(findings: Sequence[Finding]) -> dict[str, Any]:
    return {"ok": is_well(findings), "findings": [asdict(finding) for finding in findings]}
