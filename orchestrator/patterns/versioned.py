"""A map in which every write has a version: of two writes to one key the later wins, in whatever order they are heard of.

Merging is commutative, associative and idempotent, so whoever has heard of the same writes has the same map. Hashes over
buckets of keys tell in a few bytes whether two have, and where they differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Final, NamedTuple
from zlib import crc32

BUCKETS: Final = 256
DIGITS: Final = 16
"""Of one hash in hexadecimal."""
DELETIONS_KEPT: Final = 20_000
DELETION_SECONDS: Final = 86_400.0
"""How many deletions are remembered, and for how long: until then, a write from before one does not bring the key back."""


class Entry(NamedTuple):
    """One write: JSON, or `None` for a deletion."""

    key: str
    lamport: int
    peer: str
    value: bytes | None

    @property
    def rank(self) -> tuple[int, str, bytes]:
        """The greater one wins. One version with two values happens when a member forgets itself, and has to end too."""
        return self.lamport, self.peer, self.value or b""

    @property
    def size(self) -> int:
        """Bytes that count towards what a state may hold."""
        return len(self.key.encode()) + len(self.value or b"")


class _Kept(NamedTuple):
    entry: Entry
    hash: int
    """0 for a deletion: having it, and never having heard of its key, is the same."""


class VersionedMap:
    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        """Values and deletions."""
        self._gone: dict[str, float] = {}
        """The deletions among them, and when each was heard of: the oldest first."""
        self._live: dict[str, None] = {}
        self._hashes = [0] * BUCKETS
        self._buckets: list[dict[str, None]] = [{} for _ in range(BUCKETS)]
        self.size = 0
        """Bytes of keys and values."""
        self.clock = 0
        """The greatest Lamport time that was heard of."""
        self._root = 0

    @property
    def root(self) -> str:
        """The hash over everything but deletions."""
        return f"{self._root:0{DIGITS}x}"

    @property
    def hashes(self) -> str:
        """The hash of each bucket; nothing at all, if nothing is there."""
        return "".join(f"{each:0{DIGITS}x}" for each in self._hashes) if self._live else ""

    def hash_of(self, bucket: int) -> int:
        return self._hashes[bucket]

    def in_bucket(self, bucket: int) -> Iterator[tuple[Entry, int]]:
        """Yield its entries, deletions too, with their hashes."""
        for key in self._buckets[bucket]:
            yield self._kept[key]

    def __len__(self) -> int:
        return len(self._live)

    def keys(self) -> list[str]:
        return list(self._live)

    def get(self, key: str) -> Entry | None:
        """Return the entry of a key, or `None` if it is not there."""
        kept = self._kept.get(key)
        return None if kept is None or kept.entry.value is None else kept.entry

    def known(self, key: str) -> Entry | None:
        """Return the latest write to a key, also if that deleted it; `None` = none is remembered."""
        kept = self._kept.get(key)
        return None if kept is None else kept.entry

    def lacks(self, key: str, lamport: int, peer: str, hashed: int) -> bool:
        """Tell whether a write that somebody else has could be later than the one that is known."""
        kept = self._kept.get(key)
        if kept is None:
            return True
        mine = kept.entry.lamport, kept.entry.peer
        return (lamport, peer) > mine or ((lamport, peer) == mine and hashed != kept.hash)

    def growth(self, entry: Entry) -> int:
        """Return by how many bytes an entry would make the map larger."""
        return self._room(entry) - self._room(self.known(entry.key))

    def merge(self, entry: Entry, now: float) -> bool:
        """Take a write, and tell whether it is later than what was known; `now` only measures the age of deletions."""
        self.clock = max(self.clock, entry.lamport)
        before = self._kept.get(entry.key)
        if before is not None and entry.rank <= before.entry.rank:
            return False
        bucket = crc32(entry.key.encode()) % BUCKETS
        hashed = 0 if entry.value is None else _hash(entry)
        self.size += self.growth(entry)
        self._flip(bucket, hashed ^ (before.hash if before else 0))
        self._kept[entry.key] = _Kept(entry, hashed)
        self._buckets[bucket][entry.key] = None
        self._gone.pop(entry.key, None)
        if entry.value is None:
            self._live.pop(entry.key, None)
            self._gone[entry.key] = now
            if len(self._gone) > DELETIONS_KEPT:
                self._forget(next(iter(self._gone)))
        else:
            self._live[entry.key] = None
        return True

    def forget(self, now: float) -> None:
        """Forget deletions that are too old."""
        for key in [key for key, heard in self._gone.items() if heard + DELETION_SECONDS <= now]:
            self._forget(key)

    def oldest_deletion(self) -> float | None:
        """When the deletion that is forgotten next was heard of."""
        return next(iter(self._gone.values()), None)

    def _forget(self, key: str) -> None:
        del self._gone[key], self._kept[key]
        del self._buckets[crc32(key.encode()) % BUCKETS][key]

    def _flip(self, bucket: int, hashed: int) -> None:
        self._hashes[bucket] ^= hashed
        self._root ^= hashed

    @staticmethod
    def _room(entry: Entry | None) -> int:
        return 0 if entry is None or entry.value is None else entry.size


def _hash(entry: Entry) -> int:
    told = f"{entry.key}\0{entry.lamport}\0{entry.peer}\0".encode() + (entry.value or b"")
    return int.from_bytes(blake2b(told, digest_size=DIGITS // 2).digest(), "big")
