"""What engines take for a name: short, in small letters, and no two alike."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

LONGEST: Final = 20
"""Characters of a topology's name in front of another name; what Kubernetes adds to a pod's has room, too."""
LONGEST_OWN: Final = 24


def unit_name(text: str, longest: int = LONGEST_OWN) -> str:
    """Return a name that begins with a letter and holds letters, digits and ``-``; equal texts have equal names."""
    plain = re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")
    if not plain or not plain[0].isalpha():
        plain = f"t-{plain}".strip("-")
    return plain if len(plain) <= longest else _marked(plain, text, longest)


def unit_names(texts: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """Return a name for each text: no two are the same, and none is among those that are `taken`."""
    names: dict[str, str] = {}
    used = set(taken)
    for text in texts:
        name = unit_name(text)
        if name in used:
            name = _marked(name, text, LONGEST_OWN)
        used.add(name)
        names[text] = name
    return names


def _marked(plain: str, text: str, longest: int) -> str:
    """Return a name with a mark that only this text has."""
    mark = hashlib.sha256(text.encode()).hexdigest()[:6]
    return f"{plain[: longest - 7].rstrip('-')}-{mark}"
