"""The messages that are sent: JSON of one size, each with its number and the time at which it was made."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBERS: Final = 10_000_000
"""Numbers begin again at 0 after so many."""
_NUMBER: Final = b"7" * 7
_TIME: Final = b"9" * 19
_HEAD: Final = b'{"type":"load","n":"%b","at":"%b","text":"' % (_NUMBER, _TIME)
_TAIL: Final = b'"}'
LEAST: Final = len(_HEAD + _TAIL) + 1
"""Bytes of the smallest message."""
_HOLES: Final = re.compile(_NUMBER + b"|" + _TIME)
_AT: Final = re.compile(rb'"at": ?"')


def sample(size: int) -> bytes:
    """Return the JSON of a message of `size` bytes, or of `LEAST` where that is more."""
    return _HEAD + b"x" * max(size - len(_HEAD) - len(_TAIL), 1) + _TAIL


@dataclass(frozen=True, slots=True)
class Mould:
    """A frame with room for the number of its message, the time, and, where it asks for an ack, the number again."""

    shape: bytes
    """With `%`-formats in the place of these."""
    acked: bool

    @classmethod
    def around(cls, frame: Callable[[bytes], bytes], size: int) -> Self:
        """Make one from what encloses a message of `size` bytes; a request's id is to hold `request_number`."""
        shape, count = _HOLES.subn(_format, frame(sample(size)).replace(b"%", b"%%"))
        return cls(shape, acked=count == 3)

    def cast(self, number: int, at: int) -> bytes:
        """Return the frame of a message; `at` are nanoseconds of the monotonic clock."""
        number %= NUMBERS
        return self.shape % ((number, at, number) if self.acked else (number, at))


request_number: Final = _NUMBER
"""Stands in a request's id for the number of its message."""


def _format(hole: re.Match[bytes]) -> bytes:
    return b"%07d" if hole[0] == _NUMBER else b"%019d"


def place_of_time(frame: bytes) -> int:
    """Return where in a frame the time of its message stands. Raises `ValueError` when there is none."""
    found = _AT.search(frame)
    if found is None:
        raise ValueError("a message has no time in it")
    return found.end()


def ages(frames: bytes, place: int, size: int, now: int) -> list[int]:
    """Return for how many nanoseconds messages have been on their way: of whole frames of one size, one after the other."""
    return [now - int(frames[at : at + 19]) for at in range(place, len(frames), size)]
