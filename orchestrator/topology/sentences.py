"""What was found wrong with a value, as a sentence that shows it the way its author sees it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator.topology.values import Nothing, Text, was_filled_in

if TYPE_CHECKING:
    from orchestrator.topology.yaml_nodes import Steps

_MEANS_MORE_UNQUOTED: Final = r"-?[0-9.]+|true|false|null|~"
_ONE_ITEM: Final = "[ -~]{1,60}"


class Finding(NamedTuple):
    steps: Steps
    sentence: str
    at_key: bool
    """It is the key that is wrong, or its absence that is missed, rather than its value."""


def unexpected(wanted: str, value: Any) -> str:
    """Say that something of another kind was expected than stands there."""
    sentence = f"expected {wanted}, found {shown(value)}"
    if wanted == "a list" and isinstance(value, str) and not was_filled_in(value) and re.fullmatch(_ONE_ITEM, value):
        sentence += f"; write [{value}]"
    return sentence


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
        return f"the quoted text {_cut(value)}" if re.fullmatch(_MEANS_MORE_UNQUOTED, value) else _cut(value)
    return _cut(value)


def _cut(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    text = text if len(text) <= 60 else f"{text[:59]}…"
    return repr(str(text)) if isinstance(value, str) else text
