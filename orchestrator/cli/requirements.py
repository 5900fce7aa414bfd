"""What a package says that it needs, as far as this one says it: names, ranges of versions, and extras."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_REQUIREMENT: Final = re.compile(r"\s*([A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?\s*([^;]*?)\s*(?:;\s*(.*))?")
_BOUND: Final = re.compile(r"(>=|<=|==|!=|>|<|~=)\s*([0-9][0-9A-Za-z.*+!-]*)")
_EXTRA: Final = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")
_RELEASE: Final = re.compile(r"v?(\d+(?:\.\d+)*)")
_TESTS: Final[dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]]] = {
    ">=": lambda found, bound: found >= bound,
    "<=": lambda found, bound: found <= bound,
    ">": lambda found, bound: found > bound,
    "<": lambda found, bound: found < bound,
    "==": lambda found, bound: found == bound,
    "!=": lambda found, bound: found != bound,
}


@dataclass(frozen=True, slots=True)
class Requirement:
    name: str
    bounds: tuple[tuple[str, str], ...]
    """Pairs such as ``(">=", "2.11")``."""
    extra: str | None = None
    """The extra that it belongs to; `None` = it is always needed."""
    platform: str | None = None
    """Not needed where `sys.platform` is this."""

    @property
    def range(self) -> str:
        return ",".join(f"{test}{version}" for test, version in self.bounds)

    def takes(self, version: str) -> bool:
        """Tell whether a version is in the range. What cannot be read as one is taken."""
        found = _release(version)
        if found is None:
            return True
        for test, bound in self.bounds:
            wanted = _release(bound)
            if wanted is None or test not in _TESTS:
                continue
            length = max(len(found), len(wanted))
            if not _TESTS[test](_padded(found, length), _padded(wanted, length)):
                return False
        return True


def read_requirement(text: str) -> Requirement:
    """Raises `ValueError` for what is none."""
    found = _REQUIREMENT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no requirement")
    marker = found[3] or ""
    extra = _EXTRA.search(marker)
    platform = re.search(r"sys_platform\s*!=\s*['\"]([^'\"]+)['\"]", marker)
    bounds = tuple((each[1], each[2]) for each in _BOUND.finditer(found[2]))
    return Requirement(found[1].lower(), bounds, extra and extra[1], platform and platform[1])


def _release(version: str) -> tuple[int, ...] | None:
    """Return the numbers of a version, without what marks it as a candidate or a build."""
    found = _RELEASE.match(version)
    return None if found is None else tuple(int(part) for part in found[1].split("."))


def _padded(release: tuple[int, ...], length: int) -> tuple[int, ...]:
    return release + (0,) * (length - len(release))
