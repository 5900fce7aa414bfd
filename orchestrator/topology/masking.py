"""Where a secret may stand in what somebody wrote: such text is shown to nobody.

Too much is masked rather than too little: it costs a reader a word that is in their own file.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

Span: TypeAlias = tuple[int, int]
"""The first character, and the one after the last."""

MASK: Final = "***"

_NAME: Final = (
    r"(?:[\w.-]*(?:secret|token|passw(?:or)?d|passphrase|pwd|credential|dsn)s?|[\w.-]*[_-](?:key|pat|auth)s?"
    r"|(?-i:[\w.-]*[a-z]Keys?|[A-Z0-9_]*KEYS?)|api-?keys?|keys?)"
)
_NAMED: Final = re.compile(
    rf"(?<![\w.-])(?<!\$\{{){_NAME}[\"']?[ \t]*[:=]+(?=[ \t\"'\[]|(?<==)|(?-i:(?<=[A-Z]:))|$)[ \t]*", re.IGNORECASE
)
_OPTION: Final = re.compile(rf"--{_NAME}(?:[\"']?[ \t]*,[ \t]*|[ \t]+)", re.IGNORECASE)
_KEY: Final = re.compile(r"""[\w."'-]+[ \t]*:(?=[ \t]|$)""")
_REFERENCE: Final = re.compile(r"\$\{[A-Za-z_]\w*(?:(:[-?])([^}]*))?\}")
_DEFAULT: Final = re.compile(rf"\$\{{{_NAME}:-([^}}]+)\}}", re.IGNORECASE)
_QUOTED: Final = re.compile(r""""(?:[^"\\]|\\.)*(?:"|$)|'(?:[^']|'')*(?:'|$)""")
_IN_BRACKETS: Final = re.compile(r"""(?:(?!,[ \t]*[\w."'-]+[ \t]*:)[^]}])+""")
_HEADER: Final = re.compile(r"[|>][0-9+-]*[ \t]*(?:#.*)?|[&!][^ \t]*[ \t]*")
_TLS_KEY: Final = re.compile(r"""key["']?[ \t]*:[ \t]*""")
_TLS_OPEN: Final = re.compile(r"""(?:^|[\s{,])["']?tls["']?[ \t]*:[ \t]*(?:&\S+[ \t]*)?(?:\{[^{}]*)?(?:#.*)?$""")
_PATH: Final = re.compile(
    r"""(["']?)(?:(?:~|\.{1,2})?/)?(?:[\w.-]+/)*[\w-]+(?:\.[\w-]+)*\.(?:pem|key|crt|cer)\1(?=[ \t]*(?:$|[,}]|[ \t]#))"""
)
_SHAPES: Final = (
    re.compile(r"\b(?:sk_secret|sk_live|pk_live)_(?!…)[^\s&#\",;:'\]}]+"),
    re.compile(r"\beyJ[\w-]*\.[\w-]+\.[\w-]*"),
    re.compile(r"(?<=://)[^/\s@\"']+(?=@)"),
    re.compile(r"\b(?:sk|pk|rk)-[\w-]{16,}|\bgh[pousr]_\w{20,}|\bgithub_pat_\w{20,}|\bxox[abeprs]-[\w-]{10,}"),
    re.compile(r"\bAKIA[0-9A-Z]{16}\b"),
)


def masked(text: str) -> str:
    """Return `text` without what is a secret by its shape: keys, tokens, and passwords in addresses."""
    for shape in _SHAPES:
        text = shape.sub(MASK, text)
    return text


def concealed(line: str) -> str:
    """Return one line without what may be a secret in it, by its shape or by its name."""
    for start, end in reversed(secret_spans([line], 0)):
        line = f"{line[:start]}{MASK}{line[end:]}"
    return line


def secret_spans(lines: Sequence[str], index: int) -> list[Span]:
    """Return where secrets may stand in one line of a file, in order and apart: by their shape, or by their name."""
    line = lines[index]
    begin = len(line) - len(line.lstrip(" \t-"))
    if _continues_secret(lines, index):
        return [(begin, len(line))] if begin < len(line) else []
    spans = [found.span() for shape in _SHAPES for found in shape.finditer(line)]
    spans += [found.span(1) for found in _DEFAULT.finditer(line)]
    for named in (*_NAMED.finditer(line), *_OPTION.finditer(line)):
        if not _names_file(lines, index, named):
            spans += _value(line, named.end())
    return _joined(spans)


