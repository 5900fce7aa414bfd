"""``${VAR}``, ``${VAR:-default}`` and ``${VAR:?message}`` in a value, after YAML has been read: never in raw text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.topology.guesses import Guesses


class Filled(NamedTuple):
    """A text with its variables filled in, the variables it named, and what is wrong with it."""

    text: str
    variables: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()


_REFERENCE: Final = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_INSIDE: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:(:[-?])(.*))?", re.DOTALL)


def fill(text: str, environ: Mapping[str, str], guesses: Guesses) -> Filled:
    """Fill in every reference of `text`; ``$${`` stands for ``${`` itself.

    A default or a message applies when the variable is unset or empty, as in a shell. What a variable holds is
    never looked at again, so it cannot bring references of its own.
    """
    if "${" not in text:
        return Filled(text)
    variables: dict[str, None] = {}
    wrong: dict[str, None] = {}

    def value(found: re.Match[str]) -> str:
        if found[0] == "$${":
            return "${"
        inside = _INSIDE.fullmatch(found[1])
        if not found[2]:
            wrong["a '${' here has no closing brace; write '$${' for the text itself"] = None
        elif "${" in found[1]:
            wrong["a reference to a variable cannot hold another one"] = None
        elif inside is None:
            wrong[f"{found[0][:60]!r} is none of '${{VAR}}', '${{VAR:-default}}' and '${{VAR:?message}}'"] = None
        else:
            name, operator, rest = inside.groups()
            variables[name] = None
            held = environ.get(name)
            if held or (held is not None and operator is None):
                return held
            if operator == ":-":
                return str(rest)
            hint = guesses.nearest(name, environ) if operator is None else ""
            wrong[_unset(name, hint) if operator is None else _required(name, rest)] = None
        return ""

    filled = _REFERENCE.sub(value, text)
    return Filled(filled, tuple(variables), tuple(wrong))


def _unset(name: str, hint: str) -> str:
    about = f"the environment variable {name} is not set, and has no default{hint}"
    return f"{about}; write '${{{name}:-…}}' to give one"


def _required(name: str, message: str) -> str:
    return f"the environment variable {name} is not set: {message or 'it is required here'}"
