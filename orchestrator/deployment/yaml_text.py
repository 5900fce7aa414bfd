"""YAML that people read: values with the reason beside them, and no value that reads as anything but itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

WIDTH: Final = 110
"""Columns that a list may have to stand in one line, and a comment."""
_PLAIN: Final = re.compile(r"(?:--?)?[A-Za-z/][A-Za-z0-9_./-]*")
"""Texts that need no quotes, unless they are words of YAML's own."""
_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_SHORT: Final = {"\t": "\\t", "\n": "\\n", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


class Noted(NamedTuple):
    """A value with a comment above it."""

    comment: str
    value: Any


class Off(NamedTuple):
    """A value that stands in the file as a comment, for whoever wants to make use of it."""

    comment: str
    value: Any


def document(value: Mapping[str, Any], head: str = "") -> str:
    """Return a document: mappings, lists, texts, whole numbers and booleans, with `Noted` and `Off` among them."""
    return "\n".join([*commented(head), *(line.rstrip() for line in _mapping(value, 0))]) + "\n"


def commented(text: str, indent: int = 0) -> Iterator[str]:
    """Yield the lines of a comment; each line of `text` is one that is broken where it gets too long."""
    blank, width = " " * indent, WIDTH - indent - 2
    for line in text.splitlines():
        if line.startswith(" "):  # a command, which nobody wants broken
            yield f"{blank}# {line}".rstrip()
            continue
        rest = line
        while len(rest) > width and " " in rest[:width]:
            cut = rest.rindex(" ", 0, width)
            yield f"{blank}# {rest[:cut]}"
            rest = rest[cut + 1 :]
        yield f"{blank}# {rest}".rstrip()


def scalar(value: str | bool | int) -> str:
    """Return one value as YAML; every reader, of YAML 1.1 or 1.2, reads the same value from it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return '"' + "".join(map(_escaped, value)) + '"'


def _escaped(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    if character.isprintable() and character != "\ufeff":
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _mapping(mapping: Mapping[str, Any], indent: int) -> Iterator[str]:
    blank = " " * indent
    for key, value in mapping.items():
        if isinstance(value, Off):
            yield from commented(value.comment, indent)
            for line in _entry(f"{scalar(key)}:", value.value, indent):
                yield f"{blank}# {line}"
            continue
        if isinstance(value, Noted):
            yield from commented(value.comment, indent)
            value = value.value
        yield from (f"{blank}{line}" for line in _entry(f"{scalar(key)}:", value, indent))


def _list(items: Sequence[Any], indent: int) -> Iterator[str]:
    for item in items:
        if isinstance(item, Off):
            yield from commented(item.comment)
            yield from (f"# {line}" for line in _list([item.value], indent))
            continue
        if isinstance(item, Noted):
            yield from commented(item.comment)
            item = item.value
        if isinstance(item, dict) and item and not isinstance(next(iter(item.values())), Noted | Off):
            lines = list(_mapping(item, 0))
            yield f"- {lines[0]}"
            yield from (f"  {line}" for line in lines[1:])
        else:
            yield from _entry("-", item, indent)


def _entry(start: str, value: Any, indent: int) -> Iterator[str]:
    """Yield the lines of a value after its key or dash; the first is at the margin, and so are those of its children."""
    if isinstance(value, dict):
        yield from _children(start, "{}", list(_mapping(value, 0)))
    elif isinstance(value, list | tuple):
        flow = _flow(value)
        if flow is not None and len(start) + len(flow) + indent < WIDTH:
            yield f"{start} {flow}"
        else:
            yield from _children(start, "[]", list(_list(value, indent + 2)))
    elif isinstance(value, str) and _is_block(value):
        yield f"{start} |"
        yield from (f"  {line}".rstrip() for line in value.removesuffix("\n").split("\n"))
    else:
        yield f"{start} {scalar(value)}"


def _children(start: str, empty: str, lines: list[str]) -> Iterator[str]:
    if not lines:
        yield f"{start} {empty}"
        return
    yield start
    yield from (f"  {line}" for line in lines)


def _flow(items: Sequence[Any]) -> str | None:
    """Return a list in one line; `None` for one with anything in it that has lines of its own."""
    if not all(isinstance(item, str | bool | int) for item in items):
        return None
    return f"[{', '.join(map(scalar, items))}]"


def _is_block(text: str) -> bool:
    """Tell whether a text can stand as lines: a file, with nothing in it that would be lost or misread there."""
    lines = text.split("\n")
    return (
        len(lines) > 2
        and lines[-1] == ""
        and lines[-2] != ""
        and not lines[0].startswith(" ")
        and lines[0] != ""
        and all(line == line.rstrip() and line.isprintable() and "\ufeff" not in line for line in lines)
    )
