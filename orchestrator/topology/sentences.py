"""What validation found, as sentences of our own about the file: pydantic's wording never reaches a reader."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args, get_origin

from pydantic import BaseModel

from orchestrator.errors import listed
from orchestrator.topology.guesses import Guesses
from orchestrator.topology.model import Topology
from orchestrator.topology.values import Nothing, Text, was_filled_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import ValidationError

    from orchestrator.topology.yaml_nodes import Steps

_KIND: Final = {
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
}
_MEANS_MORE_UNQUOTED: Final = re.compile(r"-?[0-9.]+|true|false|null|~")
ABOUT_FILES: Final = ("include", "profiles")
"""Keys at the top of a file that say what it is merged with; none of them is left when it is validated."""
_KEY_OF_MAPPING: Final = "[key]"


class Finding(NamedTuple):
    steps: Steps
    sentence: str
    at_key: bool
    """It is the key that is wrong, or its absence that is missed, rather than its value."""


def findings(error: ValidationError) -> list[Finding]:
    details: list[Any] = error.errors(include_url=False)
    guesses = Guesses()
    unknown = [tuple(detail["loc"]) for detail in details if detail["type"] == "extra_forbidden"]
    hints = {loc: guesses.nearest(str(loc[-1]), keys_at(loc[:-1])) for loc in unknown}
    misspelt = {(*loc[:-1], key) for loc, hint in hints.items() for key in keys_at(loc[:-1]) if f"{key!r}?" in hint}
    return [
        _finding(detail, hints)
        for detail in details
        if not (detail["type"] == "missing" and tuple(detail["loc"]) in misspelt)  # one mistake, one line
    ]


def _finding(detail: Any, hints: Mapping[Steps, str]) -> Finding:
    loc, kind = tuple(detail["loc"]), detail["type"]
    if kind == "missing":
        return Finding(loc[:-1], f"the key {loc[-1]!r} is missing", at_key=True)
    if kind == "extra_forbidden":
        if len(loc) == 1 and loc[0] in ABOUT_FILES:  # at the top of a file it was taken out before
            return Finding(loc, f"{loc[0]!r} stands at the top of a file, and not in a profile", at_key=True)
        hint = hints[loc] or f"; the keys here are {listed(keys_at(loc[:-1]))}"
        return Finding(loc, f"unknown key {loc[-1][:60]!r}{hint}", at_key=True)
    at_key = loc[-1:] == (_KEY_OF_MAPPING,)
    steps = loc[:-1] if at_key else loc
    if kind == "refused":
        return Finding(steps, detail["ctx"]["sentence"], at_key)
    expected = detail["ctx"]["what"] if kind == "wanted" else _KIND.get(kind, "another kind of value")
    sentence = f"expected {expected}, found {shown(detail['input'])}"
    if (
        expected == "a list"
        and isinstance(detail["input"], str)
        and not was_filled_in(detail["input"])
        and re.fullmatch("[ -~]{1,60}", detail["input"])
    ):
        sentence += f"; write [{detail['input']}]"
    return Finding(steps, sentence, at_key)


def shown(value: Any) -> str:
    """Say what stands in the file; a variable is shown by its name, because its value may be a secret."""
    if value is None or value is Nothing.NOTHING:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, Text):
        return f"what {_cut(value.written)} stands for" if was_filled_in(value) else _cut(value)
    if isinstance(value, str):
        return f"the quoted text {_cut(value)}" if _MEANS_MORE_UNQUOTED.fullmatch(value) else _cut(value)
    return _cut(value)


def _cut(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    text = text if len(text) <= 60 else f"{text[:59]}…"
    return repr(str(text)) if isinstance(value, str) else text


def keys_at(steps: Steps) -> Iterable[str]:
    """Return the keys that the mapping at `steps` may have; none where it may have any, or is no mapping."""
    kind: Any = Topology
    for step in steps:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            fields = kind.model_fields
            kind = _section(fields[step].annotation) if isinstance(step, str) and step in fields else None
        elif get_origin(kind) is dict:
            kind = _section(get_args(kind)[1])
    keys = tuple(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else ()
    return keys if steps else (*keys, *ABOUT_FILES)


def _section(annotation: Any) -> Any:
    """Return the class of a section that may also be absent."""
    sections = [kind for kind in get_args(annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return sections[0] if sections and get_origin(annotation) is not dict else annotation
