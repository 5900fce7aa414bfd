"""``.env`` files: names and values for ``${VAR}``, read as strictly as a topology."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orchestrator.errors import Problem, TopologyError

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES: Final = 1_048_576

_LINE: Final = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*(.*?)[ \t]*")
_SINGLE: Final = re.compile(r"'([^']*)'(?:[ \t]+#.*)?")
_DOUBLE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"(?:[ \t]+#.*)?')
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "$": "$"}


def load_env_file(path: Path, source: str) -> dict[str, str]:
    """Return the variables of a file. Raises `TopologyError` with every mistake; no message repeats a value.

    A line is ``NAME=value``, ``NAME='as it stands'`` or ``NAME="with \\n escapes"``, after ``export`` if one likes;
    ``#`` begins a comment. Nothing is filled in within a value.
    """
    try:
        with path.open("rb") as file:  # it may be a device, which has no end
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        sentence = f"the file cannot be read: {(error.strerror or str(error)).lower()}"
        raise TopologyError([Problem(source, 0, 0, "", sentence)]) from None
    if len(raw) > MAX_BYTES:
        raise TopologyError(
            [Problem(source, 0, 0, "", f"the file has more than {MAX_BYTES} bytes, and no more are read")]
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise TopologyError(
            [Problem(source, line, 1, "", "this line is no UTF-8 text; save the file as UTF-8")]
        ) from None
    return parse_env(text, source)


def parse_env(text: str, source: str) -> dict[str, str]:
    """Read the text of such a file. Raises `TopologyError`."""
    values: dict[str, str] = {}
    first: dict[str, int] = {}
    problems: list[Problem] = []

    def wrong(line: int, column: int, name: str, sentence: str) -> None:
        problems.append(Problem(source, line, column, name, sentence))

    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        begin = len(line) - len(line.lstrip()) + 1
        if found is None:
            wrong(number, begin, "", "expected NAME=value, where the name holds only letters, digits and '_'")
            continue
        name, written = found[1], found[2]
        if name in first:
            wrong(number, begin, name, f"{name} stands here again; the first is in line {first[name]}")
            continue
        first[name] = number
        value = _value(written)
        if value is None:
            wrong(number, found.start(2) + 1, name, "the quotes around this value do not match")
        elif "\x00" in value:
            wrong(number, found.start(2) + 1, name, "a value cannot hold a NUL character")
        else:
            values[name] = value
    if problems:
        raise TopologyError(problems)
    return values


def _value(written: str) -> str | None:
    """Return what a value stands for; `None` where its quotes do not close, or something follows them."""
    if written.startswith("'"):
        found = _SINGLE.fullmatch(written)
        return found[1] if found else None
    if written.startswith('"'):
        found = _DOUBLE.fullmatch(written)
        return re.sub(r"\\(.)", lambda it: _ESCAPES.get(it[1], it[0]), found[1]) if found else None
    return re.split(r"(?:^|[ \t]+)#", written, maxsplit=1)[0]
