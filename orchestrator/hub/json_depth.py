"""How deeply a JSON text is nested, found without building any of its values."""

from __future__ import annotations

import re
from typing import Final

_LIST: Final = len("[]")
_OBJECT: Final = len('{"":}')
"""Bytes that one level takes at least."""
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_AS_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def too_deep(text: bytes, most: int) -> bool:
    """Tell whether valid JSON has more than `most` levels of lists and objects.

    The levels are counted by taking the innermost ones out, again and again, each time in one pass over what is
    left: a text of any shape costs at most `most` passes.
    """
    size = len(text)
    no_lists = text.find(b"[") < 0
    if size <= (_OBJECT if no_lists else _LIST) * most:
        return False
    objects = size - len(text.replace(b"{", b""))  # takes half as long as counting does
    if objects + (0 if no_lists else text.count(b"[")) <= most:
        return False
    brackets = _STRING.sub(b"", text).translate(_AS_SQUARE, _NOT_BRACKETS)
    for _ in range(most):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)
