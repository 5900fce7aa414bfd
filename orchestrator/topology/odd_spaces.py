"""Spaces that look like spaces and that YAML takes for letters: no-break spaces and their kin, where they change a meaning."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

ODD_SPACES: Final = (
    "\xa0\u1680\u180e\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b\u202f\u205f\u2060\u3000"
)
_ODD: Final = re.compile(f"[{ODD_SPACES}]")
_FIRST: Final = re.compile(f"-?[{ODD_SPACES}]")
"""What begins a text that means to be indented, or an item of a list."""
_AFTER_KEY: Final = re.compile(rf"[\w-]+:(?=[{ODD_SPACES}])")
_AMONG_KEYS: Final = re.compile(rf"^[ \t]*(?:-[ \t]+|-(?=[{ODD_SPACES}]))*(?:[\w.-]*:?)(?=[{ODD_SPACES}])")
"""The part of a line before an odd space that indents it, or stands beside a key."""


class OddSpace(NamedTuple):
    """Where one stands, from 1, what is to be said of it, and whether nothing below can be read because of it."""

    line: int
    column: int
    sentence: str
    ends: bool = True


class Spaces:
    """Finds the odd spaces of a text that matter; most texts hold none at all."""

    @classmethod
    def of(cls, text: str) -> Spaces | None:
        return cls(re.split("\r\n|\r|\n", text)) if _ODD.search(text) else None

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines

    def around(self, scalar: Any) -> OddSpace | None:
        """Return the one at the edge of a text without quotes, an event of the parser; `None` where there is none."""
        text, line, column = str(scalar.value), scalar.start_mark.line, scalar.start_mark.column
        found = _FIRST.match(text)
        if found:
            indents = not self.lines[line][:column].strip(" \t-") and not text.startswith("-")
            return self._told(line, column + found.end() - 1, ends=indents or text.startswith("-"))
        first_on_line = not self.lines[line][:column].strip(" \t-")
        key = _AFTER_KEY.match(text) if first_on_line else None
        if key:
            return self._told(line, column + key.end(), ends=True)
        if text[-1:] and text[-1] in ODD_SPACES:
            end = scalar.end_mark
            return self._told(end.line, end.column - len(text) + len(text.rstrip(ODD_SPACES)), ends=False)
        return None

    def without(self, text: str) -> str:
        return text.strip(ODD_SPACES)

    def inside(self, key: Any) -> OddSpace | None:
        """Return the one that stands in a key, between its colon and what was to be its value."""
        found = _AFTER_KEY.match(str(key.value))
        return self._told(key.start_mark.line, key.start_mark.column + found.end(), ends=False) if found else None

    def near(self, *marks: Any) -> OddSpace | None:
        """Return the one that may be why the parser gave up at one of these places, or on the line above."""
        numbers = [mark.line - above for mark in marks if mark is not None for above in (0, 1)]
        for number in numbers:
            found = _AMONG_KEYS.match(self.lines[number]) if 0 <= number < len(self.lines) else None
            if found:
                return self._told(number, found.end(), ends=True)
        return None

    def _told(self, line: int, column: int, *, ends: bool) -> OddSpace:
        import unicodedata  # where it is needed: hardly a file holds such a space

        character = self.lines[line][column : column + 1] or "\xa0"
        name = unicodedata.name(character, "odd space").lower()
        article = "an" if name[0] in "aeiou" else "a"
        sentence = (
            f"{article} {name} (U+{ord(character):04X}) stands here and is no space to YAML; write an ordinary one"
        )
        return OddSpace(line + 1, column + 1, sentence, ends)
