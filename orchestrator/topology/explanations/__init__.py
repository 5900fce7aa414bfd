"""The codes of findings, and a page on each."""

from __future__ import annotations

from pathlib import Path
from typing import Final

CODES: Final = tuple(f"ORC{number}" for number in range(101, 109))
ERRORS: Final = frozenset({"ORC108"})
"""Codes of what is an error; all others are warnings."""


def explanation(code: str) -> str:
    """Return the page on a code, as Markdown. Raises `KeyError` for a code that there is not."""
    if code not in CODES:
        raise KeyError(code)
    return Path(__file__).with_name(f"{code}.md").read_text(encoding="utf-8")
