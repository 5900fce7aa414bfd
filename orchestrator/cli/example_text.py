"""What the help of a verb ends with: commands that can be typed as they stand."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Final

_TITLE: Final = "examples:\n"


def examples(parser: argparse.ArgumentParser, *lines: str) -> None:
    """End the help of a verb with commands, one a line, as they are typed in a shell.

    A line may end with a word of explanation behind `` # ``. What the help ended with before stands above them.
    """
    before = f"{parser.epilog.rstrip()}\n\n" if parser.epilog else ""
    parser.epilog = before + _TITLE + "".join(f"  {line}\n" for line in lines)
    given = parser.formatter_class
    parser.formatter_class = partial(_Formatter, **(given.keywords if isinstance(given, partial) else {}))


def examples_of(parser: argparse.ArgumentParser) -> list[str]:
    """Return the commands with which the help of a verb ends; none where it has no examples."""
    _, title, lines = (parser.epilog or "").partition(_TITLE)
    return [line.strip() for line in lines.splitlines()] if title else []


class _Formatter(argparse.HelpFormatter):
    """Leaves commands on lines of their own."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if _TITLE not in text:
            return super()._fill_text(text, width, indent)
        return "".join(indent + line for line in text.splitlines(keepends=True))
