"""Plain data, read into sections: every value by its reader, every mistake at once, as a sentence about the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from orchestrator.errors import listed
from orchestrator.topology.guesses import Guesses
from orchestrator.topology.section import Listed, Named, Section
from orchestrator.topology.sentences import Finding, unexpected
from orchestrator.topology.values import Refused, Wanted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.topology.section import Kind, Reader
    from orchestrator.topology.yaml_nodes import Steps

ABOUT_FILES: Final = ("include", "profiles")
"""Keys at the top of a file that say what it is merged with; none of them is left when it is validated."""

S = TypeVar("S", bound=Section)


def validate(section: type[S], data: Mapping[str, Any], **beside: Any) -> tuple[S | None, list[Finding]]:
    """Return what the data of a whole file come to, and what is wrong with them; `None` if anything is.

    `beside` goes into the section as it is.
    """
    walk = _Walk()
    found = walk.section(section, data, ())
    return (None, walk.findings) if found is None or walk.findings else (found.replace(**beside), [])


class _Walk:
    """One way through the data. What could not be read is `None`, and of use to nobody."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._guesses = Guesses()

    def section(self, section: type[S], data: Any, steps: Steps) -> S | None:
        if not isinstance(data, dict):
            self._unexpected("a mapping", data, steps)
            return None
        fields = section.fields()
        given = {key: self.value(fields[key].kind, data[key], (*steps, key)) for key in fields if key in data}
        missing = [key for key in fields if key not in given and fields[key].required]
        unknown = [key for key in data if key not in fields]
        if missing or unknown:
            self._note_keys(section, steps, missing, unknown)
            return None
        return section(**given)

    def value(self, kind: Kind, data: Any, steps: Steps) -> Any:
        if isinstance(kind, Listed):
            if not isinstance(data, list):
                self._unexpected("a list", data, steps)
                return None
            return tuple(self.value(kind.each, each, (*steps, index)) for index, each in enumerate(data))
        if isinstance(kind, Named):
            if not isinstance(data, dict):
                self._unexpected("a mapping", data, steps)
                return None
            return {
                self._read(kind.name, name, (*steps, name), at_key=True): self.value(kind.each, each, (*steps, name))
                for name, each in data.items()
            }
        if isinstance(kind, type):
            return self.section(kind, data, steps)
        return self._read(kind, data, steps)

    def _read(self, reader: Reader, data: Any, steps: Steps, *, at_key: bool = False) -> Any:
        try:
            return reader(data)
        except Wanted as error:
            self.findings.append(Finding(steps, unexpected(error.what, data), at_key))
        except Refused as error:
            self.findings.append(Finding(steps, error.sentence, at_key))

    def _unexpected(self, wanted: str, data: Any, steps: Steps) -> None:
        self.findings.append(Finding(steps, unexpected(wanted, data), at_key=False))

    def _note_keys(self, section: type[Section], steps: Steps, missing: list[str], unknown: list[str]) -> None:
        known = section.keys if steps else (*section.keys, *ABOUT_FILES)
        hints = {key: self._guesses.nearest(key, known) for key in unknown}
        for key in missing:
            if not any(f"{key!r}?" in hint for hint in hints.values()):  # one mistake, one line
                self.findings.append(Finding(steps, f"the key {key!r} is missing", at_key=True))
        for key, hint in hints.items():
            if not steps and key in ABOUT_FILES:  # at the top of a file it was taken out before
                sentence = f"{key!r} stands at the top of a file, and not in a profile"
            else:
                sentence = f"unknown key {key[:60]!r}{hint or f'; the keys here are {listed(known)}'}"
            self.findings.append(Finding((*steps, key), sentence, at_key=True))
