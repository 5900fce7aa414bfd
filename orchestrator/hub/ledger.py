"""The facts of one hub, which it alone changes and all others copy: who is where, and what is listened to.

Its copies follow by changes that are numbered, and are compared by a checksum that is kept up with each of them.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import msgpack

from orchestrator.hub.envelopes import Op

if TYPE_CHECKING:
    from collections.abc import Iterator

LISTED: Final = "l"
"""A peer is in the roster of a channel; the value is its line there, as JSON."""
PEER: Final = "p"
"""A peer is connected; the value is a `Holding`."""
INTEREST: Final = "i"
"""A channel or pattern has subscribers; the value is their number."""
_ALL: Final = 2**64 - 1
_pack: Final = msgpack.Encoder().encode


class Key(NamedTuple):
    """What a fact is about."""

    kind: str
    app: str
    text: str
    """A channel or pattern; empty for a peer."""
    peer: str


class Ledger:
    """Facts by their keys, each once."""

    def __init__(self) -> None:
        self._facts: dict[Key, bytes] = {}
        self.checksum = 0
        """The same wherever the same facts are, in whatever order they came."""

    def __len__(self) -> int:
        return len(self._facts)

    def get(self, key: Key) -> bytes | None:
        return self._facts.get(key)

    def __iter__(self) -> Iterator[tuple[Key, bytes]]:
        return iter(self._facts.items())

    def set(self, key: Key, value: bytes | None) -> bytes | None:
        """Record a fact, or with `None` that it is none any more; return what was there before."""
        before = self._facts.get(key)
        if before == value:
            return before
        if before is not None:
            self.checksum -= _checksum(key, before)
        if value is None:
            del self._facts[key]
        else:
            self._facts[key] = value
            self.checksum += _checksum(key, value)
        self.checksum &= _ALL
        return before

    def ops(self) -> list[Op]:
        """Return all facts, as changes of a ledger that has none."""
        return [Op(*key, value) for key, value in self._facts.items()]


def number(value: bytes) -> int:
    """Read a value that is a number; whatever else it is counts as 0."""
    return int(value) if value.isdigit() and len(value) < 10 else 0


class Holding(NamedTuple):
    """How a hub holds a peer."""

    connections: int
    instance: str
    """Of its newest connection; empty for one that names none."""
    generation: int
    """Greater than that of any holding of the peer which was known when its newest connection was made."""

    def encoded(self) -> bytes:
        return _pack(self)


_read_holding: Final = msgpack.Decoder(Holding).decode


def holding(value: bytes) -> Holding | None:
    """Read a value that is a holding; `None` = it is none that we understand."""
    try:
        return _read_holding(value)
    except (ValueError, UnicodeDecodeError):
        return None


def _checksum(key: Key, value: bytes) -> int:
    return int.from_bytes(blake2b(_pack((key, value)), digest_size=8).digest(), "big")