def _names_file(lines: Sequence[str], index: int, named: re.Match[str]) -> bool:
    """Tell whether this is the `key` of a section `tls`, and under it the path of a file: where a secret lies is none."""
    line = lines[index]
    if not _TLS_KEY.fullmatch(named[0]) or not _PATH.match(line, named.end()):
        return False
    before = line[: named.start()]
    if _TLS_OPEN.search(before):
        return True
    indent = _indent(line)
    for above in range(index - 1, max(index - _FAR, 0) - 1, -1):
        if lines[above].strip() and not lines[above].lstrip().startswith("#") and _indent(lines[above]) < indent:
            return not before.strip(" \t\"'") and _TLS_OPEN.search(lines[above]) is not None
    return False


def _value(line: str, start: int) -> list[Span]:
    """Return what is to be masked of the value that begins at `start`: all but names of variables."""
    rest = line[start:]
    if not rest or rest[0] in "{]}," or _HEADER.fullmatch(rest):
        return []
    if rest[0] == "[":
        return [(start + 1, len(line))]
    quoted = _QUOTED.match(rest)
    if quoted:
        end = start + quoted.end() - (1 if quoted.end() > 1 and rest[quoted.end() - 1] == rest[0] else 0)
        return _literals(line, start + 1, end)
    in_brackets = line.count("{", 0, start) + line.count("[", 0, start) > line.count("}", 0, start) + line.count(
        "]", 0, start
    )
    if not in_brackets and not _REFERENCE.match(rest):
        return [(start, len(line))]
    found = re.match(rf"(?:{_REFERENCE.pattern})+", rest)
    plain = None if found else _IN_BRACKETS.match(rest)
    if found and not _ends_value(rest[found.end() :]):
        return [(start, len(line))]
    end = found.end() if found else plain.end() if plain else 0
    return _literals(line, start, start + end)


def _ends_value(rest: str) -> bool:
    return not rest.strip() or rest[0] in ",]}" or rest.lstrip(" \t").startswith(("#", "]", "}", ","))


def _literals(line: str, start: int, end: int) -> list[Span]:
    """Return what stands between references to variables, and the defaults within them."""
    spans, at = [], start
    for found in _REFERENCE.finditer(line, start, end):
        spans.append((at, found.start()))
        if found[1] == ":-":
            spans.append(found.span(2))
        at = found.end()
    return [*spans, (at, end)]


def _continues_secret(lines: Sequence[str], index: int) -> bool:
    """Tell whether a line belongs to a secret value that began in a line before it."""
    indent = _indent(lines[index])
    nearest = True
    for above in range(index - 1, max(index - _FAR, 0) - 1, -1):
        line = lines[above]
        keys = list(_KEY.finditer(line))
        if not keys:
            continue
        if (nearest or _indent(line) < indent) and _stays_open(line, inside=_indent(line) < indent):
            return True
        nearest = False
        indent = min(indent, _indent(line))
        if indent == 0:
            return False
    return False


_FAR: Final = 400
"""Lines above a line that are looked at."""


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


def _stays_open(line: str, *, inside: bool) -> bool:
    """Tell whether the last value of a line is a secret that may go on below; `inside` = what is below is indented."""
    named = list(_NAMED.finditer(line))
    if not named:
        return False
    rest = line[named[-1].end() :]
    while header := _HEADER.match(rest):
        rest = rest[header.end() :]
    quoted = _QUOTED.match(rest)
    if quoted:
        return quoted.end() == 1 or rest[quoted.end() - 1] != rest[0]
    if not rest.strip() or rest.lstrip().startswith("#"):
        return inside
    return inside and not _KEY.search(rest) and rest.rstrip()[-1] not in ",]}{"


def _joined(spans: list[Span]) -> list[Span]:
    joined: list[Span] = []
    for start, end in sorted(spans):
        if start >= end:
            continue
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
