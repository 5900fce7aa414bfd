"""How long a pattern of 256 bytes takes with a name, or another pattern, of 256 bytes, whatever the two hold."""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from bench.verdict import Bar, tell
from orchestrator.protocol import globs
from orchestrator.protocol.limits import MAX_CHANNEL_NAME

LETTERS: Final = "aab/**\\"
"""Of which random texts are made; few letters, so that much matches much."""
FAMILIES: Final = (
    "*a", "**a", "*", "a*", "**/", "*/", "\\*", "*a/", "\\", "a", "/", "a/", "*ab", "**ab", "ab", "*\\*", "**\\\\", "é*",
    "a*b*", "*a**b", "*/**a", "abc/*/", "😀*", "*😀",
)  # fmt: skip
Texts = tuple[str, str]


def match(pattern: str, name: str) -> None:
    globs.matches(pattern, name)


def cover(allowed: str, requested: str) -> None:
    globs.covers(allowed, requested)


def first_match(pattern: str, name: str) -> None:
    globs.compiled.cache_clear()
    globs.tokens.cache_clear()
    globs.matches(pattern, name)


def first_cover(allowed: str, requested: str) -> None:
    globs.compiled.cache_clear()
    globs.tokens.cache_clear()
    globs.covers(allowed, requested)


QUESTIONS: Final[dict[str, Callable[[str, str], None]]] = {
    "match": match,
    "cover": cover,
    "first match": first_match,
    "first cover": first_cover,
}


@dataclass(slots=True)
class Worst:
    """The two texts that took longest so far; a time counts as its least of several, which leaves the machine out."""

    question: Callable[[str, str], None]
    repeats: int
    seconds: float = 0.0
    texts: Texts = ("", "")
    asked: int = field(default=0)

    def ask(self, texts: Texts) -> bool:
        """Time one question, and tell whether it took longer than all before it."""
        self.asked += 1
        self.question(*texts)
        taken = self._least(texts, 3)
        if taken > self.seconds:
            taken = self._least(texts, self.repeats)
        if taken <= self.seconds:
            return False
        self.seconds, self.texts = taken, texts
        return True

    def again(self) -> None:
        """Time the two texts anew, with more repeats."""
        self.seconds = self._least(self.texts, 50 * self.repeats)

    def _least(self, texts: Texts, repeats: int) -> float:
        least = float("inf")
        for _ in range(repeats):
            began = time.perf_counter()
            self.question(*texts)
            least = min(least, time.perf_counter() - began)
        return least


def filled(part: str) -> str:
    """Return as much of a repeated part as fits into the bytes of a name."""
    return cut(part * MAX_CHANNEL_NAME)


def cut(text: str) -> str:
    return text.encode()[:MAX_CHANNEL_NAME].decode(errors="ignore")


def families() -> list[str]:
    """Return texts of few parts over and over, also with another end, which is found to differ last."""
    whole = [filled(part) for part in FAMILIES]
    return [*whole, *(text[:-1] + end for text in whole for end in "bz/*\\")]


def changed(text: str, chance: random.Random) -> str:
    """Return a text with one piece of it replaced, repeated or taken from a family."""
    start, length = chance.randrange(len(text) or 1), chance.choice((1, 1, 2, 8, 64))
    piece = chance.choice(
        (
            "".join(chance.choices(LETTERS, k=length)),
            text[start : start + length] * 2,
            filled(chance.choice(FAMILIES))[:length],
        )
    )
    return cut((text[:start] + piece + text[start + length :]).ljust(MAX_CHANNEL_NAME, chance.choice(LETTERS)))


def search(worst: Worst, chance: random.Random, steps: int) -> None:
    """Look among the families, among random texts, and then around the worst that were found."""
    texts = families()
    for first in texts:
        for second in texts:
            worst.ask((first, second))
    for _ in range(steps):
        worst.ask((randomly(chance), randomly(chance)))
    for _ in range(steps):
        first, second = worst.texts
        which = chance.randrange(3)
        worst.ask((changed(first, chance) if which else first, changed(second, chance) if which != 1 else second))
    worst.again()


def randomly(chance: random.Random) -> str:
    return cut("".join(chance.choices(LETTERS, k=MAX_CHANNEL_NAME)))


def measure(options: argparse.Namespace) -> None:
    bars: list[Bar] = []
    figures: dict[str, object] = {}
    for name, question in QUESTIONS.items():
        worst = Worst(question, options.repeats)
        search(worst, random.Random(options.seed), options.steps)
        microseconds = worst.seconds * 1e6
        if name != "first cover":  # which reads two patterns, and no name
            bars.append(Bar(f"{name}, us", microseconds, "<=", options.limit))
        figures[name.replace(" ", "_")] = {
            "worst_us": round(microseconds, 1),
            "asked": worst.asked,
            "texts": [f"{text[:24]}… ({len(text.encode())} bytes)" for text in worst.texts],
        }
    tell("globs", bars, figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3000, help="random pairs, and then changes of the worst")
    parser.add_argument("--repeats", type=int, default=10, help="of each pair that may be the worst")
    parser.add_argument("--seed", type=int, default=39)
    parser.add_argument("--limit", type=float, default=200.0, help="microseconds")
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
